# SPDX-License-Identifier: Apache-2.0
"""Ageing of images."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.make import HOST, IMAGE_ID, META
from novadocker.virt.docker.images import cache, spool, store
from novadocker.virt.docker.images.cache import ImageCache


class TestCache:
    DAY = 86400

    def cache(self, engine: Any, tmp_path: Path) -> ImageCache:
        return ImageCache(engine, str(tmp_path / "images.json"), self.images(engine, tmp_path))

    def images(self, engine: Any, tmp_path: Path) -> store.Images:
        return store.Images(engine, spool.Spool(str(tmp_path), HOST), None, None, 1 << 20)

    def test_one_that_was_asked_for_just_now_stays(
        self, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nova does not list its instance yet, and the engine has no container of it."""
        images = self.images(engine, tmp_path)
        engine.add_image(store.tag_of(IMAGE_ID, META["checksum"]))
        images.ensure("context", META)
        keeping = ImageCache(engine, str(tmp_path / "images.json"), images)
        keeping.update([], HOST, True, 0)
        assert engine.images
        later = time.monotonic() + store.AWAITED_S
        monkeypatch.setattr(store.time, "monotonic", lambda: later)
        keeping.update([], HOST, True, 0)
        assert not engine.images

    def test_only_old_and_unused_ones_expire(self) -> None:
        tags = {"nova-glance/a:1": 0.0, "nova-glance/b:1": 0.0, "nova-glance/c:1": 50.0}
        assert cache.expired(tags, {"b"}, 100.0, 60.0) == ["nova-glance/a:1"]
        assert cache.expired(tags, {"b"}, 100.0, 100.0) == ["nova-glance/a:1"]
        assert cache.expired(tags, {"b"}, 100.0, 100.1) == []

    def test_an_image_that_stays_does_not_keep_the_others(
        self, engine: Any, tmp_path: Path
    ) -> None:
        for name in ("a", "b"):
            engine.add_image(f"nova-glance/{name}:x")
        engine._create_container("nova-glance/a:x", name="user")
        self.cache(engine, tmp_path).update([], HOST, True, 0)
        assert [image["RepoTags"] for image in engine.images.values()] == [["nova-glance/a:x"]]

    def test_a_record_of_another_kind_is_none(self, engine: Any, tmp_path: Path) -> None:
        engine.add_image(f"nova-glance/{IMAGE_ID}:x")
        (tmp_path / "images.json").write_text("[1]")
        self.cache(engine, tmp_path).update([], HOST, True, 1)
        assert engine.images

    def test_the_age_begins_when_it_is_first_seen_unused(
        self, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [time.time()]
        monkeypatch.setattr(cache.time, "time", lambda: now[0])
        tag = f"nova-glance/{IMAGE_ID}:x"
        engine.add_image(tag)
        engine.add_image("nova-glance-not/ours:x")
        instance = make.instance()
        for instances, passed, left in (
            ([instance], 0, True),
            ([], self.DAY / 2, True),
            ([instance], self.DAY, True),
            ([make.instance(host="another")], self.DAY - 1, True),
            ([], 2, False),
        ):
            now[0] += passed
            self.cache(engine, tmp_path).update(instances, HOST, True, self.DAY)
            assert any(tag in image["RepoTags"] for image in engine.images.values()) is left
        assert len(engine.images) == 1
        assert json.loads((tmp_path / "images.json").read_text()) == {}

    def test_none_is_removed_where_that_is_switched_off(self, engine: Any, tmp_path: Path) -> None:
        engine.add_image(f"nova-glance/{IMAGE_ID}:x")
        self.cache(engine, tmp_path).update([], HOST, False, 0)
        assert engine.images

    def test_one_that_a_container_needs_stays(self, engine: Any, tmp_path: Path) -> None:
        engine.add_image(f"nova-glance/{IMAGE_ID}:x")
        engine._create_container(f"nova-glance/{IMAGE_ID}:x", name="user")
        self.cache(engine, tmp_path).update([], HOST, True, 0)
        assert engine.images

    def test_one_that_went_by_itself_is_no_fault(self, engine: Any, tmp_path: Path) -> None:
        engine.add_image(f"nova-glance/{IMAGE_ID}:x")
        engine.failing["remove_image"] = exceptions.NotFound("gone", 404)
        self.cache(engine, tmp_path).update([], HOST, True, 0)

    def test_the_directory_of_the_record_is_made(self, engine: Any, tmp_path: Path) -> None:
        engine.add_image(f"nova-glance/{IMAGE_ID}:x")
        path = tmp_path / "novadocker" / "images.json"
        cache = ImageCache(engine, str(path), self.images(engine, tmp_path))
        cache.update([], HOST, True, self.DAY)
        assert list(json.loads(path.read_text()))

    def test_a_record_that_cannot_be_kept_is_no_fault(self, engine: Any, tmp_path: Path) -> None:
        (tmp_path / "images.json").mkdir()
        self.cache(engine, tmp_path).update([], HOST, True, 0)

# SPDX-License-Identifier: Apache-2.0
"""From Glance into the engine."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import gzip
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from novadocker import exceptions
from novadocker.tests.archives import LAYER, Parts, digest, tar
from novadocker.tests.make import HOST, IMAGE_ID, META
from novadocker.virt.docker.host import space
from novadocker.virt.docker.images import refusals, spool
from novadocker.virt.docker.images.store import Images, tag_of


class TestEnsure:
    def test_it_is_fetched_verified_loaded_and_tagged(
        self, store: Any, engine: Any, fetch: Any, tmp_path: Path
    ) -> None:
        image = store.ensure("context", META)
        assert image.fetched
        assert engine.images[image.id]["RepoTags"] == [f"nova-glance/{IMAGE_ID}:{'b' * 16}"]
        assert LAYER in engine.saved
        assert os.listdir(tmp_path / "spool" / f"novadocker-{HOST}") == []
        again = store.ensure("context", META)
        assert (again, again.fetched) == (image, False)
        fetch.assert_called_once()

    def test_a_packed_archive_is_unpacked(self, store: Any, engine: Any, fetch: Any) -> None:
        fetch.archive = gzip.compress(fetch.archive)
        store.ensure("context", META)
        assert LAYER in engine.saved

    def test_one_that_must_be_signed_is_always_fetched(self, store: Any, fetch: Any) -> None:
        store.ensure("context", META)
        assert store.ensure("context", META, ["certificate"]).fetched
        assert fetch.call_args[0][3] == ["certificate"]

    @pytest.mark.parametrize(
        ("algorithm", "told"), [("sha512", True), ("sha512", False), ("md5", True), (None, True)]
    )
    def test_the_shared_directory_is_looked_at_first(
        self,
        algorithm: str | None,
        told: bool,
        engine: Any,
        fetch: Any,
        glance: Any,
        tmp_path: Path,
    ) -> None:
        """Glance is asked for the checksum where what Nova passes on has none."""
        (tmp_path / IMAGE_ID).write_bytes(fetch.archive)
        known = {"checksum": hashlib.md5(fetch.archive).hexdigest()}
        if algorithm == "sha512":
            known = {
                "os_hash_algo": algorithm,
                "os_hash_value": hashlib.sha512(fetch.archive).hexdigest(),
                "checksum": "b" * 32,
            }
        meta = {**META, **known}
        glance.get.return_value = meta
        place = spool.Spool(str(tmp_path / "spool"), HOST)
        store = Images(engine, place, glance, str(tmp_path), 1 << 20)
        store.ensure("context", meta if told else META)
        fetch.assert_not_called()
        assert (tmp_path / IMAGE_ID).exists()
        store.ensure("context", meta, ["certificate"])
        fetch.assert_called_once()

    @pytest.mark.parametrize("wrong", ["os_hash_value", "checksum"])
    def test_a_file_that_is_not_glances_is_refused(
        self, wrong: str, engine: Any, fetch: Any, glance: Any, tmp_path: Path
    ) -> None:
        (tmp_path / IMAGE_ID).write_bytes(fetch.archive)
        known = {"os_hash_algo": "sha256", wrong: "c" * 64}
        glance.get.return_value = {**META, **known}
        place = spool.Spool(str(tmp_path / "spool"), HOST)
        with pytest.raises(exceptions.ImageRefused, match="is not what Glance has"):
            Images(engine, place, glance, str(tmp_path), 1 << 20).ensure("context", META)
        assert engine.images == {}
        fetch.assert_not_called()

    def test_a_file_that_cannot_be_compared_is_not_taken(
        self, engine: Any, fetch: Any, glance: Any, tmp_path: Path
    ) -> None:
        (tmp_path / IMAGE_ID).write_bytes(b"something")
        place = spool.Spool(str(tmp_path / "spool"), HOST)
        meta = {**META, "checksum": None, "os_hash_value": None, "os_hash_algo": None}
        Images(engine, place, glance, str(tmp_path), 1 << 20).ensure("context", meta)
        fetch.assert_called_once()

    def test_a_full_disk_is_told_before_it_is_fetched(
        self, store: Any, fetch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = space.RESERVE_BYTES + 10
        monkeypatch.setattr(spool.shutil, "disk_usage", lambda _path: mock.Mock(free=free))
        with pytest.raises(exceptions.HostFull, match="has 10 left"):
            store.ensure("context", META)
        fetch.assert_not_called()

    @pytest.mark.parametrize(
        ("size", "fault"),
        [
            (100, None),
            (None, "does not say how large"),
            ((1 << 20) + 1, r"max_image_size_gb allows 1048576"),
        ],
    )
    def test_a_size_that_nova_does_not_know_is_asked_for(
        self, size: int | None, fault: str | None, store: Any, fetch: Any, glance: Any
    ) -> None:
        glance.get.return_value = {**META, "size": size}
        if fault is None:
            assert store.ensure("context", {**META, "size": None}).fetched
            return
        with pytest.raises(exceptions.ImageRefused, match=fault):
            store.ensure("context", {**META, "size": None})
        fetch.assert_not_called()

    def test_a_disk_that_is_full_when_it_is_fetched_is_the_hosts_matter(
        self, store: Any, fetch: Any, tmp_path: Path
    ) -> None:
        fetch.side_effect = OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(exceptions.HostFull, match="no space for it in"):
            store.ensure("context", META)
        assert os.listdir(tmp_path / "spool" / f"novadocker-{HOST}") == []

    def test_what_is_unpacked_leaves_a_reserve(
        self, store: Any, fetch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fetch.archive = gzip.compress(Parts(layers=[tar(("x", b"\0" * 500_000))]).docker())
        free = space.RESERVE_BYTES + 1000
        monkeypatch.setattr(spool.shutil, "disk_usage", lambda _path: mock.Mock(free=free))
        with pytest.raises(exceptions.HostFull, match="there is no space for it"):
            store.ensure("context", META)
        assert os.listdir(tmp_path / "spool" / f"novadocker-{HOST}") == []

    @pytest.mark.parametrize(
        ("report", "kind", "fault"),
        [
            ([{"error": "write /x: no space left on device"}], exceptions.HostFull, "no space"),
            ([{"error": "write /x: disk quota exceeded"}], exceptions.HostFull, "quota exceeded"),
            ([{"error": "invalid tar header"}], exceptions.ImageRefused, "invalid tar header"),
            ([{"stream": "nothing of note"}], exceptions.ImageRefused, "did not load it"),
        ],
    )
    def test_what_the_engine_does_not_load_is_refused(
        self,
        report: Any,
        kind: type[Exception],
        fault: str,
        store: Any,
        engine: Any,
        fetch: Any,
    ) -> None:
        engine.load_report = report
        with pytest.raises(kind, match=fault):
            store.ensure("context", META)

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_the_spool_has_one_copy_while_the_engine_loads_it(
        self, pack: Any, store: Any, engine: Any, fetch: Any, tmp_path: Path
    ) -> None:
        fetch.archive = pack(fetch.archive)
        load, there = engine._load_image, []

        def noted(parts: Any) -> Any:
            there.extend(path for path in (tmp_path / "spool").rglob("*") if path.is_file())
            return load(parts)

        engine._load_image = noted
        store.ensure("context", META)
        assert [path.name for path in there] == ["image" if pack is bytes else "archive.tar"]

    def test_a_file_that_is_changed_after_it_was_compared_is_the_old_one(
        self, engine: Any, fetch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seed = tmp_path / IMAGE_ID
        seed.write_bytes(fetch.archive)
        meta = {**META, "os_hash_algo": "sha256", "os_hash_value": digest(fetch.archive)}
        compare = Images._is_glances

        def then_changed(store: Images, *what: Any) -> bool:
            told = compare(store, *what)
            seed.write_bytes(Parts(layers=[tar(("another", b"x"))]).docker())
            return told

        monkeypatch.setattr(Images, "_is_glances", then_changed)
        place = spool.Spool(str(tmp_path / "spool"), HOST)
        Images(engine, place, None, str(tmp_path), 1 << 20).ensure("context", meta)
        assert b"another" not in engine.saved

    def test_a_file_of_the_shared_directory_stays(
        self, engine: Any, fetch: Any, tmp_path: Path
    ) -> None:
        packed = gzip.compress(fetch.archive)
        (tmp_path / IMAGE_ID).write_bytes(packed)
        meta = {**META, "os_hash_algo": "sha256", "os_hash_value": digest(packed)}
        place = spool.Spool(str(tmp_path / "spool"), HOST)
        Images(engine, place, None, str(tmp_path), 1 << 20).ensure("context", meta)
        assert (tmp_path / IMAGE_ID).read_bytes() == packed

    def test_the_engines_space_is_reserved_before_it_loads(
        self, store: Any, engine: Any, fetch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is written twice: as it is sent, and unpacked, in blocks and with inodes."""
        layer = tar(*((str(number), b"x") for number in range(20)))
        fetch.archive = Parts(layers=[layer]).docker()
        needed = len(layer) + 20 * (4096 + 1024) + 30
        for free in (needed, needed - 1):
            engine.images.clear()
            usage = mock.Mock(free=space.RESERVE_BYTES + free)
            monkeypatch.setattr(space.shutil, "disk_usage", lambda _path, usage=usage: usage)
            if free == needed:
                store.ensure("context", META)
                continue
            engine.calls.clear()
            with pytest.raises(exceptions.HostFull, match="the image takes"):
                store.ensure("context", META)
            assert "load_image" not in engine.calls

    def test_what_the_engine_was_sent_is_not_counted_twice(
        self, engine: Any, fetch: Any, tmp_path: Path
    ) -> None:
        fetch.archive = Parts(layers=[tar(("x", b"x" * (4 << 20)))]).docker()
        store = Images(engine, spool.Spool(str(tmp_path / "spool"), HOST), None, None, 8 << 20)
        load, awaited = engine._load_image, []

        def noted(parts: Any) -> Any:
            def passed() -> Any:
                for part in parts:
                    awaited.append(sum(claim.awaited_bytes for claim in space.LEDGER._claims))
                    yield part

            return load(passed())

        engine._load_image = noted
        store.ensure("context", META)
        assert awaited[0] > awaited[-1] + (3 << 20)
        assert space.LEDGER._claims == []

    def test_tag_has_digits_of_the_checksum_only(self) -> None:
        assert tag_of("id", "ABCdef0123456789abcdef") == "nova-glance/id:abcdef0123456789"
        assert tag_of("id", None) == "nova-glance/id:none"
        assert tag_of("id", "$(rm -rf /):..") == "nova-glance/id:f"

    def test_the_image_of_one_instance_has_its_name_alone(
        self, store: Any, engine: Any, fetch: Any
    ) -> None:
        image = store.ensure_for_one("context", META, "instance:z")
        assert engine.images[image.id]["RepoTags"] == ["instance:z"]
        with pytest.raises(exceptions.ImageRefused, match="container_format"):
            store.ensure_for_one("context", {**META, "container_format": "bare"}, "instance:z")


class TestRefusals:
    """What was refused for what is in it is not fetched again, and a host's fault is forgotten."""

    @pytest.fixture
    def refused(self, store: Any, fetch: Any) -> Any:
        fetch.archive = b"junk" * 4000
        with pytest.raises(exceptions.ImageRefused, match="not a whole tar archive"):
            store.ensure("context", META)
        fetch.reset_mock()
        return store

    def test_it_is_refused_again_without_a_download(self, refused: Any, fetch: Any) -> None:
        for _ in range(3):
            with pytest.raises(exceptions.ImageRefused, match=r"tar archive.*found before") as told:
                refused.ensure("context", META)
            assert told.value.image_id == IMAGE_ID
        fetch.assert_not_called()

    @pytest.mark.parametrize("other", [{"checksum": "c" * 32}, {"size": 7}, {"id": "other"}])
    def test_another_image_is_fetched(self, other: Any, refused: Any, fetch: Any) -> None:
        fetch.archive = Parts().docker()
        assert refused.ensure("context", {**META, **other}).fetched

    def test_it_is_forgotten_after_a_while(
        self, refused: Any, fetch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = refusals.time.monotonic()
        monkeypatch.setattr(refusals.time, "monotonic", lambda: now + refusals.KEPT_S + 1)
        fetch.archive = Parts().docker()
        assert refused.ensure("context", META).fetched

    def test_a_bounded_number_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(refusals, "MAX_REFUSALS", 2)
        noted = refusals.Refusals()
        for name in ("1", "2", "1", "3"):
            noted.note({"id": name}, f"for {name}")
        assert [noted.reason({"id": name}) for name in "123"] == ["for 1", None, "for 3"]

    @pytest.mark.parametrize("step", ["fetch", "spool", "engine", "load"])
    def test_a_fault_of_the_host_is_not_noted(
        self, step: str, store: Any, engine: Any, fetch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        good = Parts().docker()
        fetch.archive = gzip.compress(good)
        with monkeypatch.context() as broken:
            if step == "fetch":
                broken.setattr("nova.virt.images.fetch", mock.Mock(side_effect=OSError(28, "full")))
            elif step == "spool":
                free = space.RESERVE_BYTES + 200
                usage = mock.Mock(free=free)
                broken.setattr(space.shutil, "disk_usage", lambda _path: usage)
            elif step == "engine":
                broken.setitem(engine.failing, "info", exceptions.EngineUnreachable("away"))
            else:
                broken.setattr(engine, "load_report", [{"error": "operation not permitted"}])
            with pytest.raises(exceptions.DriverError):
                store.ensure("context", META)
        assert store.ensure("context", META).fetched

    def test_a_host_without_zstd_is_not_the_images_fault(
        self, store: Any, fetch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packed = subprocess.run(
            ["zstd", "-cq"], input=fetch.archive, capture_output=True, check=True
        ).stdout
        fetch.archive = packed
        with monkeypatch.context() as without:
            without.setenv("PATH", "/nowhere")
            with pytest.raises(exceptions.DriverError, match="install the package zstd") as told:
                store.ensure("context", META)
        assert not isinstance(told.value, exceptions.ImageRefused)
        assert store.ensure("context", META).fetched

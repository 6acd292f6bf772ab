# SPDX-License-Identifier: Apache-2.0
import errno
import gzip
import hashlib
import json
import os
import tarfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.make import HOST, IMAGE_ID
from novadocker.tests.unit.archives import LAYER, Parts, digest, special, tar
from novadocker.tests.unit.fake_engine import FakeEngine
from novadocker.virt.docker.engine import containers, isolation, streams
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.images import cache, snapshots, spool
from novadocker.virt.docker.images.cache import ImageCache
from novadocker.virt.docker.images.store import Images, tag_of
from novadocker.virt.docker.instances import guest

META = {
    "id": IMAGE_ID,
    "container_format": "docker",
    "disk_format": "raw",
    "checksum": "b" * 32,
    "size": 100,
}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch) -> mock.MagicMock:
    def copy(_context: Any, _image: str, path: str, _certificates: Any = None) -> None:
        Path(path).write_bytes(fake.archive)

    fake = mock.MagicMock(side_effect=copy)
    fake.archive = Parts().docker()
    monkeypatch.setattr("nova.virt.images.fetch", fake)
    return fake


@pytest.fixture
def store(engine: FakeEngine, glance: Any, tmp_path: Path) -> Images:
    return Images(engine, spool.Spool(str(tmp_path / "spool"), HOST), glance, None, 1 << 20)


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
        free = spool.RESERVE_BYTES + 10
        monkeypatch.setattr(spool.shutil, "disk_usage", lambda _path: mock.Mock(free=free))
        with pytest.raises(exceptions.ImageRefused, match="has 10 left"):
            store.ensure("context", META)
        fetch.assert_not_called()

    def test_a_disk_that_is_full_when_it_is_fetched_is_a_refusal(
        self, store: Any, fetch: Any, tmp_path: Path
    ) -> None:
        fetch.side_effect = OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(exceptions.ImageRefused, match="no space for it in"):
            store.ensure("context", META)
        assert os.listdir(tmp_path / "spool" / f"novadocker-{HOST}") == []

    def test_what_is_unpacked_leaves_a_reserve(
        self, store: Any, fetch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fetch.archive = gzip.compress(Parts(layers=[tar(("x", b"\0" * 500_000))]).docker())
        free = spool.RESERVE_BYTES + 1000
        monkeypatch.setattr(spool.shutil, "disk_usage", lambda _path: mock.Mock(free=free))
        with pytest.raises(exceptions.ImageRefused, match="there is no space for it"):
            store.ensure("context", META)
        assert os.listdir(tmp_path / "spool" / f"novadocker-{HOST}") == []

    @pytest.mark.parametrize(
        ("report", "fault"),
        [
            ([{"error": "no space left on device"}], "no space left"),
            ([{"stream": "nothing of note"}], "did not load it"),
        ],
    )
    def test_what_the_engine_does_not_load_is_refused(
        self, report: Any, fault: str, store: Any, engine: Any, fetch: Any
    ) -> None:
        engine.load_report = report
        with pytest.raises(exceptions.ImageRefused, match=fault):
            store.ensure("context", META)

    def test_tag_has_digits_of_the_checksum_only(self) -> None:
        assert tag_of("id", "ABCdef0123456789abcdef") == "nova-glance/id:abcdef0123456789"
        assert tag_of("id", None) == "nova-glance/id:none"
        assert tag_of("id", "$(rm -rf /):..") == "nova-glance/id:f"

    def test_the_image_of_one_instance_has_its_name_alone(
        self, store: Any, engine: Any, fetch: Any
    ) -> None:
        found = store.ensure_for_one("context", META, "instance:z")
        assert engine.images[found.id]["RepoTags"] == ["instance:z"]
        with pytest.raises(exceptions.ImageRefused, match="container_format"):
            store.ensure_for_one("context", {**META, "container_format": "bare"}, "instance:z")


class TestCache:
    DAY = 86400

    def cache(self, engine: Any, tmp_path: Path) -> ImageCache:
        return ImageCache(engine, str(tmp_path / "images.json"))

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
        one = make.instance()
        for instances, passed, left in (
            ([one], 0, True),
            ([], self.DAY / 2, True),
            ([one], self.DAY, True),
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
        cache = ImageCache(engine, str(tmp_path / "novadocker" / "images.json"))
        cache.update([], HOST, True, self.DAY)
        assert list(json.loads((tmp_path / "novadocker" / "images.json").read_text()))

    def test_a_record_that_cannot_be_kept_is_no_fault(self, engine: Any, tmp_path: Path) -> None:
        (tmp_path / "images.json").mkdir()
        self.cache(engine, tmp_path).update([], HOST, True, 0)


INNER = {
    "Cmd": ["sh"],
    "Env": ["PATH=/bin", "COLOUR=green"],
    "Labels": {"org.openstack.nova.uuid": "u", "mine": "1"},
}
DRIVE = guest.CONFIG_DRIVE.lstrip("/")


class TestSnapshots:
    LIMIT = 1 << 20

    @pytest.fixture
    def place(self, tmp_path: Path) -> spool.Spool:
        return spool.Spool(str(tmp_path / "spool"), HOST)

    def take(self, engine: Any, place: Any, layers: int, without: str | None = None) -> bytes:
        engine.add_image("base:x", dict(INNER), layers)
        engine._create_container("base:x", name="box")
        taker = snapshots.Snapshots(
            engine,
            containers.Containers(engine, HostFacts(HOST), isolation.Isolation(())),
            place,
            self.LIMIT,
            64,
        )
        with taker.open("box", "tag", {"COLOUR"}, without) as data:
            parts = []
            while part := data.read(1000):
                parts.append(part)
            data.close()
        return b"".join(parts)

    @pytest.mark.parametrize("layers", [1, 100])
    def test_a_snapshot_is_an_image_that_we_take(
        self, layers: int, store: Any, place: Any, engine: Any, fetch: Any
    ) -> None:
        engine.saved = LAYER if layers > 1 else Parts(config={"config": INNER}).docker()
        fetch.archive = self.take(engine, place, layers, guest.CONFIG_DRIVE)
        assert not any("snapshot" in str(image) for image in engine.images.values())
        assert b"org.openstack.nova" not in fetch.archive
        store.ensure("context", META)
        config = json.loads(engine.saved[512 : engine.saved.index(b"\0", 512)])
        assert config["config"]["Env"] == ["PATH=/bin"]
        assert "Labels" not in config["config"]
        # Hashes of what nothing is taken out of stay, and with them what Docker shares.
        rebuilt = b"".join(streams.tar_without(iter([LAYER]), frozenset()))
        expected = LAYER if layers == 1 else rebuilt
        assert config["rootfs"]["diff_ids"] == [f"sha256:{digest(expected)}"]

    @pytest.mark.parametrize("layers", [1, 100])
    def test_the_config_drive_is_no_part_of_it(
        self, layers: int, store: Any, place: Any, engine: Any, fetch: Any
    ) -> None:
        secrets = tar(
            ("root/.ssh/authorized_keys", b"mine"),
            special(DRIVE, tarfile.DIRTYPE),
            (f"{DRIVE}/openstack/latest/meta_data.json", b'{"admin_pass": "secret"}'),
            (f"{DRIVE}/openstack/latest/user_data", b"secret"),
            special("root/link", tarfile.LNKTYPE, f"{DRIVE}/openstack/latest/user_data"),
            ("var/lib/cloud/seed/other", b"not ours"),
        )
        whole = Parts(layers=[LAYER, secrets], config={"config": INNER})
        engine.saved = secrets if layers > 1 else whole.docker()
        fetch.archive = self.take(engine, place, layers, guest.CONFIG_DRIVE)
        assert b"secret" not in fetch.archive
        assert b"openstack/" not in fetch.archive
        assert b"not ours" in fetch.archive
        assert b"authorized_keys" in fetch.archive
        # And it is whole: its digests are those of what is left.
        store.ensure("context", META)

    def test_one_that_only_moves_keeps_it(self, place: Any, engine: Any) -> None:
        engine.saved = Parts(layers=[tar((f"{DRIVE}/x", b"secret"))]).docker()
        assert b"secret" in self.take(engine, place, 1)

    @pytest.mark.parametrize("layers", [1, 100])
    def test_one_that_would_not_be_taken_back_is_refused(
        self, layers: int, place: Any, engine: Any, tmp_path: Path
    ) -> None:
        layer = tar(("x", b"x" * self.LIMIT))
        engine.saved = layer if layers > 1 else Parts(layers=[layer]).docker()
        with pytest.raises(exceptions.ImageRefused, match="max_image_size_gb"):
            self.take(engine, place, layers)
        assert not any("snapshot" in str(image) for image in engine.images.values())
        assert os.listdir(tmp_path / "spool" / f"novadocker-{HOST}") == []

    def test_one_that_the_engine_has_packed_is_measured_unpacked(
        self, place: Any, engine: Any
    ) -> None:
        layer = tar(("x", b"x" * (self.LIMIT - 3 * 512)))[: self.LIMIT]
        engine.saved = Parts(layers=[layer], pack=gzip.compress).docker()
        with pytest.raises(exceptions.ImageRefused, match=r"the instance has \d+ bytes"):
            self.take(engine, place, 1)

    def test_a_snapshot_leaves_a_reserve_on_the_host(
        self, place: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = spool.RESERVE_BYTES + 10
        monkeypatch.setattr(spool.shutil, "disk_usage", lambda _path: mock.Mock(free=free))
        engine.saved = Parts().docker()
        with pytest.raises(exceptions.ImageRefused, match="there is no space for the instance"):
            self.take(engine, place, 1)

    @pytest.mark.parametrize("layers", [1, 100])
    def test_the_image_of_the_engine_goes_even_after_a_failure(
        self, layers: int, place: Any, engine: Any
    ) -> None:
        engine.saved = b"no archive"
        with pytest.raises((exceptions.ImageRefused, tarfile.TarError)):
            self.take(engine, place, layers)
        assert not any("snapshot" in str(image) for image in engine.images.values())

    def test_left_overs_of_a_killed_process_are_removed(self, engine: Any, place: Any) -> None:
        engine.add_image(f"{snapshots.REPOSITORY}:left")
        engine.add_image("other:x")
        workloads = containers.Containers(engine, HostFacts(HOST), isolation.Isolation(()))
        snapshots.Snapshots(engine, workloads, place, 1 << 20, 64).clean()
        assert [one["RepoTags"] for one in engine.images.values()] == [["other:x"]]

    def test_parts_are_read_as_asked(self) -> None:
        parts = streams.Parts(iter([b"", b"abc", b"d"]))
        assert [parts.read(2), parts.read(), parts.read(5), parts.read(5)] == [
            b"ab",
            b"c",
            b"d",
            b"",
        ]

    def test_glance_is_told_that_it_is_a_container(self) -> None:
        meta = snapshots.glance_meta(make.instance())
        assert (meta["container_format"], meta["disk_format"]) == ("docker", "raw")
        assert meta["properties"]["img_hv_type"] == "docker"

# SPDX-License-Identifier: Apache-2.0
"""From the engine back to Glance."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import json
import os
import tarfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.archives import LAYER, Parts, digest, special, tar
from novadocker.tests.make import HOST, META
from novadocker.virt.docker.engine import containers, isolation, sizes, streams
from novadocker.virt.docker.host import space
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.images import snapshots, spool
from novadocker.virt.docker.instances import guest

INNER = {
    "Cmd": ["sh"],
    "Env": ["PATH=/sbin", "COLOUR=green"],
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
        with taker.open("box", "tag", {"COLOUR": None, "PATH": "/bin"}, without) as data:
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

    @pytest.mark.parametrize("layers", [124, 125])
    def test_one_of_as_many_layers_as_there_may_be_is_taken(
        self, layers: int, place: Any, engine: Any
    ) -> None:
        engine.saved = LAYER
        assert self.take(engine, place, layers)
        assert "commit" not in engine.calls

    def test_a_flat_one_is_measured_before_it_is_written(self, place: Any, engine: Any) -> None:
        engine.size_rw = 1 << 40
        with pytest.raises(exceptions.ImageRefused, match="holes"):
            self.take(engine, place, 125)
        assert "export" not in engine.calls

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
        free = space.RESERVE_BYTES + 10
        monkeypatch.setattr(spool.shutil, "disk_usage", lambda _path: mock.Mock(free=free))
        monkeypatch.setattr(sizes, "_used_files", lambda _directory: 0)
        engine.saved = Parts().docker()
        with pytest.raises(exceptions.HostFull, match="there is no space for the instance"):
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
        assert [image["RepoTags"] for image in engine.images.values()] == [["other:x"]]

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

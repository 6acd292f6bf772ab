# SPDX-License-Identifier: Apache-2.0
"""Snapshots of containers of a real Docker Engine: what is in them, and what is not."""

from __future__ import annotations

import io
import json
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from novadocker import exceptions
from novadocker.tests.archives import Parts, special, tar
from novadocker.virt.docker.engine import client, containers, isolation, kept
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.images import snapshots, spool, store
from novadocker.virt.docker.instances import guest
from tests.functional.driver import busybox, own_engine

pytestmark = pytest.mark.docker

DRIVE = guest.CONFIG_DRIVE
LIMIT = 64 << 20


class Cloud:
    """A Glance and a compute host, as far as snapshots need them.

    :param flatten_layers: with so many layers, a snapshot is made of one
    """

    def __init__(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, flatten_layers: int = 64
    ) -> None:
        self.engine = own_engine.given()
        self.stored: dict[str, bytes] = {}
        self.made: list[str] = []
        place = spool.Spool(str(directory), "host")
        low = client.Engine(own_engine.given_url())
        self.workloads = containers.Containers(low, HostFacts("host"), isolation.Isolation(()))
        self.kept = kept.Kept(low, self.workloads, flatten_layers)
        self.images = store.Images(low, place, None, None, LIMIT)
        self.snapshots = snapshots.Snapshots(low, self.workloads, place, LIMIT, flatten_layers)
        monkeypatch.setattr(
            "nova.virt.images.fetch",
            lambda _context, image, path, _certs=None: Path(path).write_bytes(self.stored[image]),
        )

    def store(self, archive: bytes) -> str:
        image_id = str(uuid.uuid4())
        self.stored[image_id] = archive
        return image_id

    def boot(self, image_id: str, drive: dict[str, bytes] | None = None) -> str:
        """Make a container, with a config drive if there is to be one, and run it."""
        meta = {"id": image_id, "container_format": "docker", "size": len(self.stored[image_id])}
        image = self.images.ensure(None, meta)
        box = self.engine.containers.create(
            image.id, ["sleep", "600"], network_mode="none", labels={"of": "a server"}
        )
        self.made.append(box.id)
        if drive is not None:
            files = [(f"{DRIVE}/{name}", content) for name, content in drive.items()]
            self.workloads.put_archive(box.id, guest.pack(files, DRIVE))
        box.start()
        return str(box.id)

    def run(self, box: str, *command: str) -> str:
        return str(self.engine.containers.get(box).exec_run(command).output.decode())

    def read(self, box: str) -> str:
        return self.run(box, "sh", "-c", f"find {DRIVE} -type f 2>/dev/null | sort | xargs cat")

    def snapshot(self, box: str, without: str | None = DRIVE) -> str:
        with self.snapshots.open(box, str(uuid.uuid4()), set(), without) as data:
            parts = list(iter(lambda: data.read(1 << 20), b""))
        return self.store(b"".join(parts))

    def close(self) -> None:
        for box in self.made:
            self.engine.containers.get(box).remove(force=True)
        for image_id in self.stored:
            for image in self.engine.images.list(f"nova-glance/{image_id}"):
                self.engine.images.remove(image.id, force=True)
        self.engine.close()


@pytest.fixture(params=[64, 1], ids=["layers", "flat"])
def cloud(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path, monkeypatch, request.param)
    yield cloud
    cloud.close()


@pytest.fixture
def base(cloud: Cloud) -> str:
    # One of its own: others may make images from the same one meanwhile.
    inner = {"Cmd": ["sh"], "Env": ["PATH=/bin", f"TEST={uuid.uuid4()}"]}
    return cloud.store(Parts(layers=[busybox.root_layer()], config={"config": inner}).docker())


def names(archive: bytes) -> tuple[dict[str, object], list[str]]:
    """List the configuration and all files of all layers of an image."""
    known: list[str] = []
    with tarfile.open(fileobj=io.BytesIO(archive)) as whole:
        config = json.load(whole.extractfile("config.json"))
        for member in whole:
            if member.name.endswith("layer.tar"):
                with tarfile.open(fileobj=whole.extractfile(member)) as layer:
                    known.extend(layer.getnames())
    return config, known


def test_a_snapshot_has_no_config_drive_and_a_server_only_its_own(cloud: Cloud, base: str) -> None:
    first = cloud.boot(
        base, {"openstack/latest/user_data": b"first", "only/first": b"for-one-only"}
    )
    cloud.run(first, "sh", "-c", "echo mine >/root/mine; ln /root/mine /root/again")
    assert cloud.read(first) == "for-one-onlyfirst"
    image_id = cloud.snapshot(first)
    config, files = names(cloud.stored[image_id])
    assert b"for-one-only" not in cloud.stored[image_id]
    assert not [name for name in files if "openstack" in name or "config_drive" in name]
    assert "root/mine" in files
    assert not config["config"].get("Labels")

    without = cloud.boot(image_id)
    assert cloud.read(without) == ""
    # It is the same file system in all else.
    assert cloud.run(without, "cat", "/root/mine", "/root/again") == "mine\nmine\n"
    assert cloud.run(without, "stat", "-c", "%h", "/root/again") == "2\n"

    second = cloud.boot(image_id, {"openstack/latest/user_data": b"second"})
    assert cloud.read(second) == "second"


def test_a_config_drive_of_an_image_is_not_added_to(cloud: Cloud, base: str) -> None:
    first = cloud.boot(
        base, {"openstack/latest/user_data": b"first", "only/first": b"for-one-only"}
    )
    # As a move between hosts takes it along.
    image_id = cloud.snapshot(first, without=None)
    assert cloud.read(cloud.boot(image_id)) == "for-one-onlyfirst"
    second = cloud.boot(image_id, {"openstack/latest/user_data": b"second"})
    assert cloud.read(second) == "second"
    assert cloud.run(second, "stat", "-c", "%a %U", DRIVE) == "700 root\n"
    # It is below the layer of the second one, and goes from there as well.
    third = cloud.boot(cloud.snapshot(second))
    assert cloud.read(third) == ""
    assert b"for-one-only" not in cloud.stored[list(cloud.stored)[-1]]


def test_a_flat_snapshot_is_one_layer(cloud: Cloud, base: str) -> None:
    box = cloud.boot(base)
    cloud.run(box, "sh", "-c", "echo x >/new; rm /etc/group")
    image_id = cloud.snapshot(box)
    config, files = names(cloud.stored[image_id])
    flat = cloud.snapshots._flatten_layers == 1
    assert len(config["rootfs"]["diff_ids"]) == (1 if flat else 2)
    assert "new" in files
    again = cloud.boot(image_id)
    assert cloud.run(again, "cat", "/new") == "x\n"
    assert "No such file" in cloud.run(again, "cat", "/etc/group")


def test_capabilities_of_files_stay(cloud: Cloud) -> None:
    # CAP_SETUID; 0x80 is no UTF-8, and NUL no end.
    capability = b"\1\0\0\2\x80\0\0\0" + bytes(12)
    program = special("bin/able", tarfile.REGTYPE)
    program.mode = 0o755
    key = "SCHILY.xattr.security.capability"
    program.pax_headers = {key: capability.decode("utf-8", "surrogateescape")}
    able = tar(program, format=tarfile.PAX_FORMAT)
    box = cloud.boot(cloud.store(Parts(layers=[busybox.root_layer(), able]).docker()), {"x": b"y"})
    again = cloud.boot(cloud.snapshot(box))
    parts, _stat = cloud.engine.containers.get(again).get_archive("/bin/able")
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as members:
        (member,) = members
        assert member.pax_headers[key].encode("utf-8", "surrogateescape") == capability


def test_a_file_with_a_hole_of_terabytes_is_never_committed(
    cloud: Cloud, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = cloud.boot(base)
    cloud.run(box, "truncate", "-s", "4096G", "/hole")
    asked = []
    ask = client.Engine.call

    def noted(engine: client.Engine, verb: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(verb)
        assert verb != "commit"
        return ask(engine, verb, *args, **kwargs)

    monkeypatch.setattr(client.Engine, "call", noted)
    with pytest.raises(exceptions.ImageRefused, match="the holes in them included") as refused:
        cloud.snapshot(box)
    # A flat one would have the image's files as well.
    size = int(str(refused.value).partition("have ")[2].partition(" bytes")[0])
    assert 4 << 40 <= size < (4 << 40) + (16 << 20)
    # Where an instance is made anew there is no limit but the space on its host.
    with pytest.raises(exceptions.HostFull, match="its host has space for"):
        cloud.kept.keep(box, str(uuid.uuid4()))
    assert "containers" in asked
    assert cloud.engine.containers.get(box).status == "running"


def test_what_has_grown_too_large_is_refused_and_leaves_nothing(
    cloud: Cloud, base: str, tmp_path: Path
) -> None:
    box = cloud.boot(base)
    cloud.run(box, "dd", "if=/dev/urandom", "of=/large", "bs=1M", f"count={(LIMIT >> 20) + 1}")
    with pytest.raises(exceptions.ImageRefused, match="max_image_size_gb"):
        cloud.snapshot(box)
    assert list((tmp_path / "novadocker-host").iterdir()) == []
    assert cloud.engine.images.list(snapshots.REPOSITORY) == []
    assert cloud.engine.containers.get(box).status == "running"

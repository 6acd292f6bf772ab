# SPDX-License-Identifier: Apache-2.0
"""What all walks share: two hosts, their switch, the images, and what could be left of them."""

from __future__ import annotations

import dataclasses
import mmap
import struct
import uuid
from pathlib import Path
from typing import Any

from nova import exception
from pyroute2 import IPRoute

from novadocker.tests import archives
from tests.functional.driver import busybox, loop_devices, openvswitch, own_engine

BRIDGE = "br-int"
# One below what the engine can have: it takes one more to run.
LAYERS = (1, 60, 124)
_BLOCKS = struct.Struct("2i")


def image_id(layers: int) -> str:
    """Return the id of the image of so many layers."""
    return f"11111111-2222-4333-8444-{layers:012d}"


def image(layers: int) -> bytes:
    """Pack an image of so many layers."""
    more = [archives.tar((f"layers/{number}", b"%d" % number)) for number in range(1, layers)]
    config = {"config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]}}
    return archives.Parts(layers=[busybox.root_layer(), *more], config=config).docker()


class Glance:
    """Holds images, for all processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self, _context: Any, meta: dict[str, Any]) -> dict[str, Any]:
        identity = str(uuid.uuid4())
        (self.directory / f"{identity}.name").write_text(str(meta["name"]))
        return {"id": identity}

    def update(
        self, _context: Any, identity: str, _meta: Any, data: Any = None, **_more: Any
    ) -> None:
        part = self.directory / f"{identity}.part"
        with part.open("wb") as out:
            while block := data.read(1 << 20):
                out.write(block)
        part.rename(self.directory / identity)

    def get(self, _context: Any, identity: str) -> dict[str, Any]:
        meta = {"container_format": "docker", "disk_format": "raw", "checksum": None, "size": 1}
        return {"id": identity, "owner": None, **meta}

    def get_all(self, context: Any, filters: dict[str, str]) -> list[dict[str, Any]]:
        return [
            self.get(context, path.stem)
            for path in self.directory.glob("*.name")
            if path.read_text() == filters["name"]
        ]

    def delete(self, _context: Any, identity: str) -> None:
        if not list(self.directory.glob(f"{identity}*")):
            raise exception.ImageNotFound(image_id=identity)
        for path in self.directory.glob(f"{identity}*"):
            path.unlink()

    def fetch(self, _context: Any, identity: str, path: str, _certificates: Any = None) -> None:
        Path(path).write_bytes((self.directory / identity).read_bytes())

    def left(self) -> list[str]:
        """List all images but those of tests."""
        base = {image_id(layers) for layers in LAYERS}
        return sorted(path.name for path in self.directory.iterdir() if path.name not in base)


@dataclasses.dataclass
class Host:
    """A host of the cloud's."""

    name: str
    engine: own_engine.OwnEngine
    state: Path


class Progress:
    """What a process has come to, known to the one that waits for its end."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _BLOCKS.size)

    def _get(self) -> tuple[int, int]:
        phases, steps = _BLOCKS.unpack(self._shared[:])
        return int(phases), int(steps)

    def reset(self) -> None:
        self._shared[:] = _BLOCKS.pack(0, 0)

    def step(self) -> int:
        """Count a step, and return how many there are."""
        phases, steps = self._get()
        self._shared[:] = _BLOCKS.pack(phases, steps + 1)
        return steps + 1

    def phase(self) -> None:
        """Count a phase that is over."""
        phases, steps = self._get()
        self._shared[:] = _BLOCKS.pack(phases + 1, steps)

    @property
    def phases(self) -> int:
        return self._get()[0]

    @property
    def steps(self) -> int:
        return self._get()[1]


@dataclasses.dataclass
class Rig:
    """What all walks share."""

    hosts: list[Host]
    switch: openvswitch.Switch
    glance: Glance
    device: str
    progress: Progress = dataclasses.field(default_factory=Progress)

    def left(self) -> dict[str, Any]:
        """List all that could be left of an instance."""
        with IPRoute() as ipr:
            links = sorted(link.get_attr("IFLA_IFNAME") for link in ipr.get_links())
        seen: dict[str, Any] = {
            "links": links,
            "ports": self.switch.ports(BRIDGE),
            "glance": self.glance.left(),
        }
        for host in self.hosts:
            docker = host.engine.client()
            volumes = host.state / "novadocker/volumes"
            seen[host.name] = {
                "containers": sorted(box.name for box in docker.containers.list(all=True)),
                "namespaces": host.engine.namespaces(),
                "images": sorted(
                    tag
                    for listed in docker.api.images()
                    for tag in listed["RepoTags"] or [listed["Id"]]
                    if not tag.startswith(("nova-glance/", "nova-docker/sandbox"))
                ),
                "mounted": [
                    place for place in loop_devices.mounted_below(volumes) if place != str(volumes)
                ],
                "spooled": [str(path) for path in (host.state / "novadocker/spool").glob("*")],
            }
        return seen

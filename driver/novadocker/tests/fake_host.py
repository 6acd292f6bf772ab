# SPDX-License-Identifier: Apache-2.0
"""A host in memory: devices, what is on them, and what is mounted where."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from novadocker import exceptions
from novadocker.privsep import mounts


class FakeHost:
    """Devices, what is on them, and what is mounted.

    :ivar busy: places and devices that are in use
    :ivar blind: whether containers see nothing of it
    """

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, str]] = {}
        self.blank: dict[str, bool] = {}
        self.mounted: dict[str, mounts.Mount] = {}
        self.connected: list[str] = []
        self.done: list[tuple[Any, ...]] = []
        self.busy: set[str] = set()
        self.failing: dict[str, Exception] = {}
        self.blind = False

    def _do(self, *what: Any) -> None:
        self.done.append(what)
        if what[0] in self.failing:
            raise self.failing[what[0]]

    def share(self, directory: str) -> None:
        self._do("share", directory)

    def table(self, pid: int | str = "self") -> dict[str, mounts.Mount]:
        if pid == "self":
            return dict(self.mounted)
        if self.blind:
            return {}
        # Both bases are called after where a container sees them.
        return {
            f"/{Path(at).parents[1].name}/{Path(at).name}": device
            for at, device in self.mounted.items()
        }

    def look(self, device: str) -> dict[str, Any]:
        self._do("look", device)
        return {"tags": self.tags.get(device, {}), "blank": self.blank.get(device, True)}

    def make(self, device: str, file_system: str, owner: list[int] | None) -> None:
        self._do("make", device, file_system, owner)
        self.tags[device] = {"TYPE": file_system, "USAGE": "filesystem"}

    def mount(self, device: str, target: str, file_system: str, read_only: bool) -> None:
        self._do("mount", device, target)
        assert Path(target).is_dir()
        self.mounted[target] = mounts.Mount(
            self.number(device), device, file_system, read_only, True
        )

    mount_again = mount

    def mount_share(self, export: str, target: str, options: str, read_only: bool) -> None:
        self._do("mount_share", export, options)
        assert Path(target).is_dir()
        number = f"0:{len(self.mounted) + 40}"
        self.mounted[target] = mounts.Mount(number, export, "nfs4", read_only, True)

    def unmount(self, target: str) -> None:
        self._do("unmount", target)
        if target in self.busy:
            raise exceptions.VolumeBusy(f"{target} is busy")
        del self.mounted[target]

    def release(self, device: str) -> bool:
        self._do("release", device)
        return device not in self.busy

    def grow(self, source: str, target: str, file_system: str) -> None:
        self._do("grow", source, file_system)

    def number(self, device: str) -> str:
        return f"7:{device.rpartition('loop')[2]}"

    def verbs(self) -> list[str]:
        return [what[0] for what in self.done]

    # Of os-brick

    def properties(self) -> dict[str, Any]:
        return {"host": "unit-host"}

    def connect(self, info: dict[str, Any]) -> str:
        self._do("connect", info["data"]["path"])
        self.connected.append(info["data"]["path"])
        info["data"]["device_path"] = info["data"]["path"]
        return str(info["data"]["path"])

    def disconnect(self, info: dict[str, Any]) -> None:
        self._do("disconnect", info["data"]["path"])
        with contextlib.suppress(ValueError):
            self.connected.remove(info["data"]["path"])

    def extend(self, info: dict[str, Any]) -> None:
        self._do("extend", info["data"]["path"])


def info(number: int = 1, **data: Any) -> dict[str, Any]:
    """Make Cinder's description of a connection."""
    return {"driver_volume_type": "local", "data": {"path": f"/dev/loop{number}", **data}}

# SPDX-License-Identifier: Apache-2.0
"""The disks that a directory lies on, as the kernel limits what is read from them and written."""

from __future__ import annotations

import os
from pathlib import Path

from novadocker.privsep import mounts

_SYSTEM = Path("/sys")
_DEVICES = Path("/dev")


def below(directory: str) -> list[str]:
    """Return the paths of the disks that a directory lies on, none where there is no such disk.

    They are whole disks, or what is put together of disks (LVM, RAID): of partitions the kernel
    limits nothing.
    """
    mount = _mount(directory)
    disks = []
    for device in _places(mount):
        place = device.parent if (device / "partition").exists() else device
        told = dict(line.split("=", 1) for line in (place / "uevent").read_text().splitlines())
        disks.append(str(_DEVICES / told["DEVNAME"]))
    # The engine looks them up by their paths.
    return sorted(set(disks)) if all(os.path.exists(disk) for disk in disks) else []


def file_system(directory: str) -> str:
    """Return the name of the file system that a directory is on."""
    return _mount(directory).file_system


def _mount(directory: str) -> mounts.Mount:
    return mounts.holding(os.path.realpath(directory), mounts.table())


def _places(mount: mounts.Mount) -> list[Path]:
    """Return where the kernel tells of the devices that are mounted."""
    if mount.file_system == "btrfs":
        name = os.path.basename(os.path.realpath(mount.source))
        for devices in _SYSTEM.glob("fs/btrfs/*/devices"):
            if (devices / name).exists():
                return [Path(os.path.realpath(device)) for device in devices.iterdir()]
        return []
    place = _SYSTEM / "dev/block" / mount.device
    return [Path(os.path.realpath(place))] if place.exists() else []

# SPDX-License-Identifier: Apache-2.0
"""The disks that a directory lies on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from novadocker.privsep.mounts import Mount
from novadocker.virt.docker.host import disks


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with a partition, a volume of LVM's and a btrfs of two disks."""
    monkeypatch.setattr(disks, "_SYSTEM", tmp_path / "sys")
    monkeypatch.setattr(disks, "_DEVICES", tmp_path / "dev")
    (tmp_path / "dev").mkdir()
    block = tmp_path / "sys/dev/block"
    block.mkdir(parents=True)
    for number, place, name in (
        ("8:0", "sda", "sda"),
        ("8:1", "sda/sda1", "sda1"),
        ("253:0", "dm-0", "dm-0"),
        ("8:16", "sdb", "sdb"),
        ("8:32", "sdc", "sdc"),
    ):
        device = tmp_path / "sys/devices" / place
        device.mkdir(parents=True)
        (device / "uevent").write_text(f"MAJOR=1\nDEVNAME={name}\n")
        (tmp_path / "dev" / name).touch()
        (block / number).symlink_to(device)
    (tmp_path / "sys/devices/sda/sda1/partition").write_text("1")
    pool = tmp_path / "sys/fs/btrfs/uuid/devices"
    pool.mkdir(parents=True)
    for name in ("sdb", "sdc"):
        (pool / name).symlink_to(tmp_path / "sys/devices" / name)

    def mounted(device: str, source: str, file_system: str) -> None:
        mount = Mount(device, source, file_system, False, False)
        monkeypatch.setattr(disks.mounts, "table", lambda: {"/": mount})

    mounted.root = tmp_path  # type: ignore[attr-defined]
    return mounted


@pytest.mark.parametrize(
    ("device", "source", "file_system", "expected"),
    [
        # Of a partition the kernel limits nothing.
        ("8:1", "/dev/sda1", "ext4", ["sda"]),
        ("253:0", "/dev/mapper/vg-docker", "xfs", ["dm-0"]),
        ("0:40", "/dev/sdb", "btrfs", ["sdb", "sdc"]),
        ("0:41", "/dev/sdz", "btrfs", []),
        ("0:42", "overlay", "overlay", []),
        ("0:43", "tmpfs", "tmpfs", []),
    ],
)
def test_the_disks_that_the_kernel_limits(
    device: str, source: str, file_system: str, expected: list[str], machine: Any
) -> None:
    machine(device, source, file_system)
    assert disks.below("/") == [str(machine.root / "dev" / name) for name in expected]
    assert disks.file_system("/") == file_system


def test_a_disk_that_has_no_path_here_is_none(machine: Any) -> None:
    machine("8:16", "/dev/sdb", "ext4")
    (machine.root / "dev/sdb").unlink()
    assert disks.below("/") == []

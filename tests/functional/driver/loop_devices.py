# SPDX-License-Identifier: Apache-2.0
"""Volumes of tests: files as block devices, and what a tenant may have written to them."""

from __future__ import annotations

import hashlib
import os
import random
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CAP_SYS_RESOURCE = 24


class Connections:
    """Connects volumes that are devices of this machine, in the place of os-brick."""

    def connect(self, info: dict[str, Any]) -> str:
        """Return the device of a volume."""
        info["data"]["device_path"] = info["data"]["path"]
        return str(info["data"]["path"])

    def disconnect(self, info: dict[str, Any]) -> None:
        """Leave the device there."""


class LoopDevices:
    """Loop devices, all of which are released in the end."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="novadocker-volumes-")
        self._files: dict[str, Path] = {}
        self._made = 0

    def make(self, size_bytes: int, content: bytes = b"") -> str:
        """Make a device.

        :param content: what it begins with; the rest is zeros
        """
        self._made += 1
        file = Path(self._directory.name, str(self._made))
        file.write_bytes(content)
        os.truncate(file, size_bytes)
        device = _run("losetup", "--find", "--show", str(file)).strip()
        self._files[device] = file
        return device

    def extend(self, device: str, size_bytes: int) -> None:
        """Make a device larger."""
        os.truncate(self._files[device], size_bytes)
        _run("losetup", "--set-capacity", device)

    def content(self, device: str) -> bytes:
        """Read all that is on a device."""
        _run("blockdev", "--flushbufs", device)
        return self._files[device].read_bytes()

    def digest(self, device: str) -> str:
        """Digest all that is on a device."""
        return hashlib.sha256(self.content(device)).hexdigest()

    def release(self, device: str) -> None:
        """Let a device go, writable for whoever is given it next."""
        _run("blockdev", "--setrw", device)
        _run("losetup", "--detach", device)
        self._files.pop(device).unlink()

    def close(self) -> None:
        """Let all devices go."""
        for device in list(self._files):
            self.release(device)
        self._directory.cleanup()


def mounted_below(directory: Path) -> list[str]:
    """List what is mounted at or below a directory."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [
        target
        for target in (line.split()[1] for line in lines)
        if Path(target).is_relative_to(directory)
    ]


def may_grow_ext4() -> bool:
    """Tell whether programs of this machine's root have CAP_SYS_RESOURCE, which that takes."""
    status = Path("/proc/self/status").read_text()
    bounding = next(line for line in status.splitlines() if line.startswith("CapBnd:"))
    return bool(int(bounding.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)


def ext4(size_bytes: int, *arguments: str) -> bytes:
    """Make a file system."""
    return _made(size_bytes, "mkfs.ext4", "-q", "-F", *arguments)


def hostile(size_bytes: int) -> Iterator[tuple[str, bytes, str]]:
    """List what is not mounted.

    :return: its name, its content, and what the refusal says, as a regular expression
    """
    noise = random.Random(3).randbytes
    partitions = bytearray(512)
    partitions[446:462] = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0x83, b"\xff\xff\xff", 2048, 65536)
    partitions[510:] = b"\x55\xaa"
    yield "a partition table", bytes(partitions), "a partition table"
    luks = b"LUKS\xba\xbe\x00\x02" + struct.pack(">Q", 16384) + bytes(8) + b"label".ljust(48, b"\0")
    luks += b"sha256".ljust(32, b"\0") + noise(64) + b"11111111-2222-4333-8444-555555555555\0"
    yield "LUKS", luks.ljust(4096, b"\0") + noise(4096), "crypto_LUKS is on the volume"
    yield "swap", _made(size_bytes, "mkswap"), "swap is on the volume"
    yield "noise", noise(1 << 20), "neither blank"
    middle = bytes(size_bytes // 2) + noise(1 << 20)
    yield "data in the middle", middle, "neither blank"
    yield "data at the end", bytes(size_bytes - 4096) + noise(4096), "neither blank"
    squash = struct.pack(
        "<IIIIIHHHHHHQQQQQQQQ",
        *(0x73717368, 1, 0, 131072, 0, 1, 17, 0xC0, 1, 4, 0, 0, 4096),
        *([4096] * 6),
    )
    yield "squashfs", squash.ljust(4096, b"\1"), "squashfs is on the volume"
    yield "ext3", _made(size_bytes, "mkfs.ext3", "-q", "-F"), "ext3 is on the volume"
    broken = bytearray(ext4(size_bytes))
    broken[1024 + 64 : 1024 + 80] = noise(16)
    # Newer blkids look at its checksum, and find no file system then.
    yield "a broken superblock", bytes(broken), "cannot be mounted|neither blank"
    broken = bytearray(ext4(size_bytes))
    broken[1024 + 56 : 1024 + 58] = b"\0\0"
    yield "a superblock without its magic number", bytes(broken), "neither blank"
    broken = bytearray(ext4(size_bytes))
    broken[2048:4096] = noise(2048)
    yield "broken descriptors", bytes(broken), "cannot be mounted"
    doubled = bytearray(ext4(size_bytes))
    doubled[: len(partitions)] = partitions
    yield "a file system and a partition table", bytes(doubled), "on the volume"


def _made(size_bytes: int, *command: str) -> bytes:
    with tempfile.NamedTemporaryFile() as file:
        os.truncate(file.name, size_bytes)
        _run(*command, file.name)
        return Path(file.name).read_bytes()


def _run(*command: str) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return subprocess.run(
        command,
        env={**os.environ, "PATH": path},
        check=True,
        capture_output=True,
        text=True,
    ).stdout

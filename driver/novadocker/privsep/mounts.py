# SPDX-License-Identifier: Apache-2.0
"""File systems of volumes: inspect, make, mount on the host, release.

The content of a volume may have been made by a tenant. From the first inspection until the final
mount the kernel treats the device as read-only, so that a refused volume is not changed by a byte.
Functions with privileges take plain data only, as they run in the privsep daemon.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from novadocker import exceptions
from novadocker.privsep import volumes_ctx as ctx

_BLKROSET = 0x125D
_MIB = 1 << 20
# Samples between the first and the last MiB that decide whether a device is blank.
_SAMPLES = 64
_SAMPLE_BYTES = 4096
_PATIENCE_S = 3.0
# Of a program, and of one that writes all over a volume.
_TIMEOUT_S = 60.0
_LONG_TIMEOUT_S = 1800.0
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

# An error in a file system must not panic the host, whatever the superblock asks for.
_OPTIONS = {"ext4": "nosuid,nodev,errors=remount-ro", "xfs": "nosuid,nodev,nouuid"}
_NOT_REPLAYED = {"ext4": "ro,noload", "xfs": "ro,norecovery"}
_MAKE = {"ext4": ("mkfs.ext4", "-q", "-F", "-m", "0"), "xfs": ("mkfs.xfs", "-q")}
_GROW = {"ext4": "resize2fs", "xfs": "xfs_growfs"}


@dataclasses.dataclass(frozen=True)
class Mount:
    """A line of ``/proc/PID/mountinfo``.

    :param device: major and minor number
    :param source: the mounted device
    :param shared: whether mounts below it propagate to other mount namespaces
    """

    device: str
    source: str
    file_system: str
    read_only: bool
    shared: bool


def table(pid: int | str = "self") -> dict[str, Mount]:
    """Return the mounts that a process sees, by mount point; needs no privileges."""
    mounts = {}
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            fields, _, of_source = line.partition(" - ")
            before, (file_system, source) = fields.split(), of_source.split()[:2]
            mounts[_unescaped(before[4])] = Mount(
                before[2],
                _unescaped(source),
                file_system,
                "ro" in before[5].split(","),
                any(field.startswith("shared:") for field in before[6:]),
            )
    return mounts


def holding(path: str, mounts: dict[str, Mount]) -> Mount:
    """Return the mount that a path belongs to."""
    while path not in mounts:
        path = os.path.dirname(path)
    return mounts[path]


@ctx.entrypoint
def share(directory: str) -> None:
    """Make mounts below a directory propagate to other mount namespaces. Idempotent."""
    mounts = table()
    if holding(directory, mounts).shared:
        return
    if directory not in mounts:
        _run("mount", "--bind", directory, directory)
    _run("mount", "--make-rshared", directory)


@ctx.entrypoint
def look(device: str) -> dict[str, Any]:
    """Return what is on a device, and make the device read-only from now on.

    :return: ``tags`` of blkid (``AMBIVALENT`` when it cannot tell formats apart), and whether the
        device is ``blank``, which is checked only when there are no tags
    :raises VolumeError: the device is in use, or is not a block device
    """
    try:
        # O_EXCL fails for a device that the host itself uses.
        fd = os.open(device, os.O_RDONLY | os.O_EXCL)
    except OSError as err:
        raise exceptions.VolumeError(f"{device}: {err.strerror}") from err
    try:
        if not stat.S_ISBLK(os.fstat(fd).st_mode):
            raise exceptions.VolumeError(f"{device} is no block device")
        _set_read_only(fd, True)
        tags = _tags(device)
        return {"tags": tags, "blank": not tags and _blank(fd)}
    finally:
        os.close(fd)


@ctx.entrypoint
def make(device: str, file_system: str, owner: list[int] | None) -> None:
    """Make a file system on a blank device.

    :param owner: user and group of the root directory; None for the host's root
    :raises VolumeRefused: the device is not blank
    """
    fd = os.open(device, os.O_RDONLY)
    try:
        # Checked again with privileges: whoever asks, only a blank device is ever overwritten.
        if _tags(device) or not _blank(fd):
            raise exceptions.VolumeRefused("the volume is not blank")
        _set_read_only(fd, False)
    finally:
        os.close(fd)
    _run(*_MAKE[file_system], device, timeout_s=_LONG_TIMEOUT_S)
    if owner:
        with _aside(device, file_system, False) as aside:
            _run("chown", f"{owner[0]}:{owner[1]}", aside)


@ctx.entrypoint
def mount(device: str, target: str, file_system: str, read_only: bool) -> None:
    """Mount a device, after a trial mount that is read-only and replays no journal."""
    fd = os.open(device, os.O_RDONLY)
    try:
        _set_read_only(fd, True)
        with _aside(device, file_system, True):
            pass
        if not read_only:
            _set_read_only(fd, False)
    finally:
        os.close(fd)
    _mount(device, target, file_system, read_only)


@ctx.entrypoint
def mount_share(export: str, target: str, options: str, read_only: bool) -> None:
    """Mount a share by NFS.

    :param export: HOST:/PATH
    :param options: more options, separated by commas
    """
    # The last ones count.
    more = [options] if options else []
    wanted = ",".join([*more, "nosuid,nodev", "ro" if read_only else "rw"])
    _run("mount", "-t", "nfs", "-o", wanted, export, target)


@ctx.entrypoint
def mount_again(device: str, target: str, file_system: str, read_only: bool) -> None:
    """Mount a device that was mounted here until now, and may still be mounted elsewhere."""
    _mount(device, target, file_system, read_only)


@ctx.entrypoint
def unmount(target: str) -> None:
    """Unmount the topmost mount at a mount point.

    :raises VolumeBusy: the mount is in use
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            _run("umount", target)
            return
        except exceptions.VolumeError as err:
            # The kernel may still be tearing down a container that has just ended.
            if time.monotonic() > deadline:
                raise exceptions.VolumeBusy(str(err)) from err
        time.sleep(0.2)


@ctx.entrypoint
def release(device: str) -> bool:
    """Return whether nothing on this host uses a device any more; a missing device is unused.

    A device that was unmounted here may still be mounted in another mount namespace. Disconnecting
    it would then lose data that has not been written yet.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fd = os.open(device, os.O_RDONLY | os.O_EXCL)
        except OSError as err:
            if err.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
                return True
            if err.errno != errno.EBUSY:
                raise
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
            continue
        try:
            _set_read_only(fd, False)
        finally:
            os.close(fd)
        return True


@ctx.entrypoint
def grow(source: str, target: str, file_system: str) -> None:
    """Grow a mounted file system to the size of its device."""
    where = source if file_system == "ext4" else target
    _run(_GROW[file_system], where, timeout_s=_LONG_TIMEOUT_S)


def programs(file_system: str) -> list[str]:
    """Return the names of the programs that a file system needs."""
    return ["blkid", "mount", "umount", _MAKE[file_system][0], _GROW[file_system]]


def nfs_program() -> str | None:
    """Return the path of the program that mounts by NFS; None where there is none."""
    return shutil.which("mount.nfs", path=search_path())


def search_path() -> str:
    """Return the PATH on which programs are searched for."""
    return _ENVIRONMENT["PATH"]


def _mount(device: str, target: str, file_system: str, read_only: bool) -> None:
    options = _OPTIONS[file_system]
    if read_only:
        options = f"{options},{_NOT_REPLAYED[file_system]}"
    _run("mount", "-t", file_system, "-o", options, device, target)


@contextlib.contextmanager
def _aside(device: str, file_system: str, read_only: bool) -> Iterator[str]:
    """Mount a device where nobody but root comes to, whatever its own root directory lets others.

    It is taken away from there in any case, and what is on it is never walked through.

    :raises VolumeError: it is in use there, or could not be mounted
    """
    private = tempfile.mkdtemp(prefix="novadocker-")
    place = os.path.join(private, "root")
    os.mkdir(place)
    try:
        _mount(device, place, file_system, read_only)
        try:
            yield place
        finally:
            try:
                _run("umount", place)
            except exceptions.VolumeError:
                _run("umount", "--lazy", place)
                raise
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(place)
            os.rmdir(private)


def _tags(device: str) -> dict[str, str]:
    # Only these tags: others, such as labels, are a tenant's text.
    wanted = [word for tag in ("TYPE", "USAGE", "PTTYPE", "EXT_JOURNAL") for word in ("-s", tag)]
    done = _run("blkid", "-p", "-o", "export", *wanted, device, codes=(0, 2, 8))
    if done.returncode == 8:
        return {"AMBIVALENT": "yes"}
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {tag: value for tag, _, value in lines if tag != "DEVNAME"}


def _blank(fd: int) -> bool:
    size = os.lseek(fd, 0, os.SEEK_END)
    places = [(0, _MIB), (max(size - _MIB, 0), _MIB)]
    places += [(size * sample // _SAMPLES, _SAMPLE_BYTES) for sample in range(_SAMPLES)]
    return size > 0 and not any(any(os.pread(fd, length, at)) for at, length in places)


def _set_read_only(fd: int, read_only: bool) -> None:
    fcntl.ioctl(fd, _BLKROSET, struct.pack("i", read_only))


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), path)


def _run(
    *argv: str, codes: tuple[int, ...] = (0,), timeout_s: float = _TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=_ENVIRONMENT,
            check=False,
            timeout=timeout_s,
        )
    except FileNotFoundError as err:
        raise exceptions.VolumeError(f"the host has no program {argv[0]}") from err
    except subprocess.TimeoutExpired as err:
        raise exceptions.VolumeError(
            f"{argv[0]} has not ended after {timeout_s:.0f} s: does the volume's storage answer?"
        ) from err
    if done.returncode not in codes:
        said = " ".join((done.stderr or done.stdout).split())[-300:] or f"code {done.returncode}"
        raise exceptions.VolumeError(said if said.startswith(argv[0]) else f"{argv[0]}: {said}")
    return done

# SPDX-License-Identifier: Apache-2.0
"""Volumes of instances, mounted on the host below a directory that the container sees.

The container has its instance's directory at ``/volumes``.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.privsep import mounts
from novadocker.virt.docker.volumes import brick, private

LOG = logging.getLogger(__name__)

MOUNT_POINT = "/volumes"
_DEVICE_NAME = re.compile(r"[a-z][a-z0-9]{1,30}")

# Cinder's connection, and the name of the device as Nova has it (/dev/vdb).
Attached = tuple[dict[str, Any], str]
# Returns the user and the group that are root in containers; None when they are the host's.
Owner = Callable[[], tuple[int, int] | None]


def base(state_path: str) -> str:
    """Return the directory below which volumes are mounted."""
    return os.path.join(state_path, "novadocker", "volumes")


def remapped_root(info: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return who is root in the engine's containers.

    :param info: the engine's answer to ``info``
    :return: user and group; None when it is the host's root
    :raises VolumeError: the engine remaps users and does not tell whom
    """
    if not any(option.startswith("name=userns") for option in info.get("SecurityOptions") or []):
        return None
    numbers = re.fullmatch(r"(\d+)\.(\d+)", os.path.basename(info["DockerRootDir"].rstrip("/")))
    if numbers is None:
        raise exceptions.VolumeError("the engine does not tell who is root in its containers")
    return int(numbers[1]), int(numbers[2])


def chosen(tags: Mapping[str, str], blank: bool, allowed: Sequence[str], read_only: bool) -> str:
    """Return the file system to mount, or to make on a blank volume.

    :param tags: blkid's
    :param allowed: file systems; the first one is made
    :raises VolumeRefused: something else than one allowed file system is on the volume
    """
    accepted = f"accepted are blank volumes and {' and '.join(allowed)} on the whole volume"
    if not tags:
        if not blank:
            raise exceptions.VolumeRefused(
                f"the volume is neither blank nor does it hold a known file system; {accepted}"
            )
        if read_only:
            raise exceptions.VolumeRefused("the volume is blank and may only be read")
        return allowed[0]
    if "AMBIVALENT" in tags:
        raise exceptions.VolumeRefused(f"several things may be on the volume; {accepted}")
    if "PTTYPE" in tags:
        raise exceptions.VolumeRefused(f"a partition table is on the volume; {accepted}")
    if "EXT_JOURNAL" in tags:
        raise exceptions.VolumeRefused("the file system has its journal on another volume")
    file_system = tags.get("TYPE", "something unknown")
    if tags.get("USAGE") != "filesystem" or file_system not in allowed:
        raise exceptions.VolumeRefused(f"{file_system} is on the volume; {accepted}")
    return file_system


class Volumes:
    """Attaches volumes to instances and detaches them. Both are idempotent.

    :param directory: directory below which volumes are mounted
    :param allowed: file systems; none when instances get no volumes
    :param owner: returns who is root in containers
    """

    def __init__(
        self,
        directory: str,
        allowed: Sequence[str],
        connections: brick.Connections,
        owner: Owner,
    ) -> None:
        self.base = directory
        self.allowed = tuple(allowed)
        self._connections = connections
        self._owner = owner

    def prepare(self) -> None:
        """Make the directory, and let containers see mounts below it.

        :raises NotReady: volumes cannot be mounted on this host
        """
        private.prepare(self.base, "volumes", "volume_file_systems", allowed=bool(self.allowed))

    def connector(self) -> dict[str, Any]:
        """Return how volumes can be connected to this host, for Cinder."""
        return self._connections.properties()

    def bound(self, uuid: str) -> list[dict[str, Any]]:
        """Return the mount of an instance's directory, for the engine; none without volumes."""
        if not self.allowed:
            return []
        return [private.bound(os.path.join(self.base, uuid), MOUNT_POINT)]

    def attach(self, uuid: str, info: dict[str, Any], device_name: str) -> bool:
        """Connect a volume and mount it.

        :param info: Cinder's connection
        :param device_name: name of the device as Nova has it
        :return: False when the volume was mounted there already
        :raises VolumeRefused: a container may not have this volume, which is not changed
        :raises VolumeError: the volume could not be mounted, and is disconnected again
        """
        target = self._target(uuid, device_name)
        read_only = _read_only(info)
        device = self._connections.connect(info)
        try:
            mount = mounts.table().get(target)
            if mount is not None:
                if mount.device == _number(device):
                    return False
                raise exceptions.VolumeError(f"another volume is mounted as {device_name}")
            self._mount(device, target, read_only)
        except BaseException:
            self._undo(info, device)
            raise
        LOG.info("Mounted %s at %s", device, target)
        return True

    def _mount(self, device: str, target: str, read_only: bool) -> None:
        content = mounts.look(device)
        file_system = chosen(content["tags"], content["blank"], self.allowed, read_only)
        if not content["tags"]:
            LOG.info("Making %s on the blank volume %s", file_system, device)
            owner = self._owner()
            mounts.make(device, file_system, list(owner) if owner else None)
        os.makedirs(target, exist_ok=True)
        try:
            mounts.mount(os.path.realpath(device), target, file_system, read_only)
        except exceptions.VolumeError as err:
            raise exceptions.VolumeRefused(f"its {file_system} cannot be mounted: {err}") from err

    def _undo(self, info: dict[str, Any], device: str) -> None:
        """Disconnect a volume; a failure is only logged."""
        try:
            if mounts.release(device):
                self._connections.disconnect(info)
            else:
                LOG.warning("%s is in use by others, and is left alone", device)
        except (exceptions.VolumeError, OSError) as err:
            LOG.warning("%s may be left connected: %s", device, err)

    def detach(self, uuid: str, info: dict[str, Any], device_name: str) -> None:
        """Unmount a volume and disconnect it. Idempotent.

        :raises VolumeBusy: the volume is in use, and stays mounted
        """
        target = self._target(uuid, device_name)
        mount = private.unmount(target)
        if mount is None:
            if "device_path" in info["data"]:
                # A crash may have left it connected and not mounted.
                self._undo(info, info["data"]["device_path"])
            return
        if not mounts.release(mount.source):
            mounts.mount_again(mount.source, target, mount.file_system, mount.read_only)
            raise exceptions.VolumeBusy(f"{mount.source} is in use elsewhere on the host")
        self._connections.disconnect(info)
        with contextlib.suppress(OSError):
            os.rmdir(target)

    def detach_all(self, uuid: str, attached: Iterable[Attached], forget: bool = False) -> None:
        """Detach all volumes of an instance that does not run.

        :param forget: whether to remove the instance's directory, too
        :raises VolumeError: a volume could not be detached; all were tried
        """
        faults: list[exceptions.VolumeError] = []
        for info, device_name in attached:
            try:
                self.detach(uuid, info, device_name)
            except exceptions.VolumeError as err:
                faults.append(err)
        if faults:
            raise faults[0]
        for target in self._mounts(uuid):
            LOG.warning("Unmounting %s, which Nova knows nothing of", target)
            private.unmount(target)
        if forget:
            private.remove(os.path.join(self.base, uuid))

    def any(self, uuid: str) -> bool:
        """Return whether an instance has volumes."""
        return bool(self._mounts(uuid))

    @contextlib.contextmanager
    def aside(self, uuid: str) -> Iterator[None]:
        """Unmount the volumes of a stopped instance, and mount them again afterwards."""
        were = self._mounts(uuid)
        try:
            for target in were:
                private.unmount(target)
            yield
        finally:
            now = mounts.table()
            for target, mount in were.items():
                if target not in now:
                    mounts.mount_again(mount.source, target, mount.file_system, mount.read_only)

    def grow(self, uuid: str, info: dict[str, Any]) -> None:
        """Grow the mounted file system of a volume that was extended.

        :raises VolumeError: the file system could not be grown, and keeps its size
        """
        device = self._connections.connect(info)
        self._connections.extend(info)
        number = _number(device)
        for target, mount in self._mounts(uuid).items():
            if mount.device == number:
                if mount.read_only:
                    raise exceptions.VolumeError("the volume may only be read")
                mounts.grow(mount.source, target, mount.file_system)
                return
        raise exceptions.VolumeError("the volume is not mounted")

    def unseen(self, uuid: str, pid: int) -> list[str]:
        """Return the names of mounted volumes that a process of the instance does not see."""
        return private.unseen(os.path.join(self.base, uuid), MOUNT_POINT, pid)

    def _mounts(self, uuid: str) -> dict[str, mounts.Mount]:
        return private.mounted(os.path.join(self.base, uuid))

    def _target(self, uuid: str, device_name: str) -> str:
        name = os.path.basename(device_name or "")
        if not _DEVICE_NAME.fullmatch(name):
            raise exceptions.VolumeRefused(f"{device_name!r} is no name for a volume")
        return os.path.join(self.base, uuid, name)


def _read_only(info: dict[str, Any]) -> bool:
    """Return whether a volume may only be read.

    :raises VolumeRefused: the volume is shared or encrypted, or its mode is unknown
    """
    if info.get("multiattach"):
        raise exceptions.VolumeRefused("it may be attached to several servers at once")
    if info["data"].get("encrypted"):
        raise exceptions.VolumeRefused("it is encrypted")
    mode = info["data"].get("access_mode") or "rw"
    if mode not in ("ro", "rw"):
        raise exceptions.VolumeRefused(f"its access mode is {mode}")
    return bool(mode == "ro")


def _number(device: str) -> str:
    status = os.stat(device)
    if not stat.S_ISBLK(status.st_mode):
        raise exceptions.VolumeRefused(f"{device} is no block device")
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"

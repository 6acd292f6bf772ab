# SPDX-License-Identifier: Apache-2.0
"""Volumes of instances: mounted on the host, below a directory that the instance is shown.

The container has the directory of its instance at ``/volumes``, read-only and as a slave: what is
mounted below it on the host comes and goes in the container too, while it runs. Where a volume is
not mounted, there is nothing that could be written to in its place.
"""

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from oslo_log import log as logging
from oslo_privsep.daemon import FailedToDropPrivileges

from novadocker import exceptions
from novadocker.privsep import mounts
from novadocker.virt.docker.volumes import brick

LOG = logging.getLogger(__name__)

MOUNT_POINT = "/volumes"
_DEVICE_NAME = re.compile(r"[a-z][a-z0-9]{1,30}")

# What Cinder says of a connection, and the name of the device as Nova has it (/dev/vdb).
Attached = tuple[dict[str, Any], str]
# User and group that are root in containers; None when they are the host's.
Owner = Callable[[], tuple[int, int] | None]


def base(state_path: str) -> str:
    """Name the directory below which volumes are mounted."""
    return os.path.join(state_path, "novadocker", "volumes")


def remapped_root(info: Mapping[str, Any]) -> tuple[int, int] | None:
    """Find out who is root in the engine's containers.

    :param info: the engine's answer to ``info``
    :return: user and group; None when it is the host's root
    """
    if not any(option.startswith("name=userns") for option in info.get("SecurityOptions") or []):
        return None
    found = re.fullmatch(r"(\d+)\.(\d+)", os.path.basename(info["DockerRootDir"].rstrip("/")))
    if found is None:
        raise exceptions.VolumeError("the engine does not tell who is root in its containers")
    return int(found[1]), int(found[2])


def chosen(tags: Mapping[str, str], blank: bool, allowed: Sequence[str], read_only: bool) -> str:
    """Choose the file system to mount, or to make on a blank volume.

    :param tags: what blkid has found
    :param allowed: file systems; the first one is made
    :raises VolumeRefused: anything else than one of them and nothing more is on the volume
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
    found = tags.get("TYPE", "something unknown")
    if tags.get("USAGE") != "filesystem" or found not in allowed:
        raise exceptions.VolumeRefused(f"{found} is on the volume; {accepted}")
    return found


class Volumes:
    """Attaches volumes to instances and detaches them; either may be repeated.

    :param directory: all is mounted below it
    :param allowed: file systems; none when instances get no volumes
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
        """Have a directory whose mounts are seen in containers.

        Also where volumes are no longer allowed, for containers that were made with it.

        :raises NotReady: it cannot be had
        """
        try:
            if self.allowed:
                os.makedirs(self.base, exist_ok=True)
            if os.path.isdir(self.base):
                mounts.share(self.base)
        except (exceptions.VolumeError, OSError, FailedToDropPrivileges) as err:
            raise exceptions.NotReady(
                f"[docker]volume_file_systems is set, and volumes cannot be mounted: {err}"
            ) from err

    def connector(self) -> dict[str, Any]:
        """Tell Cinder how volumes can be connected to this host."""
        return self._connections.properties()

    def bound(self, uuid: str) -> list[dict[str, Any]]:
        """Describe what of the host an instance's container is given, for the engine."""
        if not self.allowed:
            return []
        directory = os.path.join(self.base, uuid)
        os.makedirs(directory, exist_ok=True)
        # Whatever nova-compute's umask is: users of the container have to pass.
        os.chmod(directory, 0o755)
        return [
            {
                "Type": "bind",
                "Source": directory,
                "Target": MOUNT_POINT,
                "ReadOnly": True,
                # The volumes below it are written to.
                "BindOptions": {"Propagation": "rslave", "ReadOnlyNonRecursive": True},
            }
        ]

    def attach(self, uuid: str, info: dict[str, Any], device_name: str) -> bool:
        """Connect a volume and mount it.

        :return: False when it was mounted there already
        :raises VolumeRefused: it is not what a container may have, and is what it was
        :raises VolumeError: it could not be; what was done is undone
        """
        target = self._target(uuid, device_name)
        read_only = _read_only(info)
        device = self._connections.connect(info)
        try:
            there = mounts.table().get(target)
            if there is not None:
                if there.device == _number(device):
                    return False
                raise exceptions.VolumeError(f"another volume is mounted as {device_name}")
            self._mount(device, target, read_only)
        except BaseException:
            self._undo(info, device)
            raise
        LOG.info("Mounted %s at %s", device, target)
        return True

    def _mount(self, device: str, target: str, read_only: bool) -> None:
        found = mounts.look(device)
        file_system = chosen(found["tags"], found["blank"], self.allowed, read_only)
        if not found["tags"]:
            LOG.info("Making %s on the blank volume %s", file_system, device)
            owner = self._owner()
            mounts.make(device, file_system, list(owner) if owner else None)
        os.makedirs(target, exist_ok=True)
        try:
            mounts.mount(os.path.realpath(device), target, file_system, read_only)
        except exceptions.VolumeError as err:
            raise exceptions.VolumeRefused(f"its {file_system} cannot be mounted: {err}") from err

    def _undo(self, info: dict[str, Any], device: str) -> None:
        """Take back a connection; whatever cannot be is told in the log only."""
        try:
            if mounts.release(device):
                self._connections.disconnect(info)
            else:
                LOG.warning("%s is in use by others, and is left alone", device)
        except (exceptions.VolumeError, OSError) as err:
            LOG.warning("%s may be left connected: %s", device, err)

    def detach(self, uuid: str, info: dict[str, Any], device_name: str) -> None:
        """Unmount a volume and disconnect it; that it is not there is no fault.

        :raises VolumeBusy: it is in use, and stays where it is
        """
        target = self._target(uuid, device_name)
        there = self._unmount(target)
        if there is None:
            if "device_path" in info["data"]:
                # A crash may have come between the connection and the mount.
                self._undo(info, info["data"]["device_path"])
            return
        if not mounts.release(there.source):
            mounts.mount_again(there.source, target, there.file_system, there.read_only)
            raise exceptions.VolumeBusy(f"{there.source} is in use elsewhere on the host")
        self._connections.disconnect(info)
        with contextlib.suppress(OSError):
            os.rmdir(target)

    def detach_all(self, uuid: str, attached: Iterable[Attached], forget: bool = False) -> None:
        """Detach all volumes of an instance that does not run.

        :param forget: nothing is kept of the instance
        :raises VolumeError: of the first one that stays; all others are gone
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
            self._unmount(target)
        if forget:
            _remove(os.path.join(self.base, uuid))

    def any(self, uuid: str) -> bool:
        """Tell whether an instance has volumes."""
        return bool(self._mounts(uuid))

    @contextlib.contextmanager
    def aside(self, uuid: str) -> Iterator[None]:
        """Have the volumes of an instance that does not run out of its files meanwhile."""
        were = self._mounts(uuid)
        try:
            for target in were:
                self._unmount(target)
            yield
        finally:
            now = mounts.table()
            for target, there in were.items():
                if target not in now:
                    mounts.mount_again(there.source, target, there.file_system, there.read_only)

    def grow(self, uuid: str, info: dict[str, Any]) -> None:
        """Let the file system of a volume that has grown have all of it, while it is mounted.

        :raises VolumeError: it could not be, and has the size that it had
        """
        device = self._connections.connect(info)
        self._connections.extend(info)
        number = _number(device)
        for target, there in self._mounts(uuid).items():
            if there.device == number:
                if there.read_only:
                    raise exceptions.VolumeError("the volume may only be read")
                mounts.grow(there.source, target, there.file_system)
                return
        raise exceptions.VolumeError("the volume is not mounted")

    def unseen(self, uuid: str, pid: int) -> list[str]:
        """List the mounted volumes that a process of the instance cannot see."""
        inside = mounts.table(pid)
        unseen = []
        for target, there in self._mounts(uuid).items():
            name = os.path.basename(target)
            seen = inside.get(f"{MOUNT_POINT}/{name}")
            if seen is None or seen.device != there.device:
                unseen.append(name)
        return unseen

    def _mounts(self, uuid: str) -> dict[str, mounts.Mount]:
        home = os.path.join(self.base, uuid)
        return {
            target: there
            for target, there in mounts.table().items()
            if os.path.dirname(target) == home
        }

    def _target(self, uuid: str, device_name: str) -> str:
        name = os.path.basename(device_name or "")
        if not _DEVICE_NAME.fullmatch(name):
            raise exceptions.VolumeRefused(f"{device_name!r} is no name for a volume")
        return os.path.join(self.base, uuid, name)

    def _unmount(self, target: str) -> mounts.Mount | None:
        """Unmount all that is at a place.

        :return: what was visible there
        """
        there = found = mounts.table().get(target)
        while found is not None:
            mounts.unmount(target)
            found = mounts.table().get(target)
        return there


def _read_only(info: dict[str, Any]) -> bool:
    """Tell whether a volume may only be read.

    :raises VolumeRefused: it is shared or encrypted, or its mode is unknown
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


def _remove(home: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(home):
            os.rmdir(os.path.join(home, name))
        os.rmdir(home)

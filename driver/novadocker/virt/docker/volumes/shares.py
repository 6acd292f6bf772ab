# SPDX-License-Identifier: Apache-2.0
"""Shares of Manila in instances, by NFS: mounted on the host, seen in the container.

The container has its instance's directory at ``/shares``, as it has that of volumes: each share is
mounted below it by its tag.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.privsep import mounts
from novadocker.virt.docker.volumes import private

LOG = logging.getLogger(__name__)

MOUNT_POINT = "/shares"
# Nova takes no others.
_TAG = re.compile(r"[A-Za-z0-9_.-]{1,255}")
# HOST:/PATH, the host by its name or address.
_EXPORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9][A-Za-z0-9_.-]*):(/[^\s,\\]*)")


def base(state_path: str) -> str:
    """Return the directory below which shares are mounted."""
    return os.path.join(state_path, "novadocker", "shares")


class Shares:
    """Mounts shares for instances and unmounts them. Both are idempotent.

    :param directory: directory below which shares are mounted
    :param protocols: those of shares that instances may have; none when they get no shares
    :param options: more options of each mount
    """

    def __init__(self, directory: str, protocols: Sequence[str], options: str | None) -> None:
        self.base = directory
        self.protocols = tuple(protocols)
        self._options = options or ""

    @classmethod
    def from_conf(cls, conf: Any) -> Shares:
        """Return the shares that the options allow."""
        options = conf.libvirt.nfs_mount_options
        return cls(base(conf.state_path), conf.docker.share_protocols, options)

    def prepare(self) -> None:
        """Make the directory, and let containers see mounts below it.

        :raises NotReady: shares cannot be mounted on this host
        """
        private.prepare(self.base, "shares", "share_protocols", allowed=bool(self.protocols))

    def bound(self, uuid: str) -> list[dict[str, Any]]:
        """Return the mount of an instance's directory, for the engine; none without shares."""
        return [private.bound(self._home(uuid), MOUNT_POINT)] if self.protocols else []

    def mount(self, uuid: str, tag: str, export: str, read_only: bool) -> None:
        """Mount a share.

        :param export: where it is, as HOST:/PATH
        :raises VolumeRefused: a container may not have this share
        :raises VolumeError: it cannot be mounted
        """
        target = self._target(uuid, tag)
        if not _EXPORT.fullmatch(export) or "/../" in f"{export}/":
            raise exceptions.VolumeRefused(f"{export!r} is no export by NFS: HOST:/PATH")
        mount = mounts.table().get(target)
        if mount is not None and (mount.source, mount.read_only) == (export, read_only):
            return
        if mount is not None:
            private.unmount(target)
        os.makedirs(target, exist_ok=True)
        mounts.mount_share(export, target, self._options, read_only)
        LOG.info("Mounted %s at %s", export, target)

    def unmount(self, uuid: str, tag: str, export: str) -> bool:
        """Unmount a share.

        :return: whether it is mounted on this host for others
        :raises VolumeBusy: it is in use, and stays mounted
        """
        target = self._target(uuid, tag)
        private.unmount(target)
        with contextlib.suppress(OSError):
            os.rmdir(target)
        return self.is_mounted(export)

    def is_mounted(self, export: str) -> bool:
        """Return whether a share is mounted on this host."""
        below = f"{self.base}/"
        return any(
            mount.source == export
            for target, mount in mounts.table().items()
            if target.startswith(below)
        )

    def forget(self, uuid: str) -> None:
        """Unmount all shares of an instance that is gone, and remove its directory.

        :raises VolumeBusy: one is in use
        """
        home = self._home(uuid)
        for target in private.mounted(home):
            private.unmount(target)
        private.remove(home)

    def unseen(self, uuid: str, pid: int) -> list[str]:
        """Return the tags of mounted shares that a process of the instance does not see."""
        return private.unseen(self._home(uuid), MOUNT_POINT, pid)

    def _home(self, uuid: str) -> str:
        return os.path.join(self.base, uuid)

    def _target(self, uuid: str, tag: str) -> str:
        if not _TAG.fullmatch(tag) or tag in (".", ".."):
            raise exceptions.VolumeRefused(f"{tag!r} is no name for a share")
        return os.path.join(self._home(uuid), tag)

# SPDX-License-Identifier: Apache-2.0
"""An instance's private directory on the host, below which its container sees what is mounted.

The container has it read-only and as a slave mount: what is mounted below it on the host appears
and disappears in the running container, too. Where nothing is mounted, there is no writable
directory that could be taken for it.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from oslo_privsep.daemon import FailedToDropPrivileges

from novadocker import exceptions
from novadocker.privsep import mounts


def prepare(base: str, what: str, option: str, *, allowed: bool) -> None:
    """Let containers see what is mounted in the directories below one, and make that.

    One that is there is prepared also where nothing is allowed any more, for containers that were
    made while it was.

    :param what: is mounted there
    :param option: by which it is allowed
    :raises NotReady: it cannot be mounted on this host
    """
    try:
        if allowed:
            os.makedirs(base, exist_ok=True)
        if os.path.isdir(base):
            mounts.share(base)
    except (exceptions.VolumeError, OSError, FailedToDropPrivileges) as err:
        raise exceptions.NotReady(
            f"[docker]{option} is set, and {what} cannot be mounted: {err}"
        ) from err


def bound(directory: str, mount_point: str) -> dict[str, Any]:
    """Make a directory, and return its mount in a container, for the engine."""
    os.makedirs(directory, exist_ok=True)
    # Regardless of nova-compute's umask: users of the container need to pass.
    os.chmod(directory, 0o755)
    return {
        "Type": "bind",
        "Source": directory,
        "Target": mount_point,
        "ReadOnly": True,
        # What is mounted below the directory is writable.
        "BindOptions": {"Propagation": "rslave", "ReadOnlyNonRecursive": True},
    }


def mounted(directory: str) -> dict[str, mounts.Mount]:
    """Return what is mounted in a directory, by mount point."""
    return {
        target: there
        for target, there in mounts.table().items()
        if os.path.dirname(target) == directory
    }


def unseen(directory: str, mount_point: str, pid: int) -> list[str]:
    """Return the names of what is mounted in a directory and a process does not see."""
    inside = mounts.table(pid)
    names = []
    for target, mount in mounted(directory).items():
        name = os.path.basename(target)
        seen = inside.get(f"{mount_point}/{name}")
        if seen is None or seen.device != mount.device:
            names.append(name)
    return names


def unmount(target: str) -> mounts.Mount | None:
    """Unmount all mounts at a mount point.

    :return: the topmost one; None when there was none
    :raises VolumeBusy: the mount is in use
    """
    topmost = mount = mounts.table().get(target)
    while mount is not None:
        mounts.unmount(target)
        mount = mounts.table().get(target)
    return topmost


def remove(directory: str) -> None:
    """Remove a directory in which nothing is mounted."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            os.rmdir(os.path.join(directory, name))
        os.rmdir(directory)

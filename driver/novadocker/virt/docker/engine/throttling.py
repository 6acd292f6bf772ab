# SPDX-License-Identifier: Apache-2.0
"""Limits of what an instance reads from and writes to the disks where the engine keeps its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Flavor
from novadocker.virt.docker.engine import client, isolation, room
from novadocker.virt.docker.host import disks

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Limit:
    """One of the kernel's limits.

    :param argument: what the engine is asked for it by
    :param missing: in the engine's warnings where it cannot limit it, on cgroup v1 and on v2
    """

    argument: str
    missing: tuple[str, str]


LIMITS = {
    "quota:disk_read_bytes_sec": Limit("device_read_bps", ("throttle.read_bps", "(rbps)")),
    "quota:disk_read_iops_sec": Limit("device_read_iops", ("throttle.read_iops", "(riops)")),
    "quota:disk_write_bytes_sec": Limit("device_write_bps", ("throttle.write_bps", "(wbps)")),
    "quota:disk_write_iops_sec": Limit("device_write_iops", ("throttle.write_iops", "(wiops)")),
}


class Throttling:
    """Limits input and output of instances as their flavors say."""

    def __init__(self, engine: client.Engine, place: room.Room) -> None:
        self._engine = engine
        self._room = place

    def check(self, flavor: Flavor) -> None:
        """Check that this host can keep the limits of a flavor.

        :raises FlavorRefused: one is no number, or one that no host can keep
        :raises HostUnfit: this host cannot keep one
        """
        asked = isolation.disk_limits(flavor)
        if asked:
            self._disks(asked)

    def arguments(self, name: str, flavor: Flavor) -> dict[str, Any]:
        """Return the engine's arguments for a flavor's limits.

        An instance whose host cannot keep them has none, rather than being lost: :meth:`check`
        refuses them for new instances.

        :param name: of the container, for the log
        """
        try:
            asked = isolation.disk_limits(flavor)
            paths = self._disks(asked) if asked else []
        except (exceptions.FlavorRefused, exceptions.HostUnfit) as err:
            LOG.warning("%s reads and writes without limits: %s", name, err)
            return {}
        return {
            LIMITS[limit].argument: [{"Path": path, "Rate": rate} for path in paths]
            for limit, rate in asked.items()
        }

    def _disks(self, asked: Mapping[str, int]) -> list[str]:
        """Return the disks that are to be limited.

        :param asked: limits by their names
        :raises HostUnfit: this host cannot keep one
        """
        info = self._engine.call("info")
        for name in asked:
            _require(name, info)
        paths: set[str] = set()
        for directory in self._room.directories(info):
            below = disks.below(directory)
            if not below:
                raise exceptions.HostUnfit(
                    f"{next(iter(asked))} of the flavor: {directory}, where Docker keeps its data, "
                    f"is on {disks.file_system(directory)} and not on a disk that the kernel could "
                    "limit: put it on ext4, XFS or btrfs on a disk of this host's"
                )
            paths.update(below)
        return sorted(paths)


def _require(name: str, info: Mapping[str, Any]) -> None:
    """Verify that the engine can keep a limit.

    :raises HostUnfit: it cannot
    """
    warnings = " ".join(info.get("Warnings") or [])
    if any(missing in warnings for missing in LIMITS[name].missing):
        raise exceptions.HostUnfit(
            f"{name} of the flavor: Docker says that this host's kernel or cgroups cannot limit "
            "it: enable block device throttling, and the cgroup controller io (blkio on version 1)"
        )
    if "write" in name and str(info.get("CgroupVersion", "1")) == "1":
        # The kernel writes its cache out in nobody's name; only who waits for the disk is limited.
        raise exceptions.HostUnfit(
            f"{name} of the flavor: by version 1 of cgroups the kernel does not limit what it "
            "writes from its cache, as most of what programs write: boot this host with version 2 "
            "(systemd.unified_cgroup_hierarchy=1)"
        )

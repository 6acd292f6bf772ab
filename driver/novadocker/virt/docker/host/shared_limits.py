# SPDX-License-Identifier: Apache-2.0
"""Limits of the kernel that all containers of a host share with each other and with the host."""

from __future__ import annotations

import dataclasses
from pathlib import Path

SYSCTLS = Path("/proc/sys")


@dataclasses.dataclass(frozen=True)
class SharedLimit:
    """A limit of the kernel.

    :param sysctl: its name
    :param least: what a host of some dozen instances should have
    :param takes: what one instance can keep all others from
    """

    sysctl: str
    least: int
    takes: str

    def current(self) -> int | None:
        """Return what the host has; None where this kernel has no such limit."""
        try:
            return int((SYSCTLS / self.sysctl.replace(".", "/")).read_text().split()[0])
        except (OSError, ValueError):
            return None


LIMITS = (
    SharedLimit("fs.inotify.max_user_instances", 8192, "watching files"),
    SharedLimit("fs.inotify.max_user_watches", 524288, "watching files"),
    SharedLimit("fs.aio-max-nr", 1048576, "asynchronous input and output, as of databases"),
    SharedLimit("kernel.pid_max", 4194304, "starting processes"),
    SharedLimit("kernel.pty.max", 4096, "opening terminals"),
)


def too_low() -> list[tuple[SharedLimit, int]]:
    """Return the limits that are lower than they should be, with what the host has."""
    readings = [(limit, limit.current()) for limit in LIMITS]
    return [(limit, have) for limit, have in readings if have is not None and have < limit.least]

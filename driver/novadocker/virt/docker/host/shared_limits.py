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
    :param least: what a host should have: so many that an instance pays for them with its memory
    :param takes: what one instance can keep all others from
    :param each_bytes: what each takes of the memory of the instance that has it, as measured; 0
        where the instance has another limit of them
    :param kept: the name of a limit of how many are the host's own
    :param no_limit: what there is no limit by
    """

    sysctl: str
    least: int
    takes: str
    each_bytes: int
    kept: str = ""
    no_limit: int | None = None

    def current(self) -> int | None:
        """Return how many instances can have; None where this kernel has no such limit."""
        have = _read(self.sysctl)
        if have is None or have == self.no_limit:
            return None
        return max(have - (_read(self.kept) or 0 if self.kept else 0), 0)

    def told(self, value: int, pids_limit: int) -> str:
        """Return who can take all that there is.

        :param value: as many as instances can have
        :param pids_limit: the option; 0 is no limit
        """
        told = f"{self.sysctl} is {value}" + (f" beyond {self.kept}" if self.kept else "")
        if self.each_bytes:
            megabytes = -(-value * self.each_bytes // (1 << 20))
            return (
                f"{told}: one instance can keep all others from {self.takes}, "
                f"with {megabytes} MiB of its memory"
            )
        takers = max(value // pids_limit, 1) if pids_limit else 1
        who = "one instance" if takers == 1 else f"{takers} instances with [docker]pids_limit"
        return f"{told}: {who} can keep all others from {self.takes}"

    @property
    def remedy(self) -> int:
        """Return what to set it to."""
        return self.least if self.no_limit is None else self.no_limit


def _read(sysctl: str) -> int | None:
    try:
        return int((SYSCTLS / sysctl.replace(".", "/")).read_text().split()[0])
    except (OSError, ValueError):
        return None


LIMITS = (
    SharedLimit("fs.inotify.max_user_instances", 65536, "watching files", 1024),
    SharedLimit("fs.inotify.max_user_watches", 524288, "watching files", 1536),
    SharedLimit("fs.aio-max-nr", 16777216, "asynchronous input and output, as of databases", 64),
    SharedLimit("kernel.pid_max", 4194304, "starting processes", 0),
    SharedLimit("kernel.pty.max", 262144, "opening terminals", 3072, kept="kernel.pty.reserve"),
    SharedLimit(
        "fs.pipe-user-pages-soft", 1048576, "having pipes of more than 8 KiB", 160, no_limit=0
    ),
)


def too_low() -> list[tuple[SharedLimit, int]]:
    """Return the limits that are lower than they should be, with how many instances can have."""
    readings = [(limit, limit.current()) for limit in LIMITS]
    return [(limit, have) for limit, have in readings if have is not None and have < limit.least]

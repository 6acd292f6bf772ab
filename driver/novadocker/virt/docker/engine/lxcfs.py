# SPDX-License-Identifier: Apache-2.0
"""Files of lxcfs, mounted over those below /proc: an instance sees its own memory, CPUs, uptime."""

from __future__ import annotations

import os
from typing import Any

from docker.types import Mount

from novadocker import exceptions

# Of all files that lxcfs makes, those that the OCI runtime allows to be mounted below /proc.
FILES = ("cpuinfo", "diskstats", "loadavg", "meminfo", "stat", "swaps", "uptime")
MOUNTS = "/proc/self/mounts"


def fault(path: str) -> str | None:
    """Return what is wrong with lxcfs at a mount point; None when nothing is."""
    # Escaped as in /proc/self/mounts.
    escaped = path.rstrip("/").replace("\\", "\\134").replace(" ", "\\040")
    with open(MOUNTS, encoding="utf-8") as mounts:
        types = [line.split()[2] for line in mounts if line.split()[1] == escaped]
    if not types or types[-1] != "fuse.lxcfs":
        return f"lxcfs is not mounted on {path}"
    try:
        os.listdir(os.path.join(path, "proc"))
    except OSError as err:
        return f"lxcfs on {path} does not answer: {err}"
    return None


def mounts(path: str) -> list[dict[str, Any]]:
    """Return read-only mounts, for the engine, of the files that this lxcfs makes.

    :raises DriverError: lxcfs makes none
    """
    files: list[dict[str, Any]] = [
        Mount(f"/proc/{name}", os.path.join(path, "proc", name), type="bind", read_only=True)
        for name in FILES
        if os.path.exists(os.path.join(path, "proc", name))
    ]
    if not files:
        raise exceptions.DriverError(f"there is no file of lxcfs below {path}/proc: is it stopped?")
    return files

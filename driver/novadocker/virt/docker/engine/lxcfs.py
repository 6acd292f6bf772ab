# SPDX-License-Identifier: Apache-2.0
"""Files of lxcfs in the place of the kernel's: an instance sees its own memory, CPUs and uptime."""

import os
from typing import Any

from docker.types import Mount

from novadocker import exceptions

# What the OCI runtime lets anyone mount below /proc, of all that lxcfs makes.
FILES = ("cpuinfo", "diskstats", "loadavg", "meminfo", "stat", "swaps", "uptime")
MOUNTS = "/proc/self/mounts"


def fault(path: str) -> str | None:
    """Say what is wrong with a directory that lxcfs is to be mounted on, if anything is."""
    # As the kernel writes it.
    escaped = path.rstrip("/").replace("\\", "\\134").replace(" ", "\\040")
    with open(MOUNTS, encoding="utf-8") as mounts:
        found = [line.split()[2] for line in mounts if line.split()[1] == escaped]
    if not found or found[-1] != "fuse.lxcfs":
        return f"lxcfs is not mounted on {path}"
    try:
        os.listdir(os.path.join(path, "proc"))
    except OSError as err:
        return f"lxcfs on {path} does not answer: {err}"
    return None


def mounts(path: str) -> list[dict[str, Any]]:
    """List the files for the engine, all to be read only; those that this lxcfs makes.

    :raises DriverError: it makes none
    """
    found: list[dict[str, Any]] = [
        Mount(f"/proc/{name}", os.path.join(path, "proc", name), type="bind", read_only=True)
        for name in FILES
        if os.path.exists(os.path.join(path, "proc", name))
    ]
    if not found:
        raise exceptions.DriverError(f"there is no file of lxcfs below {path}/proc: is it stopped?")
    return found

# SPDX-License-Identifier: Apache-2.0
"""Processes of the host, as the kernel tells of them."""

from __future__ import annotations

import os
import time
from pathlib import Path


def process_command(pid: int) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and the environment of a running process, empty when there is none."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes() if pid else b""
        environment = Path(f"/proc/{pid}/environ").read_bytes() if pid else b""
    except OSError:
        return [], {}
    pairs = [item.split("=", 1) for item in environment.decode(errors="replace").split("\0")]
    argv = command.decode(errors="replace").rstrip("\0").split("\0")
    return [item for item in argv if item], {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def began_at(pid: int) -> float | None:
    """Return when a process began, in seconds since the epoch, None when there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text() if pid else ""
    except OSError:
        return None
    if not status:
        return None
    ticks = int(status.rsplit(")", 1)[1].split()[19])
    since_boot_s = ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot_s)


def process_below(pid: int, name: str) -> int:
    """Return the process that runs a program, be it one or one that it has started.

    :param pid: of the process to begin with
    :param name: of the program; an interpreter may stand before it
    :return: 0 where there is none
    """
    waiting = [pid] if pid else []
    while waiting:
        here = waiting.pop(0)
        if any(Path(word).name == name for word in process_command(here)[0][:3]):
            return here
        try:
            children = Path(f"/proc/{here}/task/{here}/children").read_text()
        except OSError:
            continue
        waiting += [int(child) for child in children.split()]
    return 0

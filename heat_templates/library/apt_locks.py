# SPDX-License-Identifier: Apache-2.0
"""The locks of apt and dpkg: waited for, as the host's own upgrades hold them now and then."""

import fcntl
import os
import struct
from pathlib import Path

from library.faults import StepFailed
from library.step import Step, wait_until

APT_LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)
LOCK_TIMEOUT_S = 300.0
#: The kernel's struct flock: type, whence, start, length, process.
FLOCK = "hhqqi4x"


def await_locks(step: Step, timeout_s: float) -> None:
    """Wait until nobody holds a lock of apt's.

    :raises StepFailed: naming who still does
    """
    held: dict[Path, int] = {}

    def free() -> bool:
        held.clear()
        held.update((path, lock_holder(path)) for path in map(step.path, APT_LOCKS))
        return not any(held.values())

    if not wait_until(free, timeout_s, 1.0):
        path, pid = next((path, pid) for path, pid in held.items() if pid)
        raise StepFailed(
            f"{path} is held by process {pid} ({command_of(pid)}), and was for {LOCK_TIMEOUT_S:g} "
            "s: see that it ends, then repeat"
        )


def lock_holder(path: Path) -> int:
    """Return the process that holds a lock on a file, 0 when none does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return 0
    try:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    # One of another PID namespace has no number here, and holds it all the same.
    return (pid or -1) if kind != fcntl.F_UNLCK else 0


def command_of(pid: int) -> str:
    """Return the command line of a process, as far as it can be seen."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return "unknown"
    return " ".join(text.split("\0"))[:200].strip() or "unknown"

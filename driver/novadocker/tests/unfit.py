# SPDX-License-Identifier: Apache-2.0
"""The program that reads archives, with faults that no archive is known to cause.

Which one, the archive says: it is a file with the name of a function.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import IO, NoReturn

from novadocker.virt.docker.images import program


def spin() -> NoReturn:
    """Take all of a processor's time."""
    while True:
        pass


def grow() -> NoReturn:
    """Take all of the memory."""
    taken = []
    while True:
        taken.append(bytes(1 << 20))


def crash() -> None:
    """Die as a library with a fault does."""
    os.abort()


def be_killed() -> None:
    """Die as a host that has no memory left wants it."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    """Have a fault of one's own."""
    raise RuntimeError("a fault of ours")


def answer(source: IO[bytes], max_bytes: int, machine: str) -> Iterator[bytes]:
    """Do what the archive says."""
    globals()[source.read().decode()]()
    yield b"never"


if __name__ == "__main__":
    program.ACTIONS["verify"] = answer
    sys.exit(program.main())

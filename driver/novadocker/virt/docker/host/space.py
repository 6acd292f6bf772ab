# SPDX-License-Identifier: Apache-2.0
"""Space on this host's file systems, claimed by whoever is about to fill it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import threading
from collections.abc import Callable, Iterator

from novadocker import exceptions

# What stays free on a file system where whoever asks can be refused.
RESERVE_BYTES = 512 << 20


@dataclasses.dataclass(eq=False)
class Claim:
    """Space that somebody is about to fill.

    :param directory: an existing directory of the file system
    :param refusal: returns the message of a refusal, from the bytes that are left
    :param reserve_bytes: what has to stay free besides
    :param measure: returns how much of it has been written; by default ``written_bytes`` says so
    :ivar written_bytes: how much of it has been written, and is not free any more
    """

    directory: str
    size_bytes: int
    refusal: Callable[[int], str]
    reserve_bytes: int = RESERVE_BYTES
    measure: Callable[[], int] | None = None
    written_bytes: int = 0
    device: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.device = os.stat(self.directory).st_dev

    @property
    def awaited_bytes(self) -> int:
        """Return how much of it is still to be written."""
        written_bytes = self.measure() if self.measure else self.written_bytes
        return max(self.size_bytes - written_bytes, 0)


class Ledger:
    """Claims of all threads of this process, by which no space is given away twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: list[Claim] = []

    def left(self, directory: str, reserve_bytes: int = RESERVE_BYTES) -> int:
        """Return the bytes that are free in a directory and neither reserved nor claimed."""
        with self._lock:
            return self._left(directory, reserve_bytes)

    @contextlib.contextmanager
    def hold(self, *claims: Claim) -> Iterator[None]:
        """Claim space on one or several file systems; all of it, or none.

        :raises HostFull: there is less
        """
        held: list[Claim] = []
        try:
            with self._lock:
                for claim in claims:
                    left = self._left(claim.directory, claim.reserve_bytes)
                    if claim.size_bytes > left:
                        raise exceptions.HostFull(claim.refusal(max(left, 0)))
                    self._claims.append(claim)
                    held.append(claim)
            yield
        finally:
            with self._lock:
                for claim in held:
                    self._claims.remove(claim)

    def _left(self, directory: str, reserve_bytes: int) -> int:
        device = os.stat(directory).st_dev
        awaited = sum(claim.awaited_bytes for claim in self._claims if claim.device == device)
        return shutil.disk_usage(directory).free - reserve_bytes - awaited


# The file systems are the host's, whoever writes to them.
LEDGER = Ledger()

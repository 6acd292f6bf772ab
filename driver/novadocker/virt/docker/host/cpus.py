# SPDX-License-Identifier: Apache-2.0
"""Processors of the host by their numbers, and what they are for.

``nova.virt.hardware`` has texts of them as well. Nothing here loads Nova, as its objects take
seconds in each program that speaks to an engine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

SYSTEM = Path("/sys/devices/system")


@dataclasses.dataclass(frozen=True)
class Cpus:
    """The host's processors that a container runs on.

    :param ids: as the engine takes them (0-3,8); empty for all
    :param dedicated: whether they are its own: its share of their time is not limited then
    """

    ids: str = ""
    dedicated: bool = False


ALL = Cpus()


@dataclasses.dataclass(frozen=True)
class Processors:
    """The host's processors, by what they are for.

    :param dedicated: those that instances have for themselves
    :param shared: those of all other instances; None where nobody has said so
    """

    dedicated: frozenset[int] = frozenset()
    shared: frozenset[int] | None = None

    @property
    def are_divided(self) -> bool:
        """Return whether instances run on some of them only."""
        return bool(self.dedicated) or self.shared is not None

    @property
    def for_others(self) -> frozenset[int]:
        """Return those of instances without dedicated ones, where they are divided."""
        return self.shared or frozenset()

    def count(self, of_engine: int) -> int:
        """Return how many there are for instances.

        :param of_engine: as many as the engine has
        """
        return len(self.dedicated | self.for_others) if self.are_divided else of_engine


UNDIVIDED = Processors()


def online() -> frozenset[int]:
    """Return the processors that the kernel uses."""
    return numbers((SYSTEM / "cpu/online").read_text())


def numbers(told: str) -> frozenset[int]:
    """Return the processors that the kernel tells of as 0-3,8."""
    ranges = [part.split("-") for part in told.strip().split(",") if part]
    return frozenset(number for ends in ranges for number in range(int(ends[0]), int(ends[-1]) + 1))


def text(wanted: Iterable[int]) -> str:
    """Return processors as the engine takes them: 0-3,8."""
    ranges: list[list[int]] = []
    for number in sorted(wanted):
        if ranges and ranges[-1][-1] == number - 1:
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    return ",".join("-".join(str(end) for end in ends) for ends in ranges)

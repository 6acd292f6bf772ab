# SPDX-License-Identifier: Apache-2.0
"""Which host has which place in a pool, and how an operator names hosts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from novadocker_actions.errors import Refused


@dataclasses.dataclass(frozen=True)
class Roster:
    """The hosts of a pool. A name keeps its place, so that Heat touches no other host's resources.

    :param hosts: names in the order of their enrolment
    :param removed: places of those that were taken out
    """

    hosts: tuple[str, ...] = ()
    removed: frozenset[int] = frozenset()

    @classmethod
    def of_parameters(cls, parameters: Mapping[str, Any]) -> Roster:
        """Return the roster that a stack's parameters tell; Heat shows JSON parameters as text."""
        hosts, removed = parameters.get("hosts", "[]"), parameters.get("removed", "[]")
        hosts = json.loads(hosts) if isinstance(hosts, str) else hosts
        removed = json.loads(removed) if isinstance(removed, str) else removed
        return cls(tuple(hosts), frozenset(int(place) for place in removed))

    @property
    def active(self) -> tuple[str, ...]:
        """Return the names of the hosts that are enrolled."""
        return tuple(name for place, name in enumerate(self.hosts) if place not in self.removed)

    def with_hosts(self, names: Iterable[str]) -> Roster:
        """Return a roster that has these hosts too, the new ones at the end."""
        new = [name for name in dict.fromkeys(names) if name not in self.active]
        return dataclasses.replace(self, hosts=(*self.hosts, *new))

    def without(self, names: Iterable[str]) -> Roster:
        """Return a roster without these hosts.

        :raises Refused: for a host that is not in it
        """
        gone = set(names)
        unknown = sorted(gone - set(self.active))
        if unknown:
            raise Refused("host", f"{unknown[0]} is not enrolled.", "See novadocker-enroll list.")
        places = {n for n, name in enumerate(self.hosts) if name in gone}
        return dataclasses.replace(self, removed=self.removed | places)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of enrolment.yaml that stand for this roster."""
        return {
            "hosts": list(self.hosts),
            "removed": [str(place) for place in sorted(self.removed)],
        }


def parse_hosts(words: Iterable[str]) -> dict[str, str]:
    """Return the SSH address of each host, from words of the form ``HOST[=ADDRESS]``.

    :raises Refused: for a word without a name
    """
    hosts: dict[str, str] = {}
    for word in words:
        name, _, address = word.partition("=")
        if not name:
            raise Refused("host", f"{word!r} names no host.", "Write HOST or HOST=ADDRESS.")
        hosts[name] = address or name
    return hosts

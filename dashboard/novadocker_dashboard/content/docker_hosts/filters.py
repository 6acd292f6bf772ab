# SPDX-License-Identifier: Apache-2.0
"""Which hosts the list shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

from novadocker_client.hosts import Host

# Instances on a host: whether there are any.
SOME, NONE = "some", "none"


@dataclass(frozen=True)
class Filter:
    """What a host has to be, to be shown. An empty word lets all pass.

    :param name: a part of its name, whatever the case
    :param type: what Nova calls its hypervisor
    :param state: of its compute service: up or down
    :param status: of its compute service: enabled or disabled
    :param reason: a part of why it is out of service, whatever the case
    :param pool: the one that it is enrolled in
    :param instances: ``some`` or ``none``
    """

    name: str = ""
    type: str = ""
    state: str = ""
    status: str = ""
    reason: str = ""
    pool: str = ""
    instances: str = ""

    def __bool__(self) -> bool:
        return any(asdict(self).values())

    def lets_pass(self, host: Host) -> bool:
        """Return whether a host is shown."""
        exact = (
            (self.type, host.hypervisor_type),
            (self.state, host.state),
            (self.status, host.status),
            (self.pool, pool(host)),
            (self.instances, SOME if host.instances else NONE),
        )
        parts = ((self.name, host.name), (self.reason, host.reason))
        return all(wanted in ("", is_) for wanted, is_ in exact) and all(
            wanted.lower() in is_.lower() for wanted, is_ in parts
        )


def pool(host: Host) -> str:
    """Return the pool that a host is enrolled in, "" where it is not, or that is not known."""
    return host.enrolment.pool if host.enrolment else ""


def read(query: Mapping[str, str]) -> Filter:
    """Return the filter that a query asks for."""
    return Filter(**{field.name: query.get(field.name, "").strip() for field in fields(Filter)})


def names() -> tuple[str, ...]:
    """Return the names of what is filtered by."""
    return tuple(field.name for field in fields(Filter))


@dataclass(frozen=True)
class Choices:
    """What hosts differ in, for the filter's lists.

    :param types: what Nova calls their hypervisors
    :param pools: those that they are enrolled in
    """

    types: tuple[str, ...]
    pools: tuple[str, ...]


def choices(hosts: Iterable[Host]) -> Choices:
    """Return what hosts differ in."""
    known = list(hosts)
    types = sorted({host.hypervisor_type for host in known} - {""})
    return Choices(tuple(types), tuple(sorted({pool(host) for host in known} - {""})))

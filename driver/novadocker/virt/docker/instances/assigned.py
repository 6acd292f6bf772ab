# SPDX-License-Identifier: Apache-2.0
"""Which of the host's devices an instance has.

Nova itself chooses them, from what it is told here, and keeps its choice in its database: through
restarts, reboots, resizes and reverts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from nova import objects

from novadocker import exceptions
from novadocker.types import Flavor, Instance
from novadocker.virt.docker.host import devices
from novadocker.virt.docker.host.devices import Given, Held


def names(instance: Instance) -> list[str]:
    """Return the names of the devices of an instance, with their kinds."""
    return _names(instance.resources)


def are_others(instance: Instance) -> bool:
    """Return whether an instance that is to be resized on its host gets other devices."""
    moving = instance.migration_context
    if moving is None or not moving.obj_attr_is_set("new_resources"):
        return False
    return sorted(_names(moving.new_resources)) != sorted(names(instance))


def resources(by_class: Mapping[str, set[str]], provider: str) -> dict[str, set[Any]]:
    """Return Nova's description of the host's devices, by resource class.

    :param by_class: their names
    :param provider: UUID of the host's resource provider
    """
    return {
        name: {
            objects.Resource(provider_uuid=provider, resource_class=name, identifier=identifier)
            for identifier in identifiers
        }
        for name, identifiers in by_class.items()
    }


def check(instance: Instance, allocations: Mapping[str, Any] | None) -> None:
    """Check that Nova has chosen as many devices for an instance as it was promised.

    :param allocations: Placement's, by provider
    :raises HostUnfit: it has not: the host does not offer them (any more)
    """
    promised: Counter[str] = Counter()
    for allocation in (allocations or {}).values():
        promised.update(allocation.get("resources") or {})
    _compare(promised, names(instance), "this host")


def check_move(instance: Instance, flavor: Flavor) -> None:
    """Check, before an instance leaves, that Nova has chosen the devices of its new flavor.

    :raises HostUnfit: it has not: the host that it is to go to does not offer them (any more)
    """
    moving = instance.migration_context
    if moving is None or not moving.obj_attr_is_set("new_resources"):
        return
    asked: Counter[str] = Counter()
    for key, amount in (flavor.get("extra_specs", {}) or {}).items():
        group, _, resource_class = key.partition(":")
        if group.startswith("resources") and resource_class.startswith(devices.PREFIX):
            asked[resource_class] += int(amount)
    _compare(asked, _names(moving.new_resources), "the host that the server is to go to")


def _compare(asked: Mapping[str, int], chosen: Iterable[str], host: str) -> None:
    have = Counter(devices.class_of(name) for name in chosen)
    for resource_class, amount in asked.items():
        if resource_class.startswith(devices.PREFIX) and have[resource_class] != amount:
            raise exceptions.HostUnfit(
                f"the flavor asks for {amount} {resource_class}, and Nova has chosen "
                f"{have[resource_class]}: does [docker]cdi_kinds of {host} have its kind?"
            )


def require_free(instance: Instance, given: Given, held: Mapping[str, Iterable[Held]]) -> None:
    """Check that no other instance has a device of an instance's.

    :param given: those of the instance
    :param held: by UUID of the instance that holds it
    :raises HostUnfit: one has
    """
    for uuid, holders in held.items():
        if uuid == instance.uuid:
            continue
        mine = zip(given.names, given.nodes, strict=True)
        taken = [name for name, own in mine if any(holder.has(name, own) for holder in holders)]
        if taken:
            raise exceptions.HostUnfit(
                f"the server has {', '.join(taken)}, and so has a container of the server {uuid} "
                "on this host: see in Nova which of the two has it, and stop, move or resize the "
                "other one"
            )


def _names(chosen: Any) -> list[str]:
    return [
        resource.identifier
        for resource in chosen or ()
        if resource.resource_class.startswith(devices.PREFIX)
    ]

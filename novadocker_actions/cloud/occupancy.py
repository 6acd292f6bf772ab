# SPDX-License-Identifier: Apache-2.0
"""Who lives on a compute host at this moment, in the eyes of Nova and of Placement.

Nova counts an instance for a host from the compute's claim on; before that, only Placement knows of
it, for the scheduler claims there first. A resize that nobody has confirmed lives on its source as
well: Nova shows the instance at its target, and only the migration and its allocation tell.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError

LOG = logging.getLogger(__name__)

_PAGE = "500"
_SHOWN = 3
# Migrations in these states are over. That of an unconfirmed resize is ``finished``.
_OVER = ("completed", "confirmed", "reverted", "done", "failed", "error", "cancelled")
_UNCONFIRMED = "finished"
# That of an evacuation whose source has not yet removed what it had.
_LEFT_BEHIND = "done"


@dataclass(frozen=True)
class Occupant:
    """What keeps a host from being changed.

    :param text: what it is, for the operator
    :param settling: whether it may be gone, or become an instance, within minutes
    """

    text: str
    settling: bool = False


def occupants(cloud: Cloud, host: str, hypervisors: list[dict[str, Any]]) -> list[Occupant]:
    """Return who lives on a host or is on the way to it.

    :param cloud: the services
    :param host: Nova's service host name
    :param hypervisors: those of the host, with their servers, as Nova lists them
    """
    living: dict[str, Occupant] = {}
    for server in _servers(cloud, host):
        task = server.get("OS-EXT-STS:task_state")
        state = server["status"] + (f", {task}" if task else "")
        living[server["id"]] = Occupant(
            f"instance {server['name']} ({server['id']}, {state})",
            settling=bool(task) or server["status"] == "BUILD",
        )
    for hypervisor in hypervisors:
        # With what the list of servers hides: an instance that can still be restored.
        for server in hypervisor.get("servers") or []:
            living.setdefault(
                server["uuid"], Occupant(f"instance {server['name']} ({server['uuid']})")
            )
    for migration in _migrations(cloud, host):
        uuid = str(migration["uuid"])
        living[uuid] = Occupant(
            f"{migration['migration_type']} {uuid} of instance {migration['instance_uuid']} "
            f"({migration['status']})",
            settling=migration["status"] not in (_UNCONFIRMED, _LEFT_BEHIND),
        )
        # The instance's own allocation here is that of this migration.
        living.setdefault(str(migration["instance_uuid"]), living[uuid])
    for hypervisor in hypervisors:
        for consumer in _consumers(cloud, str(hypervisor["id"])):
            living.setdefault(
                consumer, Occupant(f"allocation of {consumer} in Placement", settling=True)
            )
    return list(dict.fromkeys(living.values()))


def told(living: list[Occupant]) -> str:
    """Return who lives on a host, as a reason: the first few of many."""
    shown = ", ".join(occupant.text for occupant in living[:_SHOWN])
    more = len(living) - _SHOWN
    return f"it is occupied: {shown}" + (f" and {more} more" if more > 0 else "")


def _servers(cloud: Cloud, host: str) -> Iterator[dict[str, Any]]:
    params = {"all_tenants": "1", "host": host, "limit": _PAGE}
    while True:
        page = cloud.compute.get("/servers/detail", params=params)
        yield from page["servers"]
        if not page.get("servers_links") or not page["servers"]:
            return
        params = {**params, "marker": page["servers"][-1]["id"]}


def _migrations(cloud: Cloud, host: str) -> Iterator[dict[str, Any]]:
    params = {"host": host, "limit": _PAGE}
    while True:
        page = cloud.compute.get("/os-migrations", params=params)
        yield from (entry for entry in page["migrations"] if not _is_over(entry, host))
        if not page.get("migrations_links") or not page["migrations"]:
            return
        params = {**params, "marker": page["migrations"][-1]["uuid"]}


def _is_over(migration: dict[str, Any], host: str) -> bool:
    """Return whether nothing of a migration is left on a host.

    Of an evacuation its source has the instance until its nova-compute has started again.
    """
    left_behind = (
        migration["migration_type"] == "evacuation" and migration["status"] == _LEFT_BEHIND
    )
    if left_behind and migration.get("source_compute") == host:
        return False
    return migration["status"] in _OVER


def _consumers(cloud: Cloud, provider_id: str) -> list[str]:
    # A hypervisor's id is that of its resource provider.
    placement = cloud.placement
    if not placement.in_catalog():
        LOG.warning("The catalog has no Placement: builds that have only a claim are not seen.")
        return []
    try:
        answer = placement.get(f"/resource_providers/{provider_id}/allocations")
    except CloudError as err:
        if err.status != 404:
            raise
        return []
    return list(answer["allocations"])

# SPDX-License-Identifier: Apache-2.0
"""Moves instances off a host, one cold migration after the other, and confirms them."""

from __future__ import annotations

from typing import Any

from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError

# An instance in another state cannot be migrated: it is paused, rescued, broken, shelved.
_MOVABLE = ("ACTIVE", "SHUTOFF")
_TO_CONFIRM = "VERIFY_RESIZE"
# How Nova calls a cold migration, and one that has come to its target.
_COLD, _UNCONFIRMED = "migration", "finished"


def living(cloud: Cloud, host: str) -> list[dict[str, Any]]:
    """Return instances of a host: the first hundred.

    :param cloud: the services
    :param host: Nova's service host name
    """
    params = {"all_tenants": "1", "host": host, "limit": "100"}
    servers: list[dict[str, Any]] = cloud.compute.get("/servers/detail", params=params)["servers"]
    return servers


def is_at_rest(server: dict[str, Any]) -> bool:
    """Return whether nothing is under way on an instance."""
    return not server.get("OS-EXT-STS:task_state")


def fault_of(server: dict[str, Any]) -> str:
    """Return why an instance cannot be migrated as it is, "" when it can."""
    if server.get("locked"):
        # Nova would migrate it for an administrator, who has not said so.
        return f"{told(server)} is locked: unlock it, or see with its owner"
    if server["status"] in _MOVABLE:
        return ""
    return f"{told(server)} is {server['status']}, and only {' and '.join(_MOVABLE)} are migrated"


def told(server: dict[str, Any]) -> str:
    """Return an instance for a sentence."""
    return f"instance {server['name']} ({server['id']})"


def start(cloud: Cloud, server_id: str) -> str:
    """Begin the cold migration of an instance; return why Nova does not, "" when it does."""
    try:
        cloud.compute.post(f"/servers/{server_id}/action", json={"migrate": None})
    except CloudError as err:
        if err.may_pass:
            raise
        return str(err)
    return ""


def unconfirmed(cloud: Cloud, host: str) -> list[str]:
    """Return instances that the caller has migrated off a host, and nobody has confirmed.

    What an executor had begun that was lost, or a run that was, is among them. What others have
    resized or migrated is not: it is for them to confirm.

    :param cloud: the services
    :param host: the host that they have left
    """
    params = {
        "host": host,
        "migration_type": _COLD,
        "status": _UNCONFIRMED,
        "user_id": cloud.user_id,
    }
    migrations = cloud.compute.get("/os-migrations", params=params)["migrations"]
    return [
        str(migration["instance_uuid"])
        for migration in migrations
        if (migration["migration_type"], migration["status"]) == (_COLD, _UNCONFIRMED)
        and migration["source_compute"] == host
        and cloud.user_id
        and migration.get("user_id") == cloud.user_id
    ]


def ended(cloud: Cloud, server_id: str, source: str) -> tuple[bool, str]:
    """Return whether a migration that was begun has ended, and what went wrong with it.

    One that has come to its target is confirmed, which is what ends it.

    :param cloud: the services
    :param server_id: the instance
    :param source: the host that it is to leave
    """
    try:
        server = cloud.compute.get(f"/servers/{server_id}")["server"]
    except CloudError as err:
        if err.status != 404:
            raise
        # Its owner has deleted it meanwhile.
        return True, ""
    if not is_at_rest(server):
        return False, ""
    if server["status"] == _TO_CONFIRM:
        _confirm(cloud, server_id)
        return False, ""
    if server["OS-EXT-SRV-ATTR:host"] != source and server["status"] in _MOVABLE:
        return True, ""
    if server["status"] == "RESIZE":
        return False, ""
    return True, (
        f"{told(server)} is {server['status']} on {server['OS-EXT-SRV-ATTR:host']}: see "
        f"`openstack server event list {server_id}`"
    )


def _confirm(cloud: Cloud, server_id: str) -> None:
    try:
        cloud.compute.post(f"/servers/{server_id}/action", json={"confirmResize": None})
    except CloudError as err:
        # It was confirmed by its owner, or by Nova itself. Of one whose source is still at it Nova
        # says 400, that there is nothing to confirm, and shows it as before.
        if err.status not in (400, 409):
            raise

# SPDX-License-Identifier: Apache-2.0
"""Moves instances off a host, one cold migration after the other, and confirms them."""

from __future__ import annotations

from typing import Any

from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError

# An instance in another state cannot be migrated: it is paused, rescued, broken, shelved.
_MOVABLE = ("ACTIVE", "SHUTOFF")
_TO_CONFIRM = "VERIFY_RESIZE"


def movable(cloud: Cloud, host: str) -> list[dict[str, Any]]:
    """Return instances of a host on which nothing is under way: the first hundred.

    :param cloud: the services
    :param host: Nova's service host name
    """
    params = {"all_tenants": "1", "host": host, "limit": "100"}
    servers = cloud.compute.get("/servers/detail", params=params)["servers"]
    return [server for server in servers if not server.get("OS-EXT-STS:task_state")]


def fault_of(server: dict[str, Any]) -> str:
    """Return why an instance cannot be migrated as it is, "" when it can."""
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
    if server.get("OS-EXT-STS:task_state"):
        return False, ""
    if server["status"] == _TO_CONFIRM:
        _confirm(cloud, server_id)
        return False, ""
    if server["OS-EXT-SRV-ATTR:host"] != source and server["status"] in _MOVABLE:
        return True, ""
    if server["status"] == "RESIZE":
        return False, ""
    return True, f"{told(server)} is {server['status']} on {server['OS-EXT-SRV-ATTR:host']}"


def _confirm(cloud: Cloud, server_id: str) -> None:
    try:
        cloud.compute.post(f"/servers/{server_id}/action", json={"confirmResize": None})
    except CloudError as err:
        # It was confirmed by its owner, or by Nova itself.
        if err.status != 409:
            raise

# SPDX-License-Identifier: Apache-2.0
"""The host aggregate of the Docker hypervisors.

The trait CUSTOM_HYPERVISOR_DOCKER is reported by the driver itself and required by the images that
this bundle publishes, so Placement gives them no other host. Where the operator filters by isolated
aggregates (``[scheduler] enable_isolated_aggregate_filtering``), the aggregate keeps off its hosts
what does not require the trait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from novadocker_actions.cloud.clients import Service
from novadocker_actions.errors import CloudError

TRAIT = "CUSTOM_HYPERVISOR_DOCKER"
# Of an aggregate or an image.
REQUIRED = {f"trait:{TRAIT}": "required"}
# Of an aggregate that we have made, or given the trait: others are their operator's.
MARK = "novadocker:aggregate"
MADE, CHANGED = "made", "changed"


def find(nova: Service, name: str) -> dict[str, Any] | None:
    """Return the aggregate of a name, None when there is none."""
    for aggregate in nova.get("/os-aggregates")["aggregates"]:
        if aggregate["name"] == name:
            return dict(aggregate)
    return None


def for_docker(nova: Service, name: str) -> list[dict[str, Any]]:
    """Return the aggregates of Docker hypervisors: that of a name, and those of other runs.

    :param nova: the compute service
    :param name: that a run was given
    """
    listed = nova.get("/os-aggregates")["aggregates"]
    return [dict(item) for item in listed if item["name"] == name or is_isolated(item)]


def ensure(nova: Service, name: str) -> dict[str, Any]:
    """Return the aggregate of a name, made with the trait's metadata where there is none."""
    aggregate, mark = find(nova, name), CHANGED
    if aggregate is None:
        try:
            aggregate = nova.post("/os-aggregates", json={"aggregate": {"name": name}})["aggregate"]
            mark = MADE
        except CloudError as err:
            if err.status != 409:
                raise
            aggregate = find(nova, name)
            if aggregate is None:
                raise
    if not is_isolated(aggregate):
        owned = {MARK: mark, **_marked(aggregate), **REQUIRED}
        aggregate = _set_metadata(nova, aggregate, owned)
    made: dict[str, Any] = aggregate
    return made


def _marked(aggregate: dict[str, Any]) -> dict[str, str]:
    metadata = aggregate.get("metadata") or {}
    return {MARK: metadata[MARK]} if MARK in metadata else {}


def _set_metadata(
    nova: Service, aggregate: dict[str, Any], metadata: Mapping[str, str | None]
) -> dict[str, Any]:
    action = {"set_metadata": {"metadata": dict(metadata)}}
    changed = nova.post(f"/os-aggregates/{aggregate['id']}/action", json=action)
    return dict(changed["aggregate"])


def is_isolated(aggregate: dict[str, Any]) -> bool:
    """Return whether an aggregate has the metadata by which the scheduler can isolate it.

    :param aggregate: from :func:`find`
    """
    metadata = aggregate.get("metadata") or {}
    return all(metadata.get(name) == value for name, value in REQUIRED.items())


def add(nova: Service, aggregate: dict[str, Any], host: str) -> bool:
    """Make a host a member; return whether it was none.

    :param nova: the compute service
    :param aggregate: from :func:`ensure`
    :param host: Nova's service host name
    """
    if host in aggregate["hosts"]:
        return False
    try:
        _change(nova, aggregate, "add_host", host)
    except CloudError as err:
        # Nova says so of a member, and of a host that may not become one: of another zone, say.
        if err.status == 409 and host in _members(nova, aggregate):
            return False
        raise
    return True


def remove(nova: Service, aggregate: dict[str, Any], host: str) -> bool:
    """End a host's membership; return whether it was a member.

    :param nova: the compute service
    :param aggregate: from :func:`find`
    :param host: Nova's service host name
    """
    if host not in aggregate["hosts"]:
        return False
    try:
        _change(nova, aggregate, "remove_host", host)
    except CloudError as err:
        if err.status == 404 and host not in _members(nova, aggregate):
            return False
        raise
    return True


def _change(nova: Service, aggregate: dict[str, Any], action: str, host: str) -> None:
    nova.post(f"/os-aggregates/{aggregate['id']}/action", json={action: {"host": host}})


def _members(nova: Service, aggregate: dict[str, Any]) -> list[str]:
    members: list[str] = (find(nova, aggregate["name"]) or {"hosts": []})["hosts"]
    return members


def give_back(nova: Service, name: str) -> bool:
    """Delete the aggregate that we made, or take the trait from an operator's, if it is empty.

    :param nova: the compute service
    :param name: of the aggregate
    :return: whether it was deleted
    """
    aggregate = find(nova, name)
    if aggregate is None or aggregate["hosts"] or not _marked(aggregate):
        return False
    ours = {*REQUIRED, MARK}
    if _marked(aggregate)[MARK] == MADE and set(aggregate["metadata"]) <= ours:
        nova.delete(f"/os-aggregates/{aggregate['id']}")
        return True
    _set_metadata(nova, aggregate, dict.fromkeys(ours))
    return False


def precache(nova: Service, aggregate: dict[str, Any], image_ids: list[str]) -> None:
    """Have Nova fetch images onto the members' disks (API 2.81); Nova skips what is there.

    Nova's conductor asks every member whose service is up, disabled or not
    (``nova.conductor.manager.ComputeTaskManager.cache_images``), so this comes before a host is
    enabled: the first instance that is scheduled to it finds the image.

    :param nova: the compute service
    :param aggregate: from :func:`ensure`
    :param image_ids: Glance images
    """
    nova.post(
        f"/os-aggregates/{aggregate['id']}/images",
        json={"cache": [{"id": image_id} for image_id in image_ids]},
    )

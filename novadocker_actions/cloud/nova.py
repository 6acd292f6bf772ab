# SPDX-License-Identifier: Apache-2.0
"""Compute hosts through Nova's API: what they are, out of service and back, and verified."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from novadocker_actions.cloud.clients import Service
from novadocker_actions.errors import CloudError
from novadocker_actions.plan.hosts import DOCKER
from novadocker_actions.plan.rows import HostRow

LOG = logging.getLogger(__name__)

# How a service's disabled reason begins when it is ours: for a change, or since one failed.
REASON = "novadocker: "
FAILURE = "novadocker failed: "
# All of it, with the run: what its operator has added to is his.
_OURS = re.compile(rf"(?:{REASON}|{FAILURE}see )([A-Za-z0-9-]+)")
_PAGE = 500
# Of so many in a list, about, Nova's database is asked as much as for one by its id.
_IN_A_LIST = 5
# Why a compute service is not told: its cell does not answer, or there is none any more.
SILENT = "Nova's cell of it does not answer"
GONE = "Nova has no compute service for it any more"
# Types whose drivers give their nodes other ids than Nova's file compute_id has.
_OWN_IDS = ("fake", "ironic")


def services(nova: Service) -> list[dict[str, Any]]:
    """Return Nova's compute services, without those of which it knows only that they exist.

    Of hosts of a cell that does not answer, Nova tells no more than their names.
    """
    return list(_services_and_silent(nova)[0].values())


def services_of(
    nova: Service, hosts: Collection[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the compute services that Nova tells, by host, and why those of some hosts are not.

    :param nova: the compute service
    :param hosts: Nova's service host names
    """
    known, silent = _services_and_silent(nova)
    return known, {h: SILENT if h in silent else GONE for h in hosts if h not in known}


def _services_and_silent(nova: Service) -> tuple[dict[str, dict[str, Any]], set[str]]:
    answer = nova.get("/os-services", params={"binary": "nova-compute"})
    known = {item["host"]: item for item in answer["services"] if "id" in item}
    silent = {item["host"] for item in answer["services"]} - {*known}
    if silent:
        told = ", ".join(sorted(silent))
        LOG.warning("A cell of Nova does not answer; left out are its hosts: %s", told)
    return known, silent


def hypervisors(nova: Service, *, with_servers: bool = True) -> Iterator[dict[str, Any]]:
    """Yield Nova's hypervisors, page by page.

    Nova leaves nodes that have no service out of a page after it has limited it, and gives one that
    is shorter for that no link to the next (``_get_hypervisors``, ``_get_collection_links``). So a
    page that is not nearly empty is not taken for the last.

    :param nova: the compute service
    :param with_servers: whether with their servers, which costs Nova more
    """
    params = {"limit": str(_PAGE), **({"with_servers": "true"} if with_servers else {})}
    while True:
        page = nova.get("/os-hypervisors/detail", params=params)
        yield from page["hypervisors"]
        shown = len(page["hypervisors"])
        if not shown or (shown < _PAGE // 2 and not page.get("hypervisors_links")):
            return
        params = {**params, "marker": str(page["hypervisors"][-1]["id"])}


def by_host(nova: Service, *, with_servers: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Return the hypervisors of each host.

    :param nova: the compute service
    :param with_servers: whether with their servers, which costs Nova more
    """
    hypervisors_of: dict[str, list[dict[str, Any]]] = {}
    for item in hypervisors(nova, with_servers=with_servers):
        hypervisors_of.setdefault(item["service"]["host"], []).append(item)
    return hypervisors_of


def docker_hosts(nova: Service) -> list[str]:
    """Return the hosts that Nova shows as Docker hypervisors, up or down."""
    return [
        item["service"]["host"]
        for item in hypervisors(nova, with_servers=False)
        if item["hypervisor_type"] == DOCKER
    ]


def node_ids(nova: Service) -> dict[str, set[str]]:
    """Return the ids of hypervisors by host, of those that a host keeps in its file compute_id.

    :param nova: the compute service
    """
    ids: dict[str, set[str]] = {}
    for item in hypervisors(nova, with_servers=False):
        if str(item["hypervisor_type"]).lower() not in _OWN_IDS:
            ids.setdefault(item["service"]["host"], set()).add(str(item["id"]))
    return ids


def disable(nova: Service, row: HostRow, run_id: str, current: dict[str, Any]) -> None:
    """Take a host out of service, unless its operator did so before: then it is left as it is.

    What a run that was lost has taken out becomes this run's. A host that an earlier run left out
    because it failed there stays so until it is in order.

    :param nova: the compute service
    :param row: the host
    :param run_id: execution that does it, told in the reason
    :param current: the host's service as Nova has it now
    """
    other = parked_by(current)
    if is_disabled(current) and not other:
        row.parked = current.get("disabled_reason") == _failure(run_id)
        return
    if other != run_id:
        nova.put(
            f"/os-services/{current['id']}",
            json={"status": "disabled", "disabled_reason": f"{REASON}{run_id}"},
        )
    row.parked, row.out_at = True, row.out_at or int(time.time())


def parked_by(service: dict[str, Any]) -> str:
    """Return the run that took a compute service out of service for a change, "" for none."""
    reason = str(service.get("disabled_reason") or "")
    return left_out_by(service) if reason.startswith(REASON) else ""


def left_out_by(service: dict[str, Any]) -> str:
    """Return the run that took a service out of service, or left it so, "" for none of ours."""
    ours = _OURS.fullmatch(str(service.get("disabled_reason") or ""))
    return ours[1] if ours and is_disabled(service) else ""


def _failure(run_id: str) -> str:
    return f"{FAILURE}see {run_id}"


def is_disabled(service: dict[str, Any]) -> bool:
    """Return whether a compute service is out of service, whoever did it."""
    return bool(service["status"] == "disabled")


def is_ours(service: dict[str, Any]) -> bool:
    """Return whether a compute service is out of service, and by a run of this bundle."""
    return bool(left_out_by(service))


def is_our_reason(reason: str) -> bool:
    """Return whether a run of this bundle has told a service's users this reason."""
    return bool(_OURS.fullmatch(reason))


def enable(nova: Service, row: HostRow, current: dict[str, Any]) -> bool:
    """Put a host back into service, unless its operator is why it is out of it.

    :param nova: the compute service
    :param row: the host
    :param current: the host's service as Nova has it now
    :return: whether it was out of service
    """
    disabled = is_ours(current)
    if disabled:
        nova.put(f"/os-services/{current['id']}", json={"status": "enabled"})
    if row.out_at:
        row.out_s, row.out_at = row.out_s + max(1, int(time.time()) - row.out_at), 0
    row.parked = False
    return disabled


def explain_disabled(nova: Service, row: HostRow, run_id: str, current: dict[str, Any]) -> None:
    """Leave a host out of service, and tell Nova's users why; an operator's own reason is kept.

    :param nova: the compute service
    :param row: a host that could not be put back as it was
    :param run_id: execution whose report tells more
    :param current: the host's service as Nova has it now
    """
    if is_ours(current) or not is_disabled(current):
        nova.put(
            f"/os-services/{current['id']}",
            json={"status": "disabled", "disabled_reason": _failure(run_id)},
        )
    row.parked = False
    row.add_reason("its compute service is left disabled")


class AwaitedHypervisors:
    """Hypervisors of a few hosts, looked at again and again.

    The first look lists all of them, without anybody's servers. From then on a few of many are
    asked for by their ids, but while there is one of which Nova shows none.

    :param nova: the compute service
    """

    def __init__(self, nova: Service) -> None:
        self._nova = nova
        self._known: dict[str, dict[str, Any]] = {}

    def of(self, hosts: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the hypervisors that Nova shows of hosts, by host."""
        if len(hosts) * _IN_A_LIST < len(self._known) and self._known.keys() >= {*hosts}:
            try:
                return {host: self._ask(self._known[host]["id"]) for host in hosts}
            except CloudError as err:
                if err.status != 404:
                    raise
        shown = hypervisors(self._nova, with_servers=False)
        self._known = {item["service"]["host"]: item for item in shown}
        return self._known

    def _ask(self, node_id: str) -> dict[str, Any]:
        hypervisor: dict[str, Any] = self._nova.get(f"/os-hypervisors/{node_id}")["hypervisor"]
        return hypervisor


def unsettled(
    awaited: AwaitedHypervisors, rows: Sequence[HostRow], *, docker: bool | None
) -> dict[str, str]:
    """Return the hosts that Nova does not yet show as wanted, with what it shows.

    :param awaited: the hypervisors
    :param rows: compute hosts
    :param docker: whether they are to be Docker hypervisors, or just not; None for either
    """
    shown = awaited.of([row.host for row in rows])
    waiting = {}
    for row in rows:
        item = shown.get(row.host)
        if item is None:
            waiting[row.host] = "Nova has no hypervisor for it"
        elif item["state"] != "up":
            waiting[row.host] = f"its hypervisor is {item['state']}"
        elif docker is not None and (item["hypervisor_type"] == DOCKER) != docker:
            waiting[row.host] = f"its hypervisor is of type {item['hypervisor_type']}"
    return waiting

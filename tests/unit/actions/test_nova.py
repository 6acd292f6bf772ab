# SPDX-License-Identifier: Apache-2.0
"""What is taken of Nova's answers on compute hosts, and told of them."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from novadocker_actions.actions.nova import EnableCompute, Isolate, who_lives
from novadocker_actions.cloud import nova
from novadocker_actions.errors import CloudError
from novadocker_actions.plan import hosts, rows
from novadocker_actions.plan.rows import UNKNOWN, HostRow


@pytest.mark.field_case("K7.4")
def test_hosts_of_a_cell_that_does_not_answer_are_left_out_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    healthy = {"id": "7", "host": "c1", "state": "up", "status": "enabled", "zone": "nova"}
    silent = {"binary": "nova-compute", "host": "c2", "status": "UNKNOWN"}
    service = mock.Mock()
    service.get.return_value = {"services": [healthy, silent]}

    services = nova.services(service)

    assert [record.name for record in hosts.merge(services, [], [], {})] == ["c1"]
    assert "A cell of Nova does not answer; left out are its hosts: c2" in caplog.text


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("enabled", "Heat was away (the next run takes it up)"),
        ("disabled", "Heat was away (it is left out of service; the next run takes it up)"),
    ],
)
def test_of_a_host_that_was_lost_it_is_told_whether_it_is_in_service(
    status: str, reason: str
) -> None:
    row = HostRow("c1", "compute", state=UNKNOWN, step="push", reason="Heat was away", stuck=True)
    service = {"id": "1", "host": "c1", "status": status, "disabled_reason": "novadocker: r"}

    EnableCompute([], {"run_id": "r"})._settle(mock.Mock(), row, service)

    assert row.reason == reason


def test_hosts_are_awaited_without_asking_for_anybody_s_servers() -> None:
    service = mock.Mock()
    state = {"state": "up", "hypervisor_type": "docker"}
    service.get.return_value = {"hypervisors": [{"service": {"host": "c1"}, **state}]}

    waiting = nova.unsettled(
        nova.AwaitedHypervisors(service), [HostRow("c1", "compute")], docker=True
    )

    assert waiting == {}
    assert nova.docker_hosts(service) == ["c1"]
    assert all("with_servers" not in call.kwargs["params"] for call in service.get.mock_calls)
    assert service.get.call_count == 2


def test_a_few_hosts_of_many_are_awaited_by_their_ids() -> None:
    many = {f"c{number}": "down" for number in range(40)}
    asked: list[str] = []
    gone: set[str] = set()

    def get(path: str, params: Any = None) -> Any:
        asked.append(path.rpartition("/")[2])
        if path.endswith("/detail"):
            return {"hypervisors": [shown(host) for host in many if host not in gone]}
        if asked[-1] in gone:
            raise CloudError("compute", f"GET {path}", 404, "it is gone")
        return {"hypervisor": shown(asked[-1])}

    def shown(host: str) -> dict[str, Any]:
        state = {"state": many[host], "hypervisor_type": "docker"}
        return {"id": host, "service": {"host": host}, **state}

    service = mock.Mock()
    service.get.side_effect = get
    awaited = nova.AwaitedHypervisors(service)
    batch = [HostRow("c7", "compute"), HostRow("c9", "compute")]

    assert {*nova.unsettled(awaited, batch, docker=True)} == {"c7", "c9"}
    many["c7"] = "up"
    assert {*nova.unsettled(awaited, batch, docker=True)} == {"c9"}
    gone.add("c9")
    assert nova.unsettled(awaited, batch, docker=True) == {"c9": "Nova has no hypervisor for it"}
    gone.clear()
    many["c9"] = "up"
    assert nova.unsettled(awaited, batch, docker=True) == {}
    assert nova.unsettled(awaited, [HostRow("new", "compute")], docker=True) != {}
    assert asked == ["detail", "c7", "c9", "c7", "c9", "detail", "detail", "detail"]


def test_a_page_that_lacks_nodes_without_a_service_is_not_the_last() -> None:
    hosts_of = [f"c{number}" for number in range(700)]

    def get(path: str, params: dict[str, str]) -> Any:
        start = 1 + hosts_of.index(params["marker"]) if "marker" in params else 0
        page = hosts_of[start : start + int(params["limit"])]
        # As Nova does it: the page is limited, then nodes are left out, and it is not full then.
        shown = [host for host in page if host != "c3"]
        links = {"hypervisors_links": [{}]} if len(shown) == int(params["limit"]) else {}
        return {"hypervisors": [{"id": h, "service": {"host": h}} for h in shown], **links}

    service = mock.Mock()
    service.get.side_effect = get
    assert set(nova.by_host(service)) == {*hosts_of} - {"c3"}


def test_a_host_that_was_undeployed_while_images_came_does_not_become_a_member() -> None:
    kinds = {"c1": "docker", "c2": "QEMU"}
    shown = [{"id": h, "service": {"host": h}, "hypervisor_type": k} for h, k in kinds.items()]
    required = {"trait:CUSTOM_HYPERVISOR_DOCKER": "required"}
    aggregate = {"id": 1, "name": "docker-hosts", "hosts": [], "metadata": required}
    cloud = mock.MagicMock()
    cloud.compute.get.side_effect = lambda path, params=None: {
        "hypervisors": shown,
        "aggregates": [aggregate],
    }
    given = rows.write([HostRow(host, "compute") for host in kinds])
    settings = {"workflow": "preload_images", "aggregate": "docker-hosts"}

    first, second = rows.read(Isolate(given, settings).act(cloud)["rows"])

    assert (first.ok, second.ok) == (True, False)
    assert "no Docker hypervisor any more" in second.reason
    added = [call.kwargs["json"] for call in cloud.compute.post.mock_calls]
    assert added == [{"add_host": {"host": "c1"}}]


def test_of_a_host_without_a_hypervisor_nobody_can_tell_who_lives_there() -> None:
    cloud = mock.MagicMock()
    cloud.compute.get.return_value = {"hypervisors": []}

    living, faults = who_lives(cloud, [HostRow("c1", "compute")])

    assert (living, faults) == ({}, {"c1": "Nova lists no hypervisor of it"})


@pytest.mark.parametrize(
    ("reason", "run"),
    [
        ("novadocker: 0b7e3f5c-8c7e", "0b7e3f5c-8c7e"),
        ("novadocker failed: see 0b7e3f5c-8c7e", "0b7e3f5c-8c7e"),
        # What its operator has added to is his.
        ("novadocker: 0b7e3f5c-8c7e, and a bad DIMM", ""),
        ("novadocker: bad DIMM", ""),
        ("novadocker failed: 0b7e3f5c-8c7e", ""),
        ("bad DIMM", ""),
        (None, ""),
    ],
)
def test_a_host_is_out_of_service_by_a_run_whose_reason_is_whole(
    reason: str | None, run: str
) -> None:
    service = {"id": "1", "host": "c1", "status": "disabled", "disabled_reason": reason}
    assert nova.left_out_by(service) == run
    assert nova.is_ours(service) == bool(run)
    assert nova.left_out_by({**service, "status": "enabled"}) == ""

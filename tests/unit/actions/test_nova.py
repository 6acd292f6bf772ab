# SPDX-License-Identifier: Apache-2.0
"""What is taken of Nova's answers on compute hosts, and told of them."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from novadocker_actions.actions.nova import EnableCompute
from novadocker_actions.cloud import nova
from novadocker_actions.errors import CloudError
from novadocker_actions.plan import hosts
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


class Hypervisors:
    """Nova with Docker hypervisors at hosts, of which it keeps what it was asked.

    :param nodes: names of hypervisors by host
    """

    def __init__(self, nodes: dict[str, str]) -> None:
        self.nodes = nodes
        self.asked: list[dict[str, str]] = []

    def get(self, path: str, params: dict[str, str]) -> Any:
        assert path == "/os-hypervisors/detail"
        self.asked.append(params)
        pattern = params.get("hypervisor_hostname_pattern", "")
        shown = [
            {"service": {"host": host}, "state": "up", "hypervisor_type": "docker", "name": node}
            for host, node in self.nodes.items()
            if pattern in node
        ]
        if not shown:
            raise CloudError("compute", f"GET {path}", 404, "No hypervisor matching")
        limit = int(params.get("limit", 1000))
        more = {"hypervisors_links": [{"rel": "next"}]} if len(shown) > limit else {}
        return {"hypervisors": shown[:limit], **more}


def test_hosts_are_awaited_without_asking_for_anybody_s_servers() -> None:
    service = Hypervisors({"c1": "c1"})

    waiting = nova.unsettled(service, [HostRow("c1", "compute")], docker=True)

    assert waiting == {}
    assert nova.docker_hosts(service) == ["c1"]
    assert all("with_servers" not in params for params in service.asked)
    assert len(service.asked) == 2


def test_few_hosts_of_many_are_awaited_without_listing_all_others() -> None:
    service = Hypervisors({f"c{number}": f"c{number}.example.org" for number in range(100)})
    rows = [HostRow("c7", "compute", node="c7.example.org"), HostRow("c8", "compute")]

    assert nova.unsettled(service, rows, docker=True) == {}
    assert [params.get("hypervisor_hostname_pattern") for params in service.asked] == [
        None,
        "c7.example.org",
        "c8",
    ]
    assert nova.unsettled(service, rows, docker=False) == {
        "c7": "its hypervisor is of type docker",
        "c8": "its hypervisor is of type docker",
    }


def test_a_host_of_another_name_than_its_hypervisor_is_found_in_the_list() -> None:
    service = Hypervisors({f"rack-{number}": f"c{number}" for number in range(100)})

    shown = nova.of_hosts(service, [HostRow("rack-1", "compute")])

    assert [item["name"] for item in shown["rack-1"]] == ["c1"]
    assert service.asked == [
        {"limit": "10", "with_servers": "true"},
        {"hypervisor_hostname_pattern": "rack-1", "with_servers": "true"},
        {"limit": "500", "with_servers": "true"},
    ]


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

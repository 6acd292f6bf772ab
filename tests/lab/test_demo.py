# SPDX-License-Identifier: Apache-2.0
"""The main job from end to end, as the demonstration shows it, and what it leaves on each host."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from openstack.connection import Connection
from rich.console import Console

from lab import listing
from lab.demo import SERVERS, Demo
from lab.nodes import Node

SELECTED = {"compute-docker-1", "compute-docker-2"}
UNSELECTED = "compute-3"
# What the lab's controller has of its operator before anything is converted.
OPERATORS_DAEMON_SETTINGS = {"registry-mirrors": ["https://controller:5443"]}

Nodes = dict[str, Node]


@pytest.fixture(scope="module")
def before(lab: Nodes) -> listing.Listing:
    """The host that the rule does not select, as it was before."""
    return listing.take(lab[UNSELECTED])


@pytest.fixture(scope="module")
def shown(before: listing.Listing, cloud: Connection) -> Iterator[str]:
    """What the demonstration shows; its servers are deleted after these tests."""
    text = io.StringIO()
    Demo(cloud, Console(file=text, width=200)).run()
    print(text.getvalue())
    yield text.getvalue()
    for name in SERVERS:
        server = cloud.compute.find_server(name, ignore_missing=False)
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=0.5, wait=60)


def test_selected_computes_are_docker_hypervisors(shown: str, cloud: Connection) -> None:
    hypervisors = {row.name: row for row in cloud.compute.hypervisors(details=True)}
    kinds = {name: row.hypervisor_type for name, row in hypervisors.items()}
    assert {name for name, kind in kinds.items() if kind == "docker"} == SELECTED
    assert {(row.state, row.status) for row in hypervisors.values()} == {("up", "enabled")}


def test_two_containers_ping_each_other_across_hosts(shown: str, cloud: Connection) -> None:
    servers = [cloud.compute.find_server(name, ignore_missing=False) for name in SERVERS]
    servers = [cloud.compute.get_server(server.id) for server in servers]
    assert {server.status for server in servers} == {"ACTIVE"}
    assert {server.compute_host for server in servers} == SELECTED
    assert "3 packets received" in shown


def test_unselected_compute_is_not_touched(shown: str, before: listing.Listing, lab: Nodes) -> None:
    after = listing.take(lab[UNSELECTED])
    assert listing.differences(before, after) == []
    assert listing.restarted(before, after) == []


def test_controller_has_docker_and_its_operators_settings(shown: str, lab: Nodes) -> None:
    controller = lab["controller"]
    assert controller.run(["docker", "info", "--format", "{{.ServerVersion}}"]).stdout.strip()
    settings = json.loads(controller.read("/etc/docker/daemon.json"))
    assert {key: settings.get(key) for key in OPERATORS_DAEMON_SETTINGS} == (
        OPERATORS_DAEMON_SETTINGS
    )


def test_glance_takes_docker_and_all_that_it_took(shown: str, cloud: Connection) -> None:
    schema = cloud.image.get("/schemas/image").json()
    formats = schema["properties"]["container_format"]["enum"]
    assert {"docker", "bare", "ovf"} <= set(formats)


def test_report_names_every_host(shown: str) -> None:
    report = shown[shown.index("Report:") :]
    for name in {"controller", *SELECTED}:
        assert name in report
    assert UNSELECTED not in report

# SPDX-License-Identifier: Apache-2.0
"""Hosts with instances are drained, and what a cancelled run left is taken up beside others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from openstack.compute.v2.server import Server
from openstack.connection import Connection

from lab.hosts.access import Host
from lab.settings import LabSettings
from novadocker_client.runs import CANCELLED, SUCCESS, Run, Runs
from tests.lab.proofs import truth
from tests.lab.proofs.tenants import CONTAINER_COMMAND, Tenants, containers

pytestmark = pytest.mark.proof

FIRST, SECOND, THIRD = "compute-docker-1", "compute-docker-2", "compute-3"
DRAIN = {"drain": "migrate", "drain_timeout_s": 300}

Hosts = dict[str, Host]
Look = Callable[[], dict[str, truth.Compute]]
seen: list[str] = []


@pytest.fixture(scope="module")
def machine_image(cloud: Connection, run_workflow: Any, docker_hosts: Any, tenants: Tenants) -> str:
    """An image for virtual machines, in a cloud without servers and Docker hypervisors."""
    for server in cloud.compute.servers(all_projects=True):
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=0.5, wait=120)
    if docker_hosts():
        assert run_workflow("undeploy").state == SUCCESS
    return tenants.vm_image()


@pytest.fixture
def look(cloud: Connection, lab: Hosts, lab_settings: LabSettings) -> Look:
    """Return the compute hosts as they are, whenever it is called."""
    return lambda: truth.look(cloud, lab, lab_settings)


def row_of(run: Run, host: str) -> Any:
    """Return what a run's report says of a host."""
    return next(row for row in run.report.rows if row.host == host)


def unconfirmed(cloud: Connection, server: Server) -> list[str]:
    """Return the migrations of a server that have not come to their end."""
    migrations = cloud.compute.get(
        "/os-migrations", params={"instance_uuid": server.id}, microversion="2.59"
    ).json()["migrations"]
    return [item["status"] for item in migrations if item["status"] != "confirmed"]


def test_a_machine_leaves_a_host_that_is_converted(
    machine_image: str, tenants: Tenants, look: Look, cloud: Connection, run_workflow: Any
) -> None:
    machine = tenants.boot("machine", FIRST, machine_image)
    run = run_workflow("deploy", {"hosts": [FIRST], **DRAIN})

    assert run.state == SUCCESS, run.message
    assert row_of(run, FIRST).state == "ok", run.message
    status, host = tenants.now(machine)
    assert (status, host in (SECOND, THIRD)) == ("ACTIVE", True), host
    assert unconfirmed(cloud, machine) == []
    assert truth.violations(look(), run) == []
    tenants.delete(machine)
    seen.append("a machine has left a host that was converted")


def test_a_host_whose_machine_is_locked_is_left_as_it_is(
    machine_image: str, tenants: Tenants, look: Look, cloud: Connection, run_workflow: Any
) -> None:
    machine = tenants.boot("locked", SECOND, machine_image)
    tenants.cloud.compute.lock_server(machine)
    run = run_workflow("deploy", {"hosts": [SECOND], **DRAIN})
    shown = look()
    tenants.cloud.compute.unlock_server(machine)

    assert run.report.state == "partial", run.message
    row = row_of(run, SECOND)
    assert (row.state, "locked" in row.reason) == ("skipped", True), row
    assert shown[SECOND].is_other, shown[SECOND]
    assert shown[SECOND].enabled, shown[SECOND]
    assert tenants.now(machine) == ("ACTIVE", SECOND)
    assert unconfirmed(cloud, machine) == []
    tenants.delete(machine)
    seen.append("a locked one has stayed, and its host as it was")


def test_a_container_leaves_a_host_that_is_given_back(
    machine_image: str,
    tenants: Tenants,
    lab: Hosts,
    look: Look,
    cloud: Connection,
    run_workflow: Any,
) -> None:
    run = run_workflow("deploy", {"hosts": [FIRST, SECOND]})
    assert run.state == SUCCESS, run.message
    image = cloud.image.find_image("busybox", ignore_missing=False)
    cloud.image.update_image(image, os_command_line=CONTAINER_COMMAND)
    container = tenants.boot("container", FIRST, image.id)
    run = run_workflow("undeploy", {"hosts": [FIRST], **DRAIN})

    assert run.state == SUCCESS, run.message
    assert tenants.now(container) == ("ACTIVE", SECOND)
    assert containers(lab[SECOND])
    assert unconfirmed(cloud, container) == []
    shown = look()
    assert truth.violations(shown, run) == []
    assert shown[FIRST].is_other, shown[FIRST]
    assert shown[FIRST].enabled, shown[FIRST]
    seen.append("a container has left a host that was given back")


@pytest.mark.parametrize("phase", ["stage", "switch_batch"])
def test_what_a_cancelled_run_left_is_taken_up_beside_a_container(
    machine_image: str,
    tenants: Tenants,
    lab: Hosts,
    look: Look,
    cloud: Connection,
    runs: Runs,
    run_workflow: Any,
    await_task: Any,
    phase: str,
) -> None:
    living = containers(lab[SECOND])
    assert living
    begun = runs.start("deploy", {"hosts": [FIRST]})
    assert await_task(begun.id, phase)
    assert runs.stop(begun.id).state == CANCELLED

    run = run_workflow("recover")

    assert run.state == SUCCESS, run.message
    shown = look()
    for host in (FIRST, SECOND):
        assert shown[host].enabled, shown[host]
        assert shown[host].is_docker or shown[host].is_other, shown[host]
    assert shown[SECOND].is_docker, shown[SECOND]
    assert containers(lab[SECOND]) == living
    assert truth.trusts_left(cloud) == []
    seen.append(f"a run that was cancelled in {phase} was recovered beside a container")


def test_something_was_tried() -> None:
    print(f"figures: {len(seen)} of 5: {'; '.join(seen)}")
    assert len(seen) == 5

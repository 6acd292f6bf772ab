# SPDX-License-Identifier: Apache-2.0
"""A blank host becomes a Docker hypervisor by `openstack stack create`, and a blank one again.

The commands are the documented ones, run on the controller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openstack.compute.v2.hypervisor import Hypervisor
from openstack.connection import Connection

from lab import lifecycle
from lab.hosts import containers, listing
from lab.hosts.access import Host
from lab.machine.progress import Progress
from lab.settings import LabSettings
from lab.stage import BundleStage

# Without "docker" in its name: other tests' deployments leave it alone.
HOST = "pool-1"
STACK = "test-pool"
LEFT = ("os-collect-config", "/etc/novadocker", "/usr/local/lib/novadocker", "uuidd.service")
SERVER = "test-pool-container"

Hosts = dict[str, Host]


def hypervisor(cloud: Connection) -> Hypervisor | None:
    """Return the new host's hypervisor, None where Nova knows none."""
    hypervisors = cloud.compute.hypervisors(details=True)
    return next((row for row in hypervisors if row.name == HOST), None)


@pytest.fixture(scope="module")
def image_id(cloud: Connection, converted: None) -> str:
    """A docker image that Glance holds."""
    return str(next(cloud.image.images(name="busybox", container_format="docker")).id)


@pytest.fixture(scope="module")
def blank(lab: Hosts, lab_settings: LabSettings) -> Iterator[Host]:
    """A host with an operating system that nobody has configured."""
    host = lifecycle.add_host(lab_settings, Progress(), HOST, BundleStage())
    yield host
    containers.remove(lab_settings, [HOST])


@pytest.fixture(scope="module")
def before(blank: Host) -> listing.Listing:
    """The blank host as it was."""
    return listing.take(blank)


@pytest.fixture(scope="module")
def pool(
    before: listing.Listing, cloud: Connection, image_id: str, operator: Any
) -> Iterator[None]:
    """The pool's stack; what is left of it is deleted."""
    operator(
        *("openstack", "stack", "create", "--tags", "novadocker-hosts"),
        *("-t", "compute_pool.yaml", "-e", "environments/deployed_server.yaml"),
        *("-e", "/root/compute-pool.yaml"),
        *("--parameter", f'hosts=["{HOST}"]', "--parameter", "host_count=1", STACK),
    )
    yield
    if cloud.orchestration.find_stack(STACK):
        cloud.orchestration.delete_stack(STACK)
        cloud.orchestration.wait_for_delete(cloud.orchestration.get_stack(STACK), wait=120)
    for service in cloud.compute.services(binary="nova-compute", host=HOST):
        cloud.compute.delete(f"/os-services/{service.id}", microversion="2.53")


def test_blank_host_becomes_a_docker_hypervisor(
    pool: None, cloud: Connection, operator: Any, await_stack: Any, eventually: Any
) -> None:
    operator(
        *("novadocker-enroll", "attach", STACK, "--polling-interval", "2", "--trust-stacks"),
        *("--wheels", "/srv/wheelhouse"),
        timeout_s=600,
    )
    await_stack(STACK, "CREATE")
    # It is there when the scheduler has mapped the host to its cell.
    row = eventually(lambda: hypervisor(cloud), lambda shown: shown is not None)
    assert row is not None, f"Nova does not know {HOST}"
    assert (row.hypervisor_type, row.state, row.status) == ("docker", "up", "enabled")


def test_container_boots_on_the_new_host(pool: None, cloud: Connection, image_id: str) -> None:
    server = cloud.compute.create_server(
        name=SERVER,
        image_id=image_id,
        flavor_id=cloud.compute.find_flavor("m1.nano", ignore_missing=False).id,
        networks=[{"uuid": cloud.network.find_network("demo", ignore_missing=False).id}],
        availability_zone=f"nova:{HOST}",
    )
    try:
        server = cloud.compute.wait_for_server(server, interval=0.5, wait=120)
        assert server.compute_host == HOST
    finally:
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=0.5, wait=120)


def test_workflows_know_the_new_host(pool: None, run_workflow: Any) -> None:
    execution = run_workflow("plan", {"hosts": [HOST]})
    assert execution.state == "SUCCESS", execution.message
    assert execution.report.data["hosts"]["selected"] == [HOST]
    assert execution.report.totals["failed"] == 0


def test_absent_gives_back_a_blank_host(
    pool: None, blank: Host, before: listing.Listing, operator: Any, await_stack: Any
) -> None:
    operator(
        *("openstack", "stack", "update", "--existing", "--parameter", "state=absent"),
        *("-t", "compute_pool.yaml", "-e", "environments/deployed_server.yaml", STACK),
    )
    await_stack(STACK, "UPDATE")
    changes = [
        line
        for line in listing.differences(before, listing.take(blank))
        # The agent stays until `novadocker-enroll remove` or the host itself goes, and with it key
        # and package; uuidd is started by its socket whenever something wants a UUID.
        if not any(word in line for word in LEFT)
    ]
    assert changes == []

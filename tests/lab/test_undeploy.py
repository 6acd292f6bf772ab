# SPDX-License-Identifier: Apache-2.0
"""undeploy gives the hosts back as they were."""

from __future__ import annotations

from typing import Any

import pytest
from openstack.connection import Connection

from lab import listing
from lab.nodes import Node

DEPLOY, UNDEPLOY = "novadocker.deploy", "novadocker.undeploy"

Nodes = dict[str, Node]


@pytest.fixture
def unconverted(cloud: Connection, run_workflow: Any) -> None:
    """A cloud without a Docker hypervisor, whatever other tests have left."""
    for server in cloud.compute.servers(all_projects=True):
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=0.5, wait=120)
    if docker_hosts(cloud):
        execution = run_workflow(UNDEPLOY)
        assert execution.state == "SUCCESS", execution.message
    assert docker_hosts(cloud) == []


def docker_hosts(cloud: Connection) -> list[str]:
    """List the hypervisors of type docker."""
    return sorted(
        row.name
        for row in cloud.compute.hypervisors(details=True)
        if row.hypervisor_type == "docker"
    )


def test_hosts_are_as_before(
    unconverted: None, lab: Nodes, cloud: Connection, run_workflow: Any
) -> None:
    hypervisors = {row.name: row.hypervisor_type for row in cloud.compute.hypervisors(details=True)}
    before = listing.take_all(lab)
    deployed = run_workflow(DEPLOY)
    assert deployed.state == "SUCCESS", deployed.message
    between = listing.take_all(lab)
    assert docker_hosts(cloud) == ["compute-docker-1", "compute-docker-2"]
    assert listing.differences(before["compute-docker-1"], between["compute-docker-1"])
    assert listing.differences(before["compute-3"], between["compute-3"]) == []

    execution = run_workflow(UNDEPLOY)
    assert execution.state == "SUCCESS", execution.message
    after = listing.take_all(lab)

    differences = {name: listing.differences(before[name], after[name]) for name in lab}
    assert differences == {name: [] for name in lab}
    assert listing.restarted(before["compute-3"], after["compute-3"]) == []
    assert {
        row.name: row.hypervisor_type for row in cloud.compute.hypervisors(details=True)
    } == hypervisors
    services = cloud.compute.services(binary="nova-compute")
    assert {service.host: service.status for service in services} == dict.fromkeys(
        hypervisors, "enabled"
    )
    count = sum(
        len(getattr(one, kind))
        for one in after.values()
        for kind in ("files", "groups", "packages", "unit_files", "units")
    )
    print(f"figures: {len(lab)} hosts, {count} files, groups, packages and units, 0 differences")


def test_undeploying_what_is_not_deployed_changes_nothing(
    unconverted: None, lab: Nodes, run_workflow: Any
) -> None:
    before = listing.take_all(lab)
    execution = run_workflow(UNDEPLOY)
    after = listing.take_all(lab)
    assert execution.state == "SUCCESS", execution.message
    assert {name: listing.differences(before[name], after[name]) for name in lab} == {
        name: [] for name in lab
    }
    assert {name: listing.restarted(before[name], after[name]) for name in lab} == {
        name: [] for name in lab
    }

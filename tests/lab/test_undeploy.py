# SPDX-License-Identifier: Apache-2.0
"""undeploy gives the hosts back as they were."""

from __future__ import annotations

from typing import Any

from openstack.connection import Connection

from lab.hosts import listing
from lab.hosts.access import Host

UNDEPLOY = "undeploy"

Hosts = dict[str, Host]


def test_hosts_are_as_before(
    conversion: Any,
    lab: Hosts,
    cloud: Connection,
    run_workflow: Any,
    docker_hosts: Any,
    hypervisors: Any,
) -> None:
    before, between = conversion.before, conversion.after
    assert docker_hosts() == ["compute-docker-1", "compute-docker-2"]
    assert listing.differences(before["compute-docker-1"], between["compute-docker-1"])
    assert listing.differences(before["compute-3"], between["compute-3"]) == []

    execution = run_workflow(UNDEPLOY)
    assert execution.state == "SUCCESS", execution.message
    after = listing.take_all(lab)

    assert listing.differing(before, after) == {}
    assert listing.restarted(before["compute-3"], after["compute-3"]) == []
    assert hypervisors() == conversion.hypervisors
    services = cloud.compute.services(binary="nova-compute")
    assert {service.host: service.status for service in services} == dict.fromkeys(
        conversion.hypervisors, "enabled"
    )
    count = sum(
        len(getattr(state, kind))
        for state in after.values()
        for kind in ("files", "groups", "packages", "unit_files", "units")
    )
    print(f"figures: {len(lab)} hosts, {count} files, groups, packages and units, 0 differences")


def test_undeploying_what_is_not_deployed_changes_nothing(
    unconverted: None, lab: Hosts, run_workflow: Any
) -> None:
    before = listing.take_all(lab)
    execution = run_workflow(UNDEPLOY)
    after = listing.take_all(lab)
    assert execution.state == "SUCCESS", execution.message
    assert listing.touched(before, after) == {}

# SPDX-License-Identifier: Apache-2.0
"""Hosts as Nova and Heat know them."""

from __future__ import annotations

import time
import warnings

import pytest
from openstack.warnings import RemovedFieldWarning

from novadocker_client import hosts
from novadocker_client.connection import Cloud
from novadocker_client.errors import NotFound, Unavailable
from novadocker_client.tests.fake_cloud import FakeCloud

RUN = "0b7e3f5c-8c7e-4a5e-9d6e-0e7c0a1b2c3d"


@pytest.fixture
def cloud(fake: FakeCloud) -> Cloud:
    """A cloud with a Docker hypervisor, another compute host, and an enrolled controller."""
    fake.add_host("c1", hypervisor_type="docker", hypervisor_version=28005002, running_vms=3)
    fake.add_host("c2", status="disabled", disabled_reason=f"novadocker: {RUN}")
    fake.enrol("computes", "c1")
    fake.enrol("controllers", "controller", roles=("controller", "glance"))
    return fake.cloud()


def test_hosts_are_those_that_nova_knows_and_those_that_are_enrolled(cloud: Cloud) -> None:
    first, second, controller = hosts.listed(cloud).hosts
    assert (first.name, first.is_docker, first.hypervisor_version) == ("c1", True, "28005002")
    assert (first.instances, first.state, first.status) == (3, "up", "enabled")
    assert first.enrolment
    assert (first.enrolment.pool, first.enrolment.roles) == ("computes", ("compute",))
    assert (first.enrolment.mailbox, first.enrolment.answered_at) == (
        "COMPLETE",
        "2026-01-01T09:30:00Z",
    )
    assert (second.name, second.is_docker, second.enrolment) == ("c2", False, None)
    assert (controller.name, controller.state, controller.hypervisor_type) == (
        "controller",
        "",
        "",
    )
    assert controller.enrolment
    assert controller.enrolment.roles == ("controller", "glance")


def test_a_host_that_a_run_took_out_of_service_names_the_run(cloud: Cloud) -> None:
    assert hosts.get(cloud, "c2").run_id == RUN
    assert hosts.get(cloud, "c1").run_id == ""
    assert hosts.disabled_by(cloud, RUN) == ["c2"]
    assert hosts.Host("x", status="disabled", reason=f"novadocker failed: see {RUN}").run_id == RUN
    assert hosts.Host("x", status="disabled", reason=f"disk of {RUN} broke").run_id == ""
    assert hosts.Host("x", status="enabled", reason=f"novadocker: {RUN}").run_id == ""


def test_no_host_is_asked_for_on_its_own_and_nothing_is_warned_of(
    fake: FakeCloud, cloud: Cloud
) -> None:
    for number in range(200):
        fake.add_host(f"many-{number}", running_vms=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RemovedFieldWarning)
        assert len(hosts.listed(cloud).hosts) == 203
    asked = [path for _, path, _ in fake.requests if path.startswith(("/nova/v2.1/", "/heat"))]
    assert len(asked) == len(set(asked)) <= 7


def test_nova_asks_no_host_for_what_it_tells_of_them(fake: FakeCloud, cloud: Cloud) -> None:
    hosts.listed(cloud)
    asked = [head for path, head in fake.headers if path.endswith("/os-hypervisors/detail")]
    # From 2.88 on it asks each host, and one that is away makes the whole list an error.
    assert [head["X-OpenStack-Nova-API-Version"] for head in asked] == ["2.87"]


def test_hypervisors_are_read_to_the_last_page(fake: FakeCloud, cloud: Cloud) -> None:
    fake.nova_page = 20
    for number in range(49):
        fake.add_host(f"many-{number}", hypervisor_type="docker", running_vms=1)
    many = [host for host in hosts.listed(cloud).hosts if host.name.startswith("many-")]
    assert len(many) == 49
    assert all(host.is_docker and host.instances == 1 for host in many)


def test_a_list_of_a_thousand_hosts_takes_less_than_a_second(fake: FakeCloud, cloud: Cloud) -> None:
    for number in range(1000):
        fake.add_host(f"many-{number}")
    began = time.process_time()
    hosts.listed(cloud)
    assert time.process_time() - began < 1


def test_heat_that_is_away_is_told_and_the_hosts_are_there(fake: FakeCloud, cloud: Cloud) -> None:
    fake.faults["/heat"] = (503, None)
    listing = hosts.listed(cloud)
    assert [host.name for host in listing.hosts] == ["c1", "c2"]
    (fault,) = listing.faults
    assert isinstance(fault, Unavailable)
    assert str(fault).startswith("Heat does not list the stacks of enrolled hosts (503)")


def test_nova_that_is_away_is_an_error(fake: FakeCloud, cloud: Cloud) -> None:
    fake.faults["/nova/v2.1/os-"] = (503, None)
    with pytest.raises(Unavailable, match=r"^Nova does not list hypervisors"):
        hosts.listed(cloud)


def test_a_host_that_nobody_knows_is_not_found(cloud: Cloud) -> None:
    with pytest.raises(NotFound) as refused:
        hosts.get(cloud, "c9")
    told = "Nova does not know the host c9: it has no compute service, nor is it enrolled."
    assert str(refused.value) == told


def test_a_pool_that_is_just_being_made_has_no_hosts_yet(fake: FakeCloud, cloud: Cloud) -> None:
    fake.enrol("new", "c3")
    fake.stacks["novadocker-hosts-new"]["inventory"] = None
    assert "c3" not in [host.name for host in hosts.listed(cloud).hosts]


def test_a_host_of_a_cell_that_does_not_answer_is_unknown(fake: FakeCloud) -> None:
    fake.compute_services.append({"host": "silent", "binary": "nova-compute", "status": "UNKNOWN"})
    host = hosts.get(fake.cloud(), "silent")
    assert (host.state, host.status) == ("unknown", "UNKNOWN")

# SPDX-License-Identifier: Apache-2.0
"""Docker hypervisors get another driver under their instances, and nothing else becomes another."""

from __future__ import annotations

from typing import Any

from novadocker_actions import driver_wheel
from tests.functional.workbooks.fake_cloud import FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED, refused, rows, writes

COMPUTES = ("compute-docker-1", "compute-docker-2")
SWITCHED = [("install_driver", "apply"), ("configure_compute", "apply"), ("verify_host", "apply")]


def converted(mistral: Mistral, cloud: FakeCloud) -> list[FakeHost]:
    """Return Docker hypervisors with instances, whose driver is an older one than the bundle's."""
    run = mistral.run("novadocker.deploy", {"images": [], "aggregate": "ours"})
    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    hosts = [cloud.hosts[name] for name in COMPUTES]
    for host in hosts:
        host.servers = [{"uuid": f"on-{host.name}"}]
        host.changes_again = {"install_driver"}
    for host in cloud.hosts.values():
        host.out_of_service, host.runs, host.restarts = [], [], 0
    cloud.requests.clear()

    def after_step(host: FakeHost, step: str, mode: str) -> None:
        if mode in ("apply", "roll_back"):
            host.changes_again.discard(step)

    cloud.after_step = after_step
    return hosts


def test_drivers_are_replaced_batch_by_batch_under_the_instances_and_nothing_else(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    hosts = converted(mistral, cloud)
    # Settings and images of others are none of an upgrade's, and neither are controllers.
    cloud.hosts["controller"].changes_again = {"install_docker", "configure_glance"}
    hosts[0].changes_again.add("install_docker")
    out_at_once: set[int] = set()
    before = cloud.after_step

    def after_step(host: FakeHost, step: str, mode: str) -> None:
        before(host, step, mode)
        out_at_once.add(sum(h.status == "disabled" for h in cloud.hosts.values()))

    cloud.after_step = after_step

    run = mistral.run("novadocker.deploy", {"upgrade": True, "batch_size": 1})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    version = driver_wheel.version()
    said = f"2 of 2 Docker hypervisors have the driver {version} (compute-docker-1, comp"
    assert run["output"]["message"].startswith(said)
    assert run["output"]["report"]["hosts"]["rule"] == "all Docker hypervisors"
    for host in hosts:
        assert (host.state, host.status) == (CONVERTED, "enabled")
        assert host.out_of_service == SWITCHED
        assert host.servers == [{"uuid": f"on-{host.name}"}]
    assert out_at_once == {0, 1}
    members = {entry["name"]: sorted(entry["hosts"]) for entry in cloud.aggregates.values()}
    assert members == {"ours": sorted(COMPUTES)}
    assert {mode for _, mode in cloud.hosts["controller"].runs} == {"check"}
    assert cloud.hosts["compute-3"].runs == []
    assert [path for _, path in writes(cloud) if path.startswith("/glance/")] == []

    # All have it now: the next one takes nobody out of service.
    again = mistral.run("novadocker.deploy", {"upgrade": True})

    assert again["output"]["report"]["state"] == "unchanged", again["output"]["message"]
    assert [host.out_of_service for host in hosts] == [SWITCHED, SWITCHED]


def test_a_driver_that_does_not_work_is_put_back_on_the_first_host_and_no_other_gets_it(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    first, second = converted(mistral, cloud)
    first.faults["verify_host", "apply"] = "fail"

    run = mistral.run("novadocker.deploy", {"upgrade": True})

    assert run["state"] == "ERROR"
    said = rows(run)[first.name]
    assert (said["state"], said["step"], said["rolled_back"]) == ("failed", "verify_host", True)
    assert "1 put back as the Docker hypervisors they were" in run["output"]["message"]
    assert (first.state, first.status) == (CONVERTED, "enabled")
    assert first.servers == [{"uuid": f"on-{first.name}"}]
    assert (second.out_of_service, second.restarts) == ([], 0)
    assert rows(run)[second.name]["reason"] == "not started"


def test_what_is_no_docker_hypervisor_is_refused_before_anything_changes(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    def said(**inputs: Any) -> str:
        return refused(mistral, cloud, {"upgrade": True, **inputs})

    assert "hosts: no compute host is selected (all Docker hypervisors)" in said()
    assert "hosts: compute-docker-1 are not Docker hypervisors" in said(hosts=COMPUTES[0])
    assert "match: an upgrade is of all Docker hypervisors" in said(match="compute-3")
    assert cloud.hosts[COMPUTES[0]].state == UNTOUCHED


def test_an_upgrade_is_held_to_its_own_plan(mistral: Mistral, cloud: FakeCloud) -> None:
    converted(mistral, cloud)

    plan = mistral.run("novadocker.plan", {"upgrade": True})

    assert plan["state"] == "SUCCESS", mistral.tree(plan["id"])
    version = driver_wheel.version()
    assert f"2 of 2 Docker hypervisors would get the driver {version}" in plan["output"]["message"]
    assert rows(plan)[COMPUTES[0]]["step"] == "install_driver, configure_compute"
    digest = plan["output"]["report"]["plan_digest"]
    assert "the plan is now" in refused(mistral, cloud, {"images": [], "plan_digest": digest})
    run = mistral.run("novadocker.deploy", {"upgrade": True, "plan_digest": digest})
    assert run["output"]["report"]["state"] == "done", run["output"]["message"]

# SPDX-License-Identifier: Apache-2.0
"""Instances that come to a host after the plan was made: the host is left as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from novadocker_actions.actions import nova
from tests.functional.workbooks.fake_cloud import FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED, rows

VM = {"uuid": "vm-id", "name": "web"}


def arrive(cloud: FakeCloud, step: str, mode: str, do: Callable[[], None]) -> None:
    """Have something happen in the cloud while the canary is at a step."""

    def after_step(host: FakeHost, *at: str) -> None:
        if at == (step, mode) and host.name == "compute-docker-1":
            do()

    cloud.after_step = after_step


def undisturbed(host: FakeHost) -> bool:
    """Whether nothing was done to a host that disturbs who lives there, and nothing is left."""
    changed = {step for step, mode in host.runs if mode != "check"}
    return (
        host.state == UNTOUCHED
        and host.restarts == 0
        and changed <= {"install_docker", "install_driver"}
    )


def server(cloud: FakeCloud, **values: str) -> None:
    cloud.hosts["compute-docker-2"].servers = [{**VM, **values}]


def claim(cloud: FakeCloud) -> None:
    cloud.hosts["compute-docker-2"].claims = {"a-build"}


def migrate(
    cloud: FakeCloud, status: str, source: str, target: str, kind: str = "migration"
) -> None:
    cloud.migrations.append(
        {
            "uuid": "m1",
            "instance_uuid": "vm-id",
            "migration_type": kind,
            "status": status,
            "source_compute": source,
            "dest_compute": target,
        }
    )


ARRIVALS = {
    "an instance": (server, "instance web (vm-id, ACTIVE)"),
    "one that is stopped": (lambda c: server(c, status="SHUTOFF"), "web (vm-id, SHUTOFF)"),
    "one that can be restored": (lambda c: server(c, status="SOFT_DELETED"), "web (vm-id)"),
    "a build that does not end": (lambda c: server(c, status="BUILD"), "web (vm-id, BUILD)"),
    "a build that has but a claim": (claim, "allocation of a-build in Placement"),
    "a resize to be confirmed, at its source": (
        lambda c: migrate(c, "finished", "compute-docker-2", "compute-3"),
        "migration m1 of instance vm-id (finished)",
    ),
    "what was evacuated and not cleaned up": (
        lambda c: migrate(c, "done", "compute-docker-2", "compute-3", "evacuation"),
        "evacuation m1 of instance vm-id (done)",
    ),
    "a migration to it": (
        lambda c: migrate(c, "running", "compute-3", "compute-docker-2"),
        "migration m1 of instance vm-id (running)",
    ),
}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for what is under way no longer than a moment."""
    monkeypatch.setattr(nova, "SETTLE_WAIT_S", 0)


@pytest.mark.field_case("K7.2")
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("arrival", ARRIVALS)
def test_a_host_that_is_occupied_when_its_batch_comes_is_left_as_it_is(
    mistral: Mistral, cloud: FakeCloud, arrival: str
) -> None:
    happen, told = ARRIVALS[arrival]
    arrive(cloud, "configure_compute", "apply", lambda: happen(cloud))

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    late = cloud.hosts["compute-docker-2"]
    assert undisturbed(late)
    assert (late.status, late.disabled_reason) == ("enabled", None)
    row = rows(run)["compute-docker-2"]
    assert (row["state"], row["step"]) == ("skipped", "recheck_instances")
    assert told in row["reason"]
    assert run["output"]["report"]["state"] == "partial"
    assert f"compute-docker-2 was left as it is: {row['reason']}" in run["output"]["message"]
    # The others go on.
    assert cloud.hosts["compute-docker-1"].state == CONVERTED


def test_a_build_that_ends_somewhere_else_is_awaited(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = cloud.hosts["compute-docker-2"]
    arrive(cloud, "configure_compute", "apply", lambda: claim(cloud))
    real, looks = cloud._allocations, []

    def allocations(query: dict[str, str], body: Any, key: str) -> Any:
        if key == late.service_id and late.claims:
            looks.append(late.status)
            if len(looks) == 2:
                late.claims.clear()
        return real(query, body, key)

    monkeypatch.setattr(cloud, "_allocations", allocations)

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert looks == ["disabled", "disabled"]
    assert late.state == CONVERTED
    assert late.status == "enabled"


@pytest.mark.usefixtures("converted")
def test_containers_live_through_a_repair_of_their_host(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.hosts["compute-docker-2"].driver = False
    server(cloud)

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert cloud.hosts["compute-docker-2"].state == CONVERTED
    assert rows(run)["compute-docker-2"]["changed"] is True


def take_driver(host: FakeHost, containers: int) -> None:
    """Have who deploys a host take the driver from its Nova, with its instances' containers left.

    :param containers: how many these are
    """
    host.configured, host.records = False, {"configure_compute"}
    host.told = {"docker": {"installed": True, "instances": containers}}


@pytest.mark.usefixtures("converted", "patient")
def test_containers_live_through_a_repair_of_a_host_that_lost_the_driver(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    lost = cloud.hosts["compute-docker-2"]
    take_driver(lost, 1)
    server(cloud)

    planned = mistral.run("novadocker.precheck", {"hosts": [lost.name]})["output"]["report"]
    run = mistral.run("novadocker.deploy")

    assert "instances run on it" not in str(planned)
    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert lost.state == CONVERTED
    assert (lost.status, rows(run)[lost.name]["state"]) == ("enabled", "ok")


@pytest.mark.usefixtures("converted", "patient")
def test_an_instance_that_came_to_a_host_that_lost_the_driver_is_no_container(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    lost = cloud.hosts["compute-docker-2"]
    take_driver(lost, 1)
    server(cloud)

    def after_step(host: FakeHost, *at: str) -> None:
        if at == ("configure_compute", "check") and host is lost:
            lost.servers.append({"uuid": "another", "name": "another"})

    cloud.after_step = after_step

    run = mistral.run("novadocker.deploy")

    assert not lost.configured
    row = rows(run)[lost.name]
    assert (row["state"], row["step"]) == ("skipped", "recheck_instances"), row


@pytest.mark.usefixtures("converted")
def test_a_host_with_a_new_container_is_not_undone(mistral: Mistral, cloud: FakeCloud) -> None:
    arrive(cloud, "install_docker", "undo", lambda: server(cloud))

    run = mistral.run("novadocker.undeploy", {"batch_size": 1, "remove_images": True})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    late = cloud.hosts["compute-docker-2"]
    assert late.state == CONVERTED
    assert late.status == "enabled"
    assert rows(run)["compute-docker-2"]["state"] == "skipped"
    assert cloud.hosts["compute-docker-1"].state == UNTOUCHED
    # It goes on needing what it has.
    assert next(iter(cloud.aggregates.values()))["hosts"] == ["compute-docker-2"]
    assert cloud.hosts["controller"].state == (True, False, False, True)
    assert len(cloud.glance_images) == 1


def test_a_host_is_not_changed_when_nova_cannot_tell_who_lives_there(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nova, "SETTLE_WAIT_S", 0)
    cloud.failures += [("GET", "servers/detail", 500)] * 50

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "ERROR"
    host = cloud.hosts["compute-docker-1"]
    assert undisturbed(host)
    assert host.status == "enabled"
    assert "who lives on it cannot be told" in rows(run)["compute-docker-1"]["reason"]


@pytest.mark.usefixtures("converted")
def test_a_container_that_came_after_the_plan_keeps_its_host_a_docker_hypervisor(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-2"]
    host.driver, host.runs = False, []
    host.faults["configure_compute", "apply"] = "fail"
    arrive(cloud, "describe_host", "check", lambda: server(cloud))

    run = mistral.run("novadocker.deploy")

    assert {mode for _, mode in host.runs} <= {"check", "apply"}
    assert host.state == CONVERTED
    assert "not put back, as 1 instances live on it" in rows(run)[host.name]["reason"]

# SPDX-License-Identifier: Apache-2.0
"""What runs leave that are cancelled, fail or vanish, and what recover makes of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from novadocker_actions.actions import steps
from novadocker_actions.cloud import glance
from tests.functional.workbooks.fake_cloud import FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED, rows, writes

FIRST, SECOND = "compute-docker-1", "compute-docker-2"


def lost(mistral: Mistral, cloud: FakeCloud, step: str = "verify_host", mode: str = "apply") -> str:
    """Begin a deploy and cancel it when the canary is at a step; return its id."""
    reached: list[str] = []
    real = cloud.after_step

    def after_step(host: FakeHost, *at: str) -> None:
        if at == (step, mode) and host.name == FIRST:
            reached.append(host.name)

    cloud.after_step, cloud.step_s = after_step, 2
    run_id = mistral.begin("novadocker.deploy")
    until = time.monotonic() + 120
    while not reached:
        assert time.monotonic() < until, mistral.tree(run_id)
        time.sleep(0.05)
    mistral.cancel(run_id)
    mistral.wait(run_id)
    cloud.after_step, cloud.step_s = real, 0
    return run_id


def recover(mistral: Mistral, **inputs: Any) -> dict[str, Any]:
    return mistral.run("novadocker.recover", inputs)


def test_what_a_cancelled_run_left_is_put_into_service_or_put_back(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    run_id = lost(mistral, cloud)
    whole, staged = cloud.hosts[FIRST], cloud.hosts[SECOND]
    assert (whole.state, whole.status) == (CONVERTED, "disabled")
    assert staged.state == (True, True, False, False)
    # What it had published, and what it was about to.
    cloud.add_image(
        id="a", status="queued", tags=[glance.mark("a")], visibility="public", name="lost"
    )
    left = dict(cloud.trusts)
    assert left

    run = recover(mistral)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert (whole.state, whole.status, whole.disabled_reason) == (CONVERTED, "enabled", None)
    assert next(iter(cloud.aggregates.values()))["hosts"] == [FIRST]
    assert (staged.state, staged.status) == (UNTOUCHED, "enabled")
    told = rows(run)
    assert told[FIRST]["reason"] == f"put into service: run {run_id} had left it out"
    assert told[SECOND]["reason"] == f"put back as run {run_id} found it"
    assert told["compute-3"]["state"] == "unchanged"
    assert f"2 of 4 hosts were taken up ({FIRST}, {SECOND})" in run["output"]["message"]
    # Beside hosts, too.
    assert cloud.trusts == {}
    assert [image for image in cloud.glance_images.values() if image["status"] == "queued"] == []
    assert "trusts of runs that have ended were ended" in run["output"]["message"]

    # Once more there is nothing to do.
    cloud.requests.clear()
    again = recover(mistral)
    assert again["output"]["report"]["state"] == "unchanged", mistral.tree(again["id"])
    assert writes(cloud) == []
    # What was put back can be deployed.
    assert mistral.run("novadocker.deploy")["state"] == "SUCCESS"
    assert cloud.hosts[SECOND].state == CONVERTED


def test_a_host_that_is_not_whole_is_put_back_as_the_lost_run_found_it(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    run_id = lost(mistral, cloud)
    cloud.hosts[FIRST].driver = False

    run = recover(mistral)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    host = cloud.hosts[FIRST]
    assert (host.state, host.status) == (UNTOUCHED, "enabled")
    assert not host.traits & {"CUSTOM_HYPERVISOR_DOCKER"}
    assert rows(run)[FIRST]["reason"].startswith(f"put back as run {run_id} found it")


def test_a_host_that_cannot_be_put_back_stays_out_of_service_until_it_can(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    lost(mistral, cloud)
    host = cloud.hosts[FIRST]
    host.faults["verify_host", "check"] = "fail"
    host.faults["install_driver", "roll_back"] = "fail"

    run = recover(mistral)

    assert run["state"] == "ERROR"
    assert host.status == "disabled"
    assert host.disabled_reason == f"novadocker failed: see {run['id']}"
    row = rows(run)[FIRST]
    assert row["state"] == "failed"
    assert "verify_host broke on purpose; undoing install_driver failed" in row["reason"]
    assert "its compute service is left disabled" in row["reason"]
    # The others are taken up nevertheless.
    assert cloud.hosts[SECOND].state == UNTOUCHED

    host.faults.clear()
    again = recover(mistral)
    assert again["state"] == "SUCCESS", mistral.tree(again["id"])
    assert (host.state, host.status) == (UNTOUCHED, "enabled")


def test_a_host_with_containers_stays_the_docker_hypervisor_that_it_is(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    lost(mistral, cloud)
    host = cloud.hosts[FIRST]
    host.servers, host.driver, host.runs = [{"uuid": "c1", "name": "web"}], False, []

    run = recover(mistral)

    assert run["state"] == "ERROR"
    assert {mode for _, mode in host.runs} == {"check"}
    assert (host.configured, host.status) == (True, "disabled")
    assert "it was not put back, as 1 instances live on it" in rows(run)[FIRST]["reason"]


def test_a_run_that_is_gone_from_mistral_is_taken_up_as_well(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    run_id = lost(mistral, cloud)
    mistral.forget()

    run = recover(mistral)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert cloud.hosts[FIRST].status == cloud.hosts[SECOND].status == "enabled"
    assert cloud.hosts[SECOND].state == UNTOUCHED
    assert run_id in rows(run)[FIRST]["reason"]


def test_what_a_live_run_is_at_is_no_leftover(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.step_s = 4
    live = mistral.begin("novadocker.deploy", {"hosts": FIRST})
    while not cloud.hosts[FIRST].runs:
        time.sleep(0.1)

    run = recover(mistral)

    assert run["output"]["report"]["state"] == "refused"
    assert f"{FIRST} are being changed by novadocker.deploy {live}" in run["output"]["message"]
    # The others can be recovered meanwhile.
    other = recover(mistral, exclude=[FIRST])
    assert other["output"]["report"]["state"] == "unchanged", mistral.tree(other["id"])
    cloud.step_s = 0
    assert mistral.wait(live)["state"] == "SUCCESS"


def test_nothing_is_left_of_runs_that_ended_well(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.hosts["compute-3"].status = "disabled"
    cloud.hosts["compute-3"].disabled_reason = "bad DIMM"
    mistral.run("novadocker.deploy")
    cloud.requests.clear()

    run = recover(mistral)

    assert run["output"]["report"]["state"] == "unchanged", mistral.tree(run["id"])
    assert writes(cloud) == []
    assert cloud.hosts["compute-3"].disabled_reason == "bad DIMM"


def test_an_undeploy_that_was_cancelled_leaves_hosts_that_recover_puts_into_service(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    mistral.run("novadocker.deploy")
    host = cloud.hosts[FIRST]
    host.configured = False
    host.status, host.disabled_reason = "disabled", "novadocker: a-lost-undeploy"

    run = recover(mistral)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert host.status == "enabled"
    assert next(iter(cloud.aggregates.values()))["hosts"] == [SECOND]
    assert "CUSTOM_HYPERVISOR_DOCKER" not in host.traits


def test_a_host_that_does_not_answer_is_left_as_it_is_and_told(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "COLLECT_WAIT_S", 1)
    host = cloud.hosts[FIRST]
    host.status, host.disabled_reason = "disabled", "novadocker: a-lost-run"
    host.faults["describe_host", "check"] = "fail"
    gone = cloud.add_host("compute-4", "compute", enrolled=False)
    gone.status, gone.disabled_reason = "disabled", "novadocker: a-lost-run"

    run = recover(mistral)

    assert run["state"] == "ERROR"
    assert host.disabled_reason == "novadocker: a-lost-run"
    assert (
        "its compute service stays disabled: novadocker: a-lost-run" in (rows(run)[FIRST]["reason"])
    )
    assert "not enrolled any more: compute-4" in str(run["output"]["report"]["notes"])


def test_a_host_whose_reason_its_operator_has_edited_is_the_operator_s(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    run_id = lost(mistral, cloud)
    host = cloud.hosts[FIRST]
    host.disabled_reason = f"novadocker: {run_id}, and a bad DIMM: do not enable"
    in_use = cloud.hosts["compute-3"]
    aggregate = cloud.add_aggregate("docker-hosts", FIRST, in_use.name)

    run = recover(mistral)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert (host.status, host.state) == ("disabled", CONVERTED)
    assert host.disabled_reason == f"novadocker: {run_id}, and a bad DIMM: do not enable"
    # What no run has left is where its operator has put it.
    assert aggregate["hosts"] == [FIRST, in_use.name]


def test_controllers_that_docker_hypervisors_need_are_not_put_back(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    lost(mistral, cloud)
    controller = cloud.hosts["controller"]
    assert controller.glance_docker
    controller.glance_docker, controller.runs = False, []
    # A part of it is left.
    controller.records.add("configure_glance")

    run = recover(mistral)

    assert run["state"] == "ERROR", mistral.tree(run["id"])
    row = rows(run)["controller"]
    assert "it was not put back, as there are Docker hypervisors: deploy again" in row["reason"]
    assert {mode for _, mode in controller.runs} == {"check"}
    assert cloud.hosts[FIRST].status == "enabled"


def test_containers_that_came_to_a_host_while_it_was_looked_at_are_not_put_back_under(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    lost(mistral, cloud)
    host = cloud.hosts[FIRST]
    # Its operator has put it into service.
    host.status, host.disabled_reason, host.driver = "enabled", None, False

    def come(asked: FakeHost, *at: str) -> None:
        if at == ("verify_host", "check") or (asked.name == FIRST and "check" in at):
            host.servers = [{"uuid": "c1", "name": "web"}]

    cloud.after_step, host.runs = come, []

    run = recover(mistral)

    assert run["state"] == "ERROR", mistral.tree(run["id"])
    assert {mode for _, mode in host.runs} == {"check"}
    assert "it was not put back, as 1 instances live on it" in rows(run)[FIRST]["reason"]
    assert (host.configured, host.status) == (True, "enabled")


def test_a_host_that_a_run_that_cannot_be_seen_is_at_is_let_alone(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    run_id = lost(mistral, cloud)
    mistral.forget()
    cloud.sees_all_projects = False
    host, before = cloud.hosts[FIRST], cloud.hosts[FIRST].disabled_reason

    run = recover(mistral)

    assert run["output"]["report"]["state"] == "partial", mistral.tree(run["id"])
    assert (host.state, host.disabled_reason) == (CONVERTED, before)
    assert f"run {run_id} is at it" in rows(run)[FIRST]["reason"]

# SPDX-License-Identifier: Apache-2.0
"""Whether hosts are in service and in the aggregate at the end of a run, whatever went wrong."""

from __future__ import annotations

import time
from typing import Any

import pytest
from keystoneauth1 import exceptions

from novadocker_actions.actions import base, steps
from novadocker_actions.cloud import mailbox
from novadocker_actions.errors import HostBusy
from tests.functional.workbooks.fake_cloud import TRUSTEE, FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED, rows


def test_a_host_that_cannot_be_enabled_is_told_and_the_others_are_in_service(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    bad = cloud.hosts["compute-docker-1"]
    bad.refusals = 1000

    run = mistral.run("novadocker.deploy", {"batch_size": 2})

    assert run["state"] == "ERROR"
    row = rows(run)["compute-docker-1"]
    assert (row["state"], row["step"]) == ("failed", "enable_compute")
    assert "compute answered PUT /os-services/" in row["reason"]
    assert rows(run)["compute-docker-2"]["state"] == "ok"
    assert cloud.hosts["compute-docker-2"].status == "enabled"
    # The next run puts it back into service, though it needs nothing.
    bad.refusals = 0
    again = mistral.run("novadocker.deploy")
    assert again["state"] == "SUCCESS", mistral.tree(again["id"])
    assert (bad.status, bad.disabled_reason) == ("enabled", None)
    assert rows(again)["compute-docker-1"]["changed"] is True


def test_nova_may_be_away_for_a_while_when_hosts_are_enabled(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "LONG_PATIENCE_S", 30)
    host = cloud.hosts["compute-docker-1"]
    host.refusals = 3

    run = mistral.run("novadocker.deploy", {"hosts": "compute-docker-1"}, timeout_s=120)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert host.status == "enabled"
    assert host.refusals == 0


@pytest.mark.parametrize("reason", ["novadocker: a-lost-run", "novadocker failed: see a-run"])
@pytest.mark.usefixtures("converted")
def test_a_host_that_an_earlier_run_left_out_of_service_is_enabled_when_it_is_in_order(
    mistral: Mistral, cloud: FakeCloud, reason: str
) -> None:
    host = cloud.hosts["compute-docker-2"]
    host.status, host.disabled_reason = "disabled", reason

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert (host.status, host.disabled_reason) == ("enabled", None)


def test_undeploy_enables_what_an_earlier_undeploy_left_out_of_service(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.status, host.disabled_reason = "disabled", "novadocker failed: see a-run"

    run = mistral.run("novadocker.undeploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert host.status == "enabled"


def test_a_failure_leaves_a_host_out_of_service_that_was_so_before(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.status, host.disabled_reason = "disabled", "novadocker failed: see a-run"
    host.faults["configure_compute", "apply"] = "fail"

    run = mistral.run("novadocker.deploy")

    assert host.state == UNTOUCHED
    assert (host.status, host.disabled_reason) == ("disabled", "novadocker failed: see a-run")
    assert (
        "stays disabled: novadocker failed: see a-run" in (rows(run)["compute-docker-1"]["reason"])
    )


def test_an_operator_s_reason_is_kept_when_a_host_fails(mistral: Mistral, cloud: FakeCloud) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.status, host.disabled_reason = "disabled", "bad DIMM, ticket 4711"
    host.faults["configure_compute", "apply"] = "fail"
    for mode in ("undo", "roll_back"):
        host.faults["install_driver", mode] = "fail"

    run = mistral.run("novadocker.deploy")

    assert (host.status, host.disabled_reason) == ("disabled", "bad DIMM, ticket 4711")
    assert "its compute service is left disabled" in rows(run)["compute-docker-1"]["reason"]


@pytest.mark.usefixtures("converted")
def test_verify_shows_a_host_that_is_out_of_service(mistral: Mistral, cloud: FakeCloud) -> None:
    host = cloud.hosts["compute-docker-2"]
    host.status, host.disabled_reason = "disabled", "novadocker: a-lost-run"

    run = mistral.run("novadocker.verify")

    assert run["output"]["report"]["state"] == "drift"
    assert (
        "compute-docker-2 failed at enable_compute: its compute service is disabled: "
        "novadocker: a-lost-run" in run["output"]["message"]
    )
    assert host.status == "disabled"


@pytest.mark.parametrize("status", [404, 409])
def test_a_host_that_nova_does_not_take_into_the_aggregate_fails_alone(
    mistral: Mistral, cloud: FakeCloud, status: int
) -> None:
    cloud.refused_members["compute-docker-1"] = status

    run = mistral.run("novadocker.deploy", {"batch_size": 2, "max_failed": 1})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    bad, good = cloud.hosts["compute-docker-1"], cloud.hosts["compute-docker-2"]
    assert rows(run)[bad.name]["step"] == "isolate"
    assert f"with {status}: no compute-docker-1 here" in rows(run)[bad.name]["reason"]
    assert (bad.state, bad.status) == (UNTOUCHED, "enabled")
    assert (good.state, good.status) == (CONVERTED, "enabled")
    assert next(iter(cloud.aggregates.values()))["hosts"] == [good.name]


def test_a_host_that_is_put_back_leaves_the_aggregate(mistral: Mistral, cloud: FakeCloud) -> None:
    bad, good = cloud.hosts["compute-docker-1"], cloud.hosts["compute-docker-2"]
    bad.faults["verify_host", "apply"] = "fail"
    # A run that was lost after it had joined has left it there.
    cloud.add_aggregate("docker-hosts", bad.name)

    run = mistral.run("novadocker.deploy", {"max_failed": 1})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert bad.state == UNTOUCHED
    assert next(iter(cloud.aggregates.values()))["hosts"] == [good.name]


@pytest.mark.usefixtures("converted")
def test_a_repair_that_fails_leaves_a_docker_hypervisor_in_the_aggregate(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    bad = cloud.hosts["compute-docker-1"]
    bad.changes_again = {"configure_compute"}
    bad.faults["configure_compute", "apply"] = "fail"

    run = mistral.run("novadocker.deploy", {"max_failed": 1})

    assert rows(run)[bad.name]["rolled_back"] is True
    assert next(iter(cloud.aggregates.values()))["hosts"] == [bad.name, "compute-docker-2"]


def test_images_that_are_late_are_a_remark_and_no_failure(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    late = cloud.hosts["compute-docker-1"]
    late.slow_to_fetch = True

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert (late.state, late.status) == (CONVERTED, "enabled")
    assert rows(run)[late.name]["state"] == "ok"
    assert "not all images are there yet" in rows(run)[late.name]["reason"]
    assert "1 image in Glance, preloaded on 1 of 2 hosts" in run["output"]["message"]


def test_hosts_are_converted_though_nova_cannot_be_asked_for_images(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    cloud.failures += [("POST", "os-aggregates/1/images", 500)] * 1000

    run = mistral.run("novadocker.deploy", {"hosts": "compute-docker-1"}, timeout_s=120)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert cloud.hosts["compute-docker-1"].state == CONVERTED
    assert "preloaded on 0 of 1 hosts" in run["output"]["message"]


def test_a_roll_back_that_no_service_answers_ends(mistral: Mistral, cloud: FakeCloud) -> None:
    bad = cloud.hosts["compute-docker-1"]
    bad.faults["configure_compute", "apply"] = "fail"

    def after_step(host: FakeHost, *at: str) -> None:
        if at == ("configure_compute", "roll_back"):
            # It is away from now on.
            cloud.failures += [("GET", "software_deployments", 503)] * 1000

    cloud.after_step = after_step

    run = mistral.run("novadocker.deploy", {"step_timeout_s": 30}, timeout_s=300)

    assert run["state"] == "ERROR"
    assert (bad.status, bad.disabled_reason) == (
        "disabled",
        f"novadocker failed: see {run['id']}",
    )
    row = rows(run)[bad.name]
    assert (row["state"], row["step"]) == ("failed", "configure_compute")
    assert "configure_compute broke on purpose" in row["reason"]
    assert "with 503: a bad moment" in row["reason"]


@pytest.mark.parametrize("facts", [["a list"], {"nova": "a text"}, {"docker": {"installed": 3}}])
def test_a_host_that_says_what_nobody_can_read_is_named(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch, facts: Any
) -> None:
    odd = cloud.hosts["compute-docker-1"]
    monkeypatch.setattr(odd, "facts", lambda: facts)

    run = mistral.run("novadocker.plan")

    assert run["output"]["report"]["state"] == "refused"
    assert (
        "compute-docker-1 could not be described: what it told cannot be read"
        in (run["output"]["message"])
    )


def test_there_is_a_report_when_keystone_is_away_at_the_end(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: Any) -> Any:
        raise exceptions.ConnectFailure("no route to Keystone")

    monkeypatch.setattr(cloud, "_delete_trust", away)

    run = mistral.run("novadocker.plan")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["report"]["state"] == "planned"


def test_the_trust_of_a_run_that_was_cancelled_ends_with_the_next_run(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    cloud.trusts["cron"] = {"trustor_user_id": "u1", "trustee_user_id": "somebody-else"}
    others = {"trustor_user_id": "u1", "trustee_user_id": TRUSTEE, "expires_at": "2999-01-01"}
    cloud.trusts["of-another-tool"] = others
    cancelled = mistral.begin("novadocker.deploy")
    until = time.monotonic() + 60
    while len(cloud.trusts) < 4 or not mistral.tasks(cancelled, {"name": "select_hosts"}):
        assert time.monotonic() < until
        time.sleep(0.05)
    mistral.cancel(cancelled)
    mistral.wait(cancelled)
    assert len(cloud.trusts) == 4

    run = mistral.run("novadocker.plan", {"hosts": ["compute-3"]})

    assert run["output"]["message"]
    assert set(cloud.trusts) == {"cron", "of-another-tool"}


@pytest.mark.parametrize("fault", ["busy", "gone"])
def test_a_host_that_no_undo_reaches_stays_out_of_service(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(steps, "BUSY_WAIT_S", 1)
    bad = cloud.hosts["compute-docker-1"]
    bad.faults["verify_host", "apply"] = "fail"

    def push(heat: Any, row: Any, steps: Any, **more: Any) -> None:
        if more["mode"] == "roll_back" and fault == "gone":
            cloud.deployments.pop(bad.deployment_id, None)
        elif more["mode"] == "roll_back":
            raise HostBusy(f"verify_host of another run is under way on {bad.name}.")
        real_push(heat, row, steps, **more)

    real_push = mailbox.push
    monkeypatch.setattr(mailbox, "push", push)

    run = mistral.run("novadocker.deploy", {"hosts": bad.name})

    row = rows(run)[bad.name]
    assert (row["state"], row["step"], row.get("rolled_back")) == ("failed", "verify_host", None)
    recipe = "configure_compute, install_driver, install_docker"
    assert f"undoing {recipe} could not begin" in row["reason"]
    assert bad.state == CONVERTED
    assert (bad.status, bad.disabled_reason) == (
        "disabled",
        f"novadocker failed: see {run['id']}",
    )

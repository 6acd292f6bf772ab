# SPDX-License-Identifier: Apache-2.0
"""What is done to hosts in service, what out of it, and what a service's absence leaves behind."""

from __future__ import annotations

import time
import types
from typing import Any

import pytest
from mistral_lib import actions
from oslo_config import cfg

from novadocker_actions.cloud import messages
from novadocker_actions.plan import report
from tests.functional.workbooks.fake_cloud import FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED, refused, rows, writes

COMPUTES = ("compute-docker-1", "compute-docker-2")


def test_hosts_are_staged_in_service_and_out_of_it_for_nothing_slow(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    at: list[tuple[str, str, set[str]]] = []

    def after_step(host: FakeHost, step: str, mode: str) -> None:
        if host.compute and mode != "check":
            at.append((host.name, step, {cloud.hosts[name].status for name in COMPUTES}))

    cloud.after_step = after_step

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    # Both are staged before the first is taken out of service.
    assert {(name, step) for name, step, _ in at[:4]} == {
        (name, step) for name in COMPUTES for step in ("install_docker", "install_driver")
    }
    assert all(states == {"enabled"} for _, _, states in at[:4])
    for name in COMPUTES:
        assert cloud.hosts[name].out_of_service == [
            ("configure_compute", "apply"),
            ("verify_host", "apply"),
        ]
        # When its images are looked for, the driver was seen at work a moment ago.
        assert cloud.hosts[name].driver_loads == 1


@pytest.mark.usefixtures("converted")
def test_a_host_is_sent_one_message_for_the_steps_of_a_phase(cloud: FakeCloud) -> None:
    sent = {name: len(cloud.hosts[name].outcomes) for name in COMPUTES}
    # It describes itself, tries all steps, is staged and switched, and looks for the images.
    assert sent == dict.fromkeys(COMPUTES, 5)
    largest = max(len(config["config"]) for config in cloud.configs.values())
    assert largest < 2048


def test_a_host_that_fails_while_it_is_staged_is_put_back_and_not_switched(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    bad = cloud.hosts["compute-docker-1"]
    bad.faults["install_driver", "apply"] = "fail"

    run = mistral.run("novadocker.deploy", {"max_failed": 1})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert (bad.state, bad.status, bad.restarts, bad.out_of_service) == (
        UNTOUCHED,
        "enabled",
        0,
        [],
    )
    assert ("PUT", f"/nova/v2.1/os-services/{bad.service_id}") not in cloud.requests
    row = rows(run)[bad.name]
    assert (row["step"], row["rolled_back"]) == ("install_driver", True)
    assert cloud.hosts["compute-docker-2"].state == CONVERTED


def test_a_step_that_would_disturb_waits_until_the_host_is_out_of_service(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]
    # An engine that serves already, and is to be restarted.
    host.docker, host.changes_again = True, {"install_docker"}

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert host.out_of_service == [
        ("install_docker", "apply"),
        ("configure_compute", "apply"),
        ("verify_host", "apply"),
    ]
    assert ("install_driver", "apply") in host.runs


@pytest.mark.usefixtures("converted")
def test_a_driver_is_replaced_out_of_service_and_loaded_before_the_host_is_back_in_it(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]
    # Another version is wanted; the configuration itself is as it should be.
    host.changes_again, host.out_of_service = {"install_driver"}, []

    run = mistral.run("novadocker.deploy", {"hosts": host.name})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert host.out_of_service == [
        ("install_driver", "apply"),
        ("configure_compute", "apply"),
        ("verify_host", "apply"),
    ]


def test_what_a_step_would_refuse_is_told_of_all_hosts_before_anything_changes(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    # None of them was converted before.
    for name in COMPUTES:
        cloud.hosts[name].faults["install_driver", "check"] = "fail"

    said = refused(mistral, cloud, {})

    both = ", ".join(COMPUTES)
    assert f"install_driver would fail on {both}: install_driver broke on purpose" in said
    assert said.count("or leave them out with exclude") == 1


def test_controllers_are_changed_one_after_the_other(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.add_host("controller-2", "controller", "glance")
    order: list[tuple[str, str]] = []

    def after_step(host: FakeHost, step: str, mode: str) -> None:
        if not host.compute and mode == "apply":
            order.append((host.name, step))

    cloud.after_step = after_step

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    # One engine is enough to export images.
    assert order[:3] == [
        ("controller", "install_docker"),
        ("controller", "configure_glance"),
        ("controller-2", "configure_glance"),
    ]
    asked = [at for at, (_, path) in enumerate(cloud.requests) if path.endswith("/schemas/image")]
    first, second = (
        cloud.requests.index(("PUT", f"/heat/v1/project/software_deployments/{key}"), start)
        for key, start in (
            (cloud.hosts["controller"].deployment_id, asked[0] - 40 if asked[0] > 40 else 0),
            (cloud.hosts["controller-2"].deployment_id, asked[0]),
        )
    )
    assert first < asked[0] < second


def test_the_next_controller_is_let_alone_when_glance_does_not_answer(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("novadocker_actions.actions.glance.GLANCE_WAIT_S", 1)
    other = cloud.add_host("controller-2", "controller", "glance")

    def after_step(host: FakeHost, *at: str) -> None:
        if at == ("configure_glance", "apply"):
            cloud.failures += [("GET", "schemas/image", 503)] * 1000

    cloud.after_step = after_step

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "ERROR"
    assert rows(run)["controller"]["step"] == "verify_glance"
    assert cloud.hosts["controller"].state == UNTOUCHED
    assert {mode for _, mode in other.runs} == {"check"}
    assert cloud.hosts["compute-docker-1"].state == UNTOUCHED


def test_a_host_that_a_lost_service_left_out_is_taken_up_by_the_next_run(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]

    def after_step(at_host: FakeHost, *at: str) -> None:
        if at == ("configure_compute", "apply"):
            # Heat is away from now on.
            cloud.failures += [("GET", "software_deployments", 503)] * 1000

    cloud.after_step = after_step

    first = mistral.run("novadocker.deploy", {"hosts": host.name}, 120)

    # Nobody can say how it ended: it is no failure of the host, and nothing else is begun on it.
    row = rows(first)[host.name]
    assert (row["state"], row["step"]) == ("unknown", "collect")
    assert "how configure_compute, verify_host ended is not known" in row["reason"]
    assert first["output"]["report"]["totals"]["failed"] == 0
    assert first["state"] == "ERROR"
    assert ("configure_compute", "roll_back") not in host.runs
    assert (host.status, host.disabled_reason) == ("disabled", f"novadocker: {first['id']}")

    cloud.failures.clear()
    del cloud.after_step
    cloud.after_step = lambda *_: None
    host.faults["verify_host", "apply"] = host.faults["verify_host", "check"] = "fail"
    second = mistral.run("novadocker.deploy", {"hosts": host.name}, 120)

    # It has become a part of that run, which leaves it out, for it is not in order ...
    assert rows(second)[host.name]["state"] == "failed"
    host.faults.clear()
    third = mistral.run("novadocker.deploy", {"hosts": host.name}, 120)
    # ... or puts it back into service.
    assert third["state"] == "SUCCESS", mistral.tree(third["id"])
    assert (host.state, host.status) == (CONVERTED, "enabled")


def test_a_host_that_a_lost_run_took_out_is_put_back_into_service_when_it_cannot_be_converted(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.status, host.disabled_reason = "disabled", "novadocker: a-lost-run"
    host.faults["configure_compute", "apply"] = "fail"

    run = mistral.run("novadocker.deploy", {"hosts": host.name})

    assert rows(run)[host.name]["rolled_back"] is True
    assert (host.state, host.status, host.disabled_reason) == (UNTOUCHED, "enabled", None)


def test_a_host_that_an_active_run_took_out_is_left_to_it(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.status, host.disabled_reason = "disabled", "novadocker: another-project-s-run"
    real = cloud.execution

    def execution(run_id: str) -> dict[str, Any]:
        if run_id == "another-project-s-run":
            return {"id": run_id, "state": "RUNNING", "workflow_name": "novadocker.deploy"}
        return real(run_id)

    monkeypatch.setattr(cloud, "execution", execution)

    run = mistral.run("novadocker.deploy", {"hosts": host.name})

    row = rows(run)[host.name]
    assert row["state"] == "skipped"
    assert (
        "run another-project-s-run, which is active, has taken it out of service" in (row["reason"])
    )
    assert (host.state, host.disabled_reason) == (UNTOUCHED, "novadocker: another-project-s-run")


def test_an_executor_without_a_key_is_told_before_anything_changes(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cfg.CONF.novadocker.message_key_file
    cfg.CONF.set_override("message_key_file", "/nowhere/message.key", group="novadocker")
    try:
        run = mistral.run("novadocker.plan")
    finally:
        cfg.CONF.set_override("message_key_file", real, group="novadocker")

    assert run["output"]["report"]["state"] == report.REFUSED
    assert "/nowhere/message.key" in run["output"]["message"]
    assert messages.MAKE_KEY in run["output"]["message"]
    assert writes(cloud) == []


def test_a_message_that_was_altered_on_its_way_is_refused_by_its_host(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "sign", lambda text: "AAAA")

    run = mistral.run("novadocker.plan")

    assert "is not signed by the operator of this host" in run["output"]["message"]
    assert {host.name: host.runs for host in cloud.hosts.values() if host.runs} == {}


@pytest.mark.field_case("K7.1")
def test_a_host_keeps_the_name_that_nova_has_for_its_hypervisor(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    # As libvirt tells it; the driver would tell the host's, and nova-compute would not start.
    cloud.hosts["compute-docker-1"].node = "compute-docker-1.example.com"

    run = mistral.run("novadocker.deploy", {"images": []})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    given = {name: cloud.hosts[name].settings["configure_compute"]["options"] for name in COMPUTES}
    assert given == {
        "compute-docker-1": {"docker": {"node_name": "compute-docker-1.example.com"}},
        "compute-docker-2": {},
    }


def test_what_is_staged_for_later_batches_is_taken_back_when_a_batch_is_lost(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: Any, context: Any) -> actions.Result:
        return actions.Result(error={"lost": True, "message": "its page is gone"})

    monkeypatch.setattr("novadocker_actions.actions.nova.DisableCompute.run", lost)

    run = mistral.run("novadocker.deploy", {"images": []})

    assert run["state"] == "ERROR"
    assert rows(run)["compute-docker-1"]["state"] == "unknown"
    # Its batch was not begun: it is as it was.
    assert rows(run)["compute-docker-2"]["reason"] == "not started"
    assert cloud.hosts["compute-docker-2"].state == UNTOUCHED
    assert ("install_driver", "roll_back") in cloud.hosts["compute-docker-2"].runs


def test_no_batch_is_begun_when_the_run_s_time_is_over(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_step(host: FakeHost, step: str, mode: str) -> None:
        if (step, mode) == ("configure_compute", "apply"):
            later = types.SimpleNamespace(time=lambda: time.time() + 4000)
            monkeypatch.setattr("novadocker_actions.actions.report.time", later)

    cloud.after_step = after_step

    run = mistral.run("novadocker.deploy", {"images": [], "run_timeout_s": 3600})

    assert run["state"] == "ERROR"
    assert "Stopped: 3600 s are over: 1 batches were not started" in run["output"]["message"]
    assert cloud.hosts["compute-docker-1"].state == CONVERTED
    assert cloud.hosts["compute-docker-2"].state == UNTOUCHED

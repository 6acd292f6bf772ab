# SPDX-License-Identifier: Apache-2.0
"""What a run says at its end."""

from __future__ import annotations

from typing import Any

import pytest

from novadocker_actions import errors
from novadocker_actions.plan import gate, report, sentence
from novadocker_actions.plan.report import Facts
from novadocker_actions.plan.rows import FAILED, UNKNOWN, HostRow

GOOD = HostRow("c1", "compute", changed=True, step="configure_compute")
SAME = HostRow("c2", "compute")
BAD = HostRow("c3", "compute", state=FAILED, step="install_driver", reason="pip said no")
CONTROLLER = HostRow("ctl", "controller,glance")
REFUSAL = {"refused": True, "field": "hosts", "message": "hosts: nobody. Name some."}


def told(**facts: Any) -> tuple[str, str]:
    made = Facts(**{"workflow": "deploy", **facts})
    built = report.build(made)
    return built["state"], sentence.message(made, built, "http://x")


def test_all_went_well() -> None:
    assert told(computes=[GOOD, SAME], controllers=[CONTROLLER]) == (
        "done",
        "2 of 2 compute hosts are Docker hypervisors (c1, c2); Glance accepts docker images. "
        "See http://x",
    )


def test_an_upgrade_says_which_driver_hosts_have() -> None:
    assert told(computes=[GOOD, SAME], driver="1.2") == (
        "done",
        "2 of 2 Docker hypervisors have the driver 1.2 (c1, c2). See http://x",
    )
    planned = told(workflow="plan", computes=[HostRow("c1", "compute", needs=["x"])], driver="1.2")
    assert planned[1].startswith("1 of 1 Docker hypervisors would get the driver 1.2 (c1); ")


def test_staged_hosts_are_told_and_none_of_them_as_a_docker_hypervisor() -> None:
    staged = HostRow("c4", "compute", changed=True, needs=["configure_compute"])
    facts = {"computes": [staged, SAME], "phase": "stage"}
    assert told(**facts) == (
        "done",
        "1 of 2 compute hosts are staged (c4); 1 is as wanted; none was switched. See http://x",
    )
    reasons = [row["reason"] for row in report.build(Facts("deploy", **facts))["rows"]]
    assert reasons == ["staged, not switched", ""]


def test_a_docker_hypervisor_whose_upgrade_was_put_back_is_told_as_one() -> None:
    upgrade = {"state": FAILED, "step": "verify_host", "hypervisor_type": "docker"}
    back = HostRow("c4", "compute", **upgrade, rolled_back=True)
    stuck = HostRow("c5", "compute", **upgrade, rolled_back=True, stuck=True)
    fresh = HostRow("c6", "compute", state=FAILED, step="verify_host", rolled_back=True)

    state, message = told(computes=[GOOD, back, stuck, fresh])

    assert state == "failed"
    assert "1 of 4 compute hosts are Docker hypervisors (c1); " in message
    assert "1 put back as the Docker hypervisors they were (c4)" in message


def test_a_run_that_was_asked_to_stop_says_so_unless_too_many_hosts_failed() -> None:
    asked = gate.decide(0, 0, 2, asked=True)
    assert not asked.go_on
    left = HostRow("c4", "compute")
    facts = {"computes": [GOOD, left], "not_started": ["c4"], "stopped": asked.reason}
    state, message = told(**facts)
    assert state == "stopped"
    assert "Stopped: it was asked to stop: 2 batches were not started" in message
    assert "1 of 2 compute hosts are Docker hypervisors (c1)" in message
    assert told(**{**facts, "computes": [BAD, left]})[0] == "failed"
    # Nor does it hide why the run would have stopped anyway.
    assert gate.decide(1, 0, 2, asked=True).reason.startswith("1 hosts failed")
    assert gate.decide(0, 0, 0, asked=True).reason == ""


def test_a_run_whose_batch_nobody_approved_is_told_as_stopped() -> None:
    stopped = gate.decide(0, 0, 2, unapproved=True, late=True).reason
    state, message = told(computes=[GOOD, SAME], not_started=["c2"], stopped=stopped)
    assert state == "stopped"
    assert "Stopped: nobody approved the next batch in time: 2 batches were not" in message


def test_a_run_that_was_asked_before_it_changed_anything_is_not_told_as_refused() -> None:
    error = {"name": "prepare", "error": {"result": errors.Stopped().to_dict()}}
    assert told(errors=[error]) == (
        "stopped",
        "Stopped, nothing was changed: it was asked to stop. See http://x",
    )


def test_nothing_had_to_be_changed() -> None:
    state, message = told(computes=[SAME], controllers=[CONTROLLER])

    assert state == "unchanged"
    assert "nothing had to be changed" in message


def test_a_new_image_is_a_change() -> None:
    image = {"reference": "a", "id": "1", "ok": True, "changed": True}

    assert told(computes=[SAME], images=[image])[0] == "done"


def test_images_that_are_published_alone_are_told_without_hosts() -> None:
    there, new = ({"reference": "x", "ok": True, "changed": changed} for changed in (False, True))
    state, text = told(workflow="preload_images", images=[there, new])
    assert (state, text.partition(".")[0]) == (
        "done",
        "2 images in Glance, 1 published by this run",
    )
    state, text = told(workflow="preload_images", images=[there])
    assert state == "unchanged"
    assert text.startswith("1 image in Glance, 0 published by this run.")
    lost = {"reference": "y", "ok": False, "reason": "the disk is full"}
    state, text = told(workflow="preload_images", images=[there, lost])
    assert state == "failed"
    assert text.startswith("Image y was not published: the disk is full. See")


def test_failures_within_the_limit_are_partial_success() -> None:
    state, message = told(computes=[GOOD, BAD], max_failed=1)

    assert state == "partial"
    assert message.startswith("c3 failed at install_driver: pip said no; 1 of 2 compute hosts")


def test_failures_over_the_limit_are_failure() -> None:
    assert told(computes=[GOOD, BAD])[0] == "failed"


@pytest.mark.parametrize("how", [FAILED, UNKNOWN])
def test_a_controller_that_failed_or_was_lost_is_failure(how: str) -> None:
    controller = HostRow("ctl", "controller", state=how)

    assert told(computes=[GOOD], controllers=[controller], max_failed=5)[0] == "failed"


def test_an_image_that_was_not_published_is_failure() -> None:
    image = {"reference": "a", "id": "", "ok": False, "reason": "no space"}
    state, message = told(computes=[SAME], images=[image], not_started=["c2"])

    assert state == "failed"
    assert "Image a was not published: no space" in message


def test_many_failures_are_told_in_few_words() -> None:
    bad = [HostRow(f"c{n}", "compute", state=FAILED, step="s", reason="r") for n in range(50)]
    _, message = told(computes=bad)

    assert "47 more hosts failed" in message
    assert len(message) < 1000


def test_many_names_are_told_in_few_words() -> None:
    good = [HostRow(f"c{n}", "compute", changed=True) for n in range(50)]

    assert "c9 and 40 more" in told(computes=good)[1]


def test_a_refusal_of_a_sub_workflow() -> None:
    errors = [{"name": "prepare", "error": {"result": {"result": REFUSAL}}}]

    assert told(errors=errors) == (
        "refused",
        "Refused, nothing was changed: hosts: nobody. Name some. See http://x",
    )


def test_what_is_refused_after_hosts_were_changed_is_no_refusal_of_the_run() -> None:
    errors = [{"name": "publish_images", "error": {"result": REFUSAL}}]
    changed = HostRow("ctl", "controller,glance", changed=True, step="configure_glance")

    state, message = told(errors=errors, controllers=[changed], computes=[SAME])

    assert state == "failed"
    assert "nothing was changed" not in message
    assert message.startswith("Task publish_images failed: hosts: nobody. Name some; ")


def test_mistral_s_own_words_are_told_without_its_code() -> None:
    said = (
        "Failed to complete action [error=too large]:\nTraceback (most recent call last):\n  File"
    )
    errors = [{"name": "prepare", "error": {"result": said}}]

    assert "it gave no reason" in told(errors=[{"name": "prepare", "error": "null"}])[1]
    assert told(errors=errors)[1] == (
        "Task prepare failed: Failed to complete action [error=too large]:. See http://x"
    )


def test_an_error() -> None:
    errors = [{"name": "prepare", "error": "Heat is away"}]

    assert told(errors=errors) == ("failed", "Task prepare failed: Heat is away. See http://x")


def test_a_host_that_was_rolled_back_has_not_changed() -> None:
    run = HostRow("c1", "compute", state=FAILED, changed=True, rolled_back=True)
    (row,) = report.build(Facts("deploy", computes=[run]))["rows"]

    assert (row["changed"], row["rolled_back"]) == (False, True)


def test_hosts_that_the_gate_spared() -> None:
    built = report.build(Facts("deploy", computes=[BAD, SAME], not_started=["c2"], stopped="x"))

    assert [row["state"] for row in built["rows"]] == ["failed", "skipped"]
    assert built["rows"][1]["reason"] == "not started"


def test_drift() -> None:
    drifted = HostRow("c1", "compute", needs=["install_driver"])

    assert told(workflow="verify", computes=[SAME])[0] == "unchanged"
    assert told(workflow="verify", computes=[drifted])[0] == "drift"
    assert told(workflow="verify", computes=[SAME], notes=["Glance is odd"])[0] == "drift"


@pytest.mark.parametrize("dashboard", ["https://cloud.test/horizon", "https://cloud.test/horizon/"])
def test_a_run_is_seen_on_its_own_page_of_the_dashboard(dashboard: str) -> None:
    assert report.page(dashboard, "1234") == (
        "https://cloud.test/horizon/admin/docker_hosts/runs/1234/"
    )


def test_a_cloud_without_a_dashboard_has_no_page_of_a_run() -> None:
    assert report.page("", "1234") == ""

# SPDX-License-Identifier: Apache-2.0
"""Runs over Mistral's API."""

from __future__ import annotations

import datetime
import json
import re

import pytest

from novadocker_client import again, runs
from novadocker_client.connection import Cloud
from novadocker_client.errors import BadInput, NotAccepted, NotAllowed, NotFound, Unavailable
from novadocker_client.progress import Progress
from novadocker_client.reports import Report
from novadocker_client.runs import Run, Runs, TimedOut
from novadocker_client.tests.fake_cloud import FakeCloud

REPORT = {
    "state": "planned",
    "plan_digest": "sha256:" + "a" * 64,
    "rows": [{"host": "c1", "role": "compute", "state": "planned", "step": "install_docker"}],
    "totals": {"ok": 1},
}


def test_a_run_is_started_with_its_inputs_and_its_description(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run = Runs(cloud).start("plan", {"match": "docker"}, description="before the maintenance")
    assert (run.workflow, run.outcome, run.ended) == ("plan", "running", False)
    assert run.inputs == {"match": "docker"}
    assert run.description == "before the maintenance"
    assert fake.executions[run.id]["workflow_name"] == "novadocker.plan"


def test_an_input_that_the_workflow_does_not_take_is_refused_before_anything_is_asked(
    fake: FakeCloud, cloud: Cloud
) -> None:
    with pytest.raises(BadInput, match=r"plan_digest: plan takes no such input\. It takes: "):
        Runs(cloud).start("plan", {"plan_digest": "x"})
    with pytest.raises(BadInput, match=r"no 'convert'.*There are: plan, deploy"):
        Runs(cloud).start("convert")
    assert fake.requests == []


def test_only_runs_are_listed_the_newest_first_in_one_request(
    fake: FakeCloud, cloud: Cloud
) -> None:
    first = fake.add_run("plan", "SUCCESS", output={"message": "Planned.", "report": REPORT})
    second = fake.add_run("deploy")
    fake.add_below(second, second, "prepare", "_prepare")
    # What runs within another workflow is none, whatever its name; nor is what is not ours.
    fake.add_below(second, second, "again", "verify")
    fake.add_execution("std.create_instance")
    listed = Runs(cloud).list()
    assert [run.id for run in listed] == [second, first]
    assert [run.outcome for run in listed] == ["running", "planned"]
    assert listed[1].message == "Planned."
    assert listed[1].created_at
    assert listed[1].created_at.tzinfo == datetime.UTC
    assert len(fake.asked("/mistral/v2/executions")) == 1
    assert len(fake.asked("/mistral")) == 2


def test_runs_are_listed_of_one_workflow_page_by_page_and_without_their_outputs(
    fake: FakeCloud, cloud: Cloud
) -> None:
    ids = [fake.add_run("verify", "SUCCESS", output={"message": "well"}) for _ in range(3)]
    fake.add_run("deploy")
    page = Runs(cloud).list(workflow="verify", limit=2, outputs=False)
    rest = Runs(cloud).list(workflow="verify", limit=2, marker=page[-1].id, all_projects=True)
    assert [run.id for run in (*page, *rest)] == ids[::-1]
    assert [run.message for run in (*page, *rest)] == ["", "", "well"]
    lists = [query for query in fake.asked("/mistral/v2/executions") if "fields" in query]
    assert [query.get("all_projects") for query in lists] == [None, "true"]


@pytest.mark.parametrize(
    ("state", "told", "outcome"),
    [
        ("RUNNING", "", "running"),
        ("PAUSED", "", "paused"),
        ("SUCCESS", "done", "done"),
        ("SUCCESS", "unchanged", "unchanged"),
        ("SUCCESS", "partial", "partial"),
        ("SUCCESS", "", "done"),
        ("ERROR", "refused", "refused"),
        ("ERROR", "drift", "drift"),
        ("ERROR", "failed", "failed"),
        ("ERROR", "", "failed"),
        ("ERROR", "done", "failed"),
        ("CANCELLED", "done", "stopped"),
    ],
)
def test_an_outcome_is_what_the_report_says_unless_mistral_says_worse(
    state: str, told: str, outcome: str
) -> None:
    run = Run("1", "deploy", state, output={"report": {"state": told}} if told else {})
    assert run.outcome == outcome


def test_a_run_that_broke_is_told_with_mistral_s_reason() -> None:
    assert Run("1", "deploy", "ERROR", "executor lost").message == "executor lost"
    told = Run("1", "deploy", "ERROR", "fail", output={"message": "c1 failed."})
    assert told.message == "c1 failed."


def test_a_run_is_stopped_once(fake: FakeCloud, cloud: Cloud) -> None:
    run_id = fake.add_run()
    stopped = Runs(cloud).stop(run_id)
    assert (stopped.outcome, stopped.ended) == ("stopped", True)
    with pytest.raises(BadInput, match=r"has ended already \(stopped\)"):
        Runs(cloud).stop(run_id)


def test_a_run_is_asked_to_stop_and_goes_on_until_it_does(fake: FakeCloud, cloud: Cloud) -> None:
    run_id = fake.add_run(state="PAUSED")
    # Asked twice is asked once; one that is paused would never hear it.
    for _ in range(2):
        assert Runs(cloud).ask_to_stop(run_id).outcome == "running"
    assert list(fake.environments) == [f"novadocker-stop-{run_id}"]
    fake.executions[run_id]["state"] = "ERROR"
    fake.executions[run_id]["output"] = json.dumps({"report": {"state": "stopped"}})
    assert Runs(cloud).get(run_id).outcome == "stopped"
    with pytest.raises(BadInput, match=r"has ended already \(stopped\)"):
        Runs(cloud).ask_to_stop(run_id)


def test_a_run_of_another_project_is_not_asked_as_it_would_not_hear_it(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run_id = fake.add_run(project_id="p2")
    with pytest.raises(BadInput, match="is of the project p2"):
        Runs(cloud).ask_to_stop(run_id)
    assert fake.environments == {}
    assert fake.executions[run_id]["state"] == "RUNNING"


def waiting(fake: FakeCloud, kind: str = "approval", batch: int = 2) -> str:
    """Add a run that waits before a batch; return its id."""
    run = fake.add_run()
    hold = {"kind": kind, "batch": batch, "left": 3, "hosts": 5, "since": 0, "until": 2_000_000_000}
    fake.add_below(run, run, "hold", "_hold", "RUNNING", input={"hold": hold, "settings": {}})
    return run


def test_a_run_that_waits_for_an_approval_says_so_and_hears_it(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run_id, other = waiting(fake), fake.add_run()
    runs = Runs(cloud)
    listed = runs.with_waits(runs.list())
    assert {run.id: run.outcome for run in listed} == {run_id: "waiting", other: "running"}
    run = runs.waiting(runs.get(run_id))
    assert "It waits for an approval of batch 2 of 4, 5 hosts, until 2033-05-" in run.message
    assert f"openstack docker run approve {run_id}" in run.message
    assert runs.progress(run_id).hold == run.hold
    for _ in range(2):
        assert runs.approve(run_id).id == run_id
    assert list(fake.environments) == [f"novadocker-approve-{run_id}-2"]


def test_a_pause_can_be_cut_short(fake: FakeCloud, cloud: Cloud) -> None:
    run_id = waiting(fake, "pause", 3)
    assert "It pauses before batch 3 of 5, 5 hosts" in Runs(cloud).approve(run_id).message
    assert list(fake.environments) == [f"novadocker-approve-{run_id}-3"]


def test_nothing_is_approved_of_a_run_that_does_not_wait_for_it(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run_id, paused = fake.add_run(), fake.add_run(state="PAUSED")
    with pytest.raises(BadInput, match="is running, and waits for no approval"):
        Runs(cloud).approve(run_id)
    with pytest.raises(BadInput, match="is paused, and waits for no approval"):
        Runs(cloud).approve(paused)
    with pytest.raises(BadInput, match="is waiting, and waits before batch 2"):
        Runs(cloud).approve(waiting(fake), 1)
    theirs = waiting(fake)
    fake.executions[theirs]["project_id"] = "p2"
    with pytest.raises(BadInput, match="is of the project p2"):
        Runs(cloud).approve(theirs)
    assert fake.environments == {}


def test_a_run_that_changes_no_host_is_stopped_at_once(fake: FakeCloud, cloud: Cloud) -> None:
    run_id = fake.add_run("verify")
    assert Runs(cloud).ask_to_stop(run_id).outcome == "stopped"
    assert fake.environments == {}


def test_a_run_is_awaited_through_an_api_that_restarts(fake: FakeCloud, cloud: Cloud) -> None:
    run_id = fake.add_run()
    looks = []

    def later(method: str, path: str) -> None:
        looks.append(path)
        if len(looks) == 2:
            fake.faults["/mistral"] = (503, 2)
        if len(looks) == 6:
            fake.executions[run_id]["state"] = "SUCCESS"

    fake.on_request = later
    faults: list[Unavailable] = []
    run = Runs(cloud).wait(run_id, timeout_s=20, on_fault=faults.append)
    assert run.outcome == "done"
    assert len(faults) == 2


def test_waiting_ends_when_mistral_stays_away(
    fake: FakeCloud, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "PATIENCE_S", 0.05)
    run_id = fake.add_run()
    fake.faults["/mistral"] = (503, None)
    with pytest.raises(Unavailable, match=r"does not show the run .* \(503\): no, for a reason"):
        Runs(cloud).wait(run_id)


def test_a_run_that_takes_too_long_goes_on(fake: FakeCloud, cloud: Cloud) -> None:
    run_id = fake.add_run()
    with pytest.raises(TimedOut, match=f"{run_id} is running after 0 s, and goes on"):
        Runs(cloud).wait(run_id, timeout_s=0)
    assert fake.executions[run_id]["state"] == "RUNNING"


def test_wait_gives_up_and_names_what_runs(fake: FakeCloud, cloud: Cloud) -> None:
    run_id = fake.add_run()
    fake.add_task(run_id, "done")
    fake.add_task(run_id, "stuck", "RUNNING")
    with pytest.raises(TimedOut, match=r"tasks under way: stuck\.$"):
        Runs(cloud).wait(run_id, timeout_s=-1)


def test_a_run_that_is_gone_or_is_not_the_user_s_says_so(fake: FakeCloud, cloud: Cloud) -> None:
    with pytest.raises(NotFound, match=r"Mistral does not show the run gone \(404\)"):
        Runs(cloud).get("gone")
    fake.faults["/mistral"] = (403, None)
    with pytest.raises(NotAllowed, match="administrator"):
        Runs(cloud).list()


def test_a_plan_is_deployed_with_its_inputs_and_its_digest() -> None:
    plan = Run(
        "1", "plan", "SUCCESS", inputs={"hosts": ["c1"], "drain": "skip"}, output={"report": REPORT}
    )
    assert again.deploy_inputs(plan) == {
        "hosts": ["c1"],
        "drain": "skip",
        "plan_digest": REPORT["plan_digest"],
    }
    with pytest.raises(BadInput, match="is a run of verify that is planned"):
        again.deploy_inputs(Run("1", "verify", "SUCCESS", output={"report": REPORT}))
    with pytest.raises(BadInput, match="is a run of plan that is running"):
        again.deploy_inputs(Run("1", "plan", "RUNNING"))


def failed_run(**report: object) -> Run:
    told = [
        {"host": "c3", "role": "compute", "state": "failed"},
        {"host": "c2", "role": "compute", "state": "ok"},
        {"host": "c1", "role": "compute", "state": "unknown"},
        {"host": "c4", "role": "compute", "state": "skipped", "reason": "not started"},
        {"host": "a1", "role": "controller,glance", "state": "failed"},
    ]
    given = {
        "match": "docker",
        "exclude": ["c9"],
        "max_failed": 3,
        "plan_digest": "x",
        "dry_run": 1,
    }
    output = {"report": {"state": "failed", "rows": told, **report}}
    return Run("1", "deploy", "ERROR", inputs=given, output=output)


def test_what_failed_is_done_again_with_the_inputs_of_before_and_on_no_other_host() -> None:
    assert again.failed_inputs(failed_run(), "deploy") == {"hosts": ["c1", "c3"], "max_failed": 3}


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (Run("1", "deploy", "RUNNING"), "1 is a run of deploy that is running. Give a run of d"),
        (Run("1", "undeploy", "ERROR"), "1 is a run of undeploy that is failed. Give a run of d"),
        (Run("1", "deploy", "CANCELLED"), "1 has no report. `openstack docker recover`"),
        (failed_run(rows_left_out=2), "but the beginning of its report left. Name the hosts"),
        (failed_run(pages=[{"page": "gone"}]), "but the beginning of its report left. Name the"),
        (
            failed_run(rows=[{"host": "a1", "role": "controller", "state": "failed"}]),
            "1 has no compute host that failed",
        ),
    ],
)
def test_a_run_that_does_not_tell_what_failed_is_not_done_again(run: Run, problem: str) -> None:
    with pytest.raises(BadInput, match="^failed_of: .*" + re.escape(problem)):
        again.failed_inputs(run, "deploy")


def test_a_cloud_without_mistral_says_so() -> None:
    cloud = FakeCloud({"compute": "nova/v2.1"}).cloud()
    with pytest.raises(NotFound, match=r"^Mistral does not answer: the catalog has none"):
        Runs(cloud).list()


def test_inputs_are_sent_as_json_text(fake: FakeCloud, cloud: Cloud) -> None:
    sent = []
    create = cloud.mistral.executions.http_client.post
    cloud.mistral.executions.http_client.post = lambda url, body, headers=None: (
        sent.append(json.loads(body)) or create(url, body, headers)
    )
    started = Runs(cloud).start("plan", {"hosts": ["a"]})
    assert not started.ended
    assert sent[0]["workflow_name"] == "novadocker.plan"
    assert json.loads(sent[0]["input"]) == {"hosts": ["a"]}


def test_refused_input_is_told_in_mistrals_words(fake: FakeCloud, cloud: Cloud) -> None:
    fake.faults["/mistral"] = (400, 1)
    with pytest.raises(NotAccepted, match=r"Mistral does not start plan .*: no, for a reason"):
        Runs(cloud).start("plan")


def test_wait_returns_the_ended_execution_and_shows_tasks(fake: FakeCloud, cloud: Cloud) -> None:
    run_id = fake.add_run("plan")
    fake.add_task(run_id, "a")
    shown: list[list[str]] = []

    def show(run: Run, progress: Progress) -> None:
        shown.append([task.name for task in progress.tasks])
        fake.executions[run_id].update(state="SUCCESS", output='{"message": "done"}')

    ended = Runs(cloud).wait(run_id, on_progress=show)
    assert ended.message == "done"
    assert shown == [["a"], ["a"]]


def test_failed_run_without_report_tells_mistrals_reason(fake: FakeCloud, cloud: Cloud) -> None:
    run = Runs(cloud).get(fake.add_run("plan", "ERROR", state_info="because"))
    assert run.message == "because"
    assert run.report == Report()

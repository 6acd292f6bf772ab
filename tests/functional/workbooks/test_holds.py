# SPDX-License-Identifier: Apache-2.0
"""A run that waits between two batches holds nothing of hosts, and goes on or ends as told."""

from __future__ import annotations

import time
from unittest import mock

import pytest
from mistral.db.v2 import api as db_api
from mistral.services import security

from novadocker_actions.cloud import ended
from novadocker_actions.plan import holds
from novadocker_client.runs import Run, Runs
from novadocker_client.signals import APPROVE
from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED

FIRST, SECOND = "compute-docker-1", "compute-docker-2"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "FIRST_LOOK_S", 1)


def waiting(runs: Runs, workflow: str, **inputs: object) -> Run:
    """Return a run that has come to wait before its second batch."""
    run_id = runs.start(workflow, {"batch_size": 1, **inputs}).id
    until = time.monotonic() + 300
    while not (run := runs.waiting(runs.get(run_id))).hold:
        assert not run.ended, run.message
        assert time.monotonic() < until
        time.sleep(0.2)
    return run


def approve_from_elsewhere(run_id: str) -> None:
    """Have another project approve the second batch, for everybody to see."""
    name = f"{APPROVE}{run_id}-2"
    with mock.patch.object(security, "get_project_id", lambda: "p2"), db_api.transaction():
        db_api.create_environment(
            {"name": name, "variables": {}, "scope": "public", "project_id": "p2"}
        )


def test_a_deploy_waits_with_all_hosts_in_service_until_its_own_project_approves(
    runs: Runs, mistral: Mistral, cloud: FakeCloud
) -> None:
    run = waiting(runs, "deploy", approval="canary")

    assert (run.outcome, run.hold and run.hold.batch) == ("waiting", 2)
    first, second = cloud.hosts[FIRST], cloud.hosts[SECOND]
    assert (first.state, first.status) == (CONVERTED, "enabled")
    assert (second.state, second.status) == ((True, True, False, False), "enabled")
    told = runs.progress(run.id)
    assert told.hold == run.hold
    assert [host.host for host in told.hosts() if host.state == "running"] == []
    approve_from_elsewhere(run.id)
    time.sleep(3)
    assert runs.waiting(runs.get(run.id)).outcome == "waiting"
    assert second.out_of_service == []

    runs.approve(run.id)
    run = runs.wait(run.id, timeout_s=300)

    assert run.outcome == "done", mistral.tree(run.id)
    assert (second.state, second.status) == (CONVERTED, "enabled")
    # What told it goes with it, as far as it is of its project.
    left = [item for item in runs._cloud.mistral.environments.list() if run.id in item.name]
    assert [ended.run_of(left.pop().name)] == [run.id]
    assert [item.project_id for item in left] in ([], ["p2"])


def test_a_deploy_that_is_stopped_in_a_pause_ends_at_once_and_takes_back_what_was_staged(
    runs: Runs, mistral: Mistral, cloud: FakeCloud
) -> None:
    run = waiting(runs, "deploy", batch_pause_s=3600)
    assert run.hold
    assert not run.hold.approval

    runs.ask_to_stop(run.id)
    run = runs.wait(run.id, timeout_s=300)

    assert run.outcome == "stopped", mistral.tree(run.id)
    assert "1 batches were not started" in run.message
    assert (cloud.hosts[FIRST].state, cloud.hosts[FIRST].status) == (CONVERTED, "enabled")
    assert (cloud.hosts[SECOND].state, cloud.hosts[SECOND].status) == (UNTOUCHED, "enabled")
    left = {row.host: row for row in run.report.rows}[SECOND]
    assert (left.state, left.reason) == ("skipped", "not started")


def test_an_undeploy_that_nobody_approves_in_time_ends_as_stopped(
    runs: Runs, mistral: Mistral, converted: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ends = holds.before, []

    def soon(*given: object) -> holds.Hold | None:
        hold = real(*given)  # type: ignore[arg-type]
        ends.append(hold)
        return hold and holds.Hold(**{**vars(hold), "until": hold.since + 1})

    monkeypatch.setattr(holds, "before", soon)
    run = runs.wait(runs.start("undeploy", {"batch_size": 1, "approval": "batches"}).id)

    assert run.outcome == "stopped", mistral.tree(run.id)
    assert "Stopped: nobody approved the next batch in time: 1 batches were not" in run.message
    assert (converted.hosts[FIRST].state, converted.hosts[FIRST].status) == (UNTOUCHED, "enabled")
    assert (converted.hosts[SECOND].state, converted.hosts[SECOND].status) == (CONVERTED, "enabled")
    assert converted.hosts["controller"].glance_docker
    assert any(ends)

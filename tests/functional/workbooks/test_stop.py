# SPDX-License-Identifier: Apache-2.0
"""A run that is asked to stop ends with what is under way, and reports what it has left."""

from __future__ import annotations

import time
from collections.abc import Callable

from novadocker_client.runs import PAUSED, Run, Runs
from novadocker_client.signals import STOP
from tests.functional.workbooks.fake_cloud import FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED, writes

FIRST, SECOND = "compute-docker-1", "compute-docker-2"


def asked_at(
    runs: Runs, cloud: FakeCloud, workflow: str, step: str, mode: str, ask: Callable[[str], Run]
) -> Run:
    """Return a run that was asked to stop when the canary was at a step."""
    reached: list[str] = []

    def after_step(host: FakeHost, *at: str) -> None:
        if at == (step, mode) and host.name == FIRST:
            reached.append(host.name)

    cloud.after_step, cloud.step_s = after_step, 2
    run_id = runs.start(workflow, {"batch_size": 1}).id
    until = time.monotonic() + 120
    while not reached:
        assert time.monotonic() < until
        time.sleep(0.05)
    ask(run_id)
    cloud.step_s = 0
    return runs.wait(run_id, timeout_s=300)


def test_the_batch_that_is_under_way_is_ended_and_no_other_begun(
    runs: Runs, mistral: Mistral, cloud: FakeCloud
) -> None:
    run = asked_at(runs, cloud, "deploy", "configure_compute", "apply", runs.ask_to_stop)

    assert (run.state, run.outcome) == ("ERROR", "stopped"), mistral.tree(run.id)
    assert "Stopped: it was asked to stop: 1 batches were not started" in run.message
    first, second = cloud.hosts[FIRST], cloud.hosts[SECOND]
    assert (first.state, first.status) == (CONVERTED, "enabled")
    # What was staged there is taken back.
    assert (second.state, second.status) == (UNTOUCHED, "enabled")
    assert ("install_driver", "roll_back") in second.runs
    left = {row.host: row for row in run.report.rows}[SECOND]
    assert (left.state, left.reason) == ("skipped", "not started")
    # What asked it goes with it.
    names = [item.name for item in runs._cloud.mistral.environments.list()]
    assert f"{STOP}{run.id}" not in names
    # The next one is not asked.
    again = runs.wait(runs.start("deploy").id, timeout_s=300)
    assert again.outcome == "done"


def test_what_was_staged_is_taken_back_when_no_batch_was_begun(
    runs: Runs, mistral: Mistral, cloud: FakeCloud
) -> None:
    run = asked_at(runs, cloud, "deploy", "install_driver", "apply", runs.ask_to_stop)

    assert run.outcome == "stopped", mistral.tree(run.id)
    assert "2 batches were not started" in run.message
    for name in (FIRST, SECOND):
        assert (cloud.hosts[name].state, cloud.hosts[name].status) == (UNTOUCHED, "enabled")
        assert cloud.hosts[name].out_of_service == []


def test_nothing_is_changed_when_it_is_asked_before_the_plan_is_made(
    runs: Runs, mistral: Mistral, cloud: FakeCloud
) -> None:
    run = asked_at(runs, cloud, "deploy", "describe_host", "check", runs.ask_to_stop)

    assert run.outcome == "stopped", mistral.tree(run.id)
    assert run.message.startswith("Stopped, nothing was changed: it was asked to stop. See ")
    assert writes(cloud) == []


def test_an_undeploy_stops_between_its_batches(
    runs: Runs, mistral: Mistral, cloud: FakeCloud
) -> None:
    mistral.run("novadocker.deploy")

    run = asked_at(runs, cloud, "undeploy", "configure_compute", "undo", runs.ask_to_stop)

    assert run.outcome == "stopped", mistral.tree(run.id)
    assert (cloud.hosts[FIRST].state, cloud.hosts[FIRST].status) == (UNTOUCHED, "enabled")
    assert (cloud.hosts[SECOND].state, cloud.hosts[SECOND].status) == (CONVERTED, "enabled")
    assert cloud.hosts["controller"].glance_docker


def test_a_run_that_was_paused_goes_on_to_its_end(
    runs: Runs, mistral: Mistral, cloud: FakeCloud
) -> None:
    def pause_and_ask(run_id: str) -> Run:
        runs._cloud.mistral.executions.update(run_id, PAUSED)
        return runs.ask_to_stop(run_id)

    run = asked_at(runs, cloud, "deploy", "configure_compute", "apply", pause_and_ask)

    assert run.outcome == "stopped", mistral.tree(run.id)
    assert cloud.hosts[FIRST].status == cloud.hosts[SECOND].status == "enabled"


def test_in_the_last_batch_it_is_too_late(runs: Runs, mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.add_host("other", "compute")
    del cloud.hosts[SECOND]

    run = asked_at(runs, cloud, "deploy", "configure_compute", "apply", runs.ask_to_stop)

    assert run.outcome == "done", mistral.tree(run.id)

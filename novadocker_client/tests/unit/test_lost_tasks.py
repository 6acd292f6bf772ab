# SPDX-License-Identifier: Apache-2.0
"""Tasks that an engine of Mistral's has lost are begun by who waits for the run."""

from __future__ import annotations

import pytest

from novadocker_client import lost_tasks, runs
from novadocker_client.connection import Cloud
from novadocker_client.runs import Runs
from novadocker_client.tests.fake_cloud import FakeCloud


@pytest.fixture
def states(fake: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The states that Mistral is asked to bring runs to; a run that is continued ends."""
    monkeypatch.setattr(lost_tasks, "LOST_S", 0.05)
    monkeypatch.setattr(runs, "LOOK_S", 0.0)
    asked: list[str] = []
    put = fake._put_execution

    def record(query: dict[str, str], body: dict[str, str], key: str) -> object:
        asked.append(body["state"])
        ended = {"state": "SUCCESS"} if body["state"] == "RUNNING" else body
        return put(query, ended, key)

    monkeypatch.setattr(fake, "_put_execution", record)
    return asked


@pytest.mark.parametrize("shown", [True, False])
def test_a_task_that_was_never_begun_is_begun(
    fake: FakeCloud, cloud: Cloud, states: list[str], shown: bool
) -> None:
    run_id = fake.add_run()
    fake.add_task(run_id, "stage", "IDLE")

    show = (lambda _run, _progress: None) if shown else None
    run = Runs(cloud).wait(run_id, timeout_s=20, on_progress=show)

    assert run.outcome == "done"
    assert states == ["PAUSED", "RUNNING"]


@pytest.mark.parametrize(("run_state", "task_state"), [("RUNNING", "RUNNING"), ("PAUSED", "IDLE")])
def test_a_run_that_goes_on_or_is_paused_is_left_alone(
    fake: FakeCloud, cloud: Cloud, states: list[str], run_state: str, task_state: str
) -> None:
    run_id = fake.add_run(state=run_state)
    fake.add_task(run_id, "stage", task_state)

    with pytest.raises(runs.TimedOut):
        Runs(cloud).wait(run_id, timeout_s=0.3)

    assert states == []


def test_who_may_not_change_the_run_goes_on_looking_at_it(
    fake: FakeCloud, cloud: Cloud, states: list[str]
) -> None:
    run_id = fake.add_run()
    fake.add_task(run_id, "stage", "IDLE")

    def refuse(method: str, path: str) -> None:
        if method == "PUT":
            fake.faults["/mistral"] = (403, 1)

    fake.on_request = refuse
    with pytest.raises(runs.TimedOut):
        Runs(cloud).wait(run_id, timeout_s=0.5)

    assert fake.executions[run_id]["state"] == "RUNNING"


@pytest.mark.parametrize(
    ("lost", "status"), [("PAUSED", 503), ("RUNNING", 503), ("RUNNING", 409), ("RUNNING", 403)]
)
def test_a_run_that_was_paused_for_it_is_continued_though_mistral_did_not_take_it(
    fake: FakeCloud, cloud: Cloud, states: list[str], lost: str, status: int
) -> None:
    run_id = fake.add_run()
    fake.add_task(run_id, "stage", "IDLE")
    put, away = fake._put_execution, [status]

    def break_off(query: dict[str, str], body: dict[str, str], key: str) -> object:
        if body["state"] == lost and away:
            if lost == "PAUSED":
                # It was taken; it is the answer that is lost.
                put(query, body, key)
            return away.pop(), {"faultstring": "no"}
        return put(query, body, key)

    fake._put_execution = break_off  # type: ignore[method-assign,assignment]

    assert Runs(cloud).wait(run_id, timeout_s=20).outcome == "done"
    assert states == ["PAUSED", "RUNNING"]


@pytest.mark.parametrize("state", ["PAUSED", "RUNNING"])
def test_who_stops_looking_just_then_leaves_the_run_running(
    fake: FakeCloud, cloud: Cloud, states: list[str], state: str
) -> None:
    run_id = fake.add_run()
    fake.add_task(run_id, "stage", "IDLE")
    put, pressed = fake._put_execution, [KeyboardInterrupt]

    def interrupt(query: dict[str, str], body: dict[str, str], key: str) -> object:
        if body["state"] == state and pressed:
            if state == "PAUSED":
                put(query, body, key)
            raise pressed.pop()
        return put(query, body, key)

    fake._put_execution = interrupt  # type: ignore[method-assign,assignment]

    with pytest.raises(KeyboardInterrupt):
        Runs(cloud).wait(run_id, timeout_s=20)

    assert states == ["PAUSED", "RUNNING"]

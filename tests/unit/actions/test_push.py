# SPDX-License-Identifier: Apache-2.0
"""A push waits for other runs: until what they have pushed has ended, and was collected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from novadocker_actions.actions import steps
from novadocker_actions.cloud import mailbox, operators, runs
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import HostBusy
from novadocker_actions.plan.rows import HostRow


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time, as pushes know it."""
    made = Clock()
    monkeypatch.setattr(steps, "time", made)
    monkeypatch.setattr(operators, "require", lambda cloud: None)
    monkeypatch.setattr(runs, "is_active", lambda mistral, run: True)
    return made


def pushed(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, until: list[float], own_id: str = ""
) -> tuple[float, Any]:
    """Push to a host that is at work on another run's messages; return when, and the row.

    :param until: when each message of the other run ends, from the beginning on; between them the
        mailbox holds what was not collected for ten seconds
    """
    began, row = clock.now, HostRow(host="controller", role="controller")
    came: list[float] = []

    def push(heat: Any, row: HostRow, *_: Any, is_active: Callable[[str], bool], **__: Any) -> None:
        passed = clock.now - began
        for end in until:
            if passed < end:
                raise HostBusy("at work")
            if passed < end + 10:
                break
        if is_active("other"):
            raise HostBusy("it belongs to another run", uncollected=True)
        came.append(passed)

    monkeypatch.setattr(mailbox, "push", push)

    class FakeCloud:
        task_id, workflow, orchestration = "t", None, None

    cloud = cast(Cloud, FakeCloud())
    job = (row, [("describe_host", {})])
    steps.push_to_all(cloud, [job], mode="check", timeout_s=60, run_id="own", own_id=own_id)
    return (came or [clock.now - began])[0], row


def test_the_other_run_has_its_time_from_when_the_outcome_was_there(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    at, row = pushed(monkeypatch, clock, [60])
    assert row.ok
    assert at >= 60 + steps.COLLECTED_S


def test_each_outcome_of_the_other_run_has_its_time(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    at, row = pushed(monkeypatch, clock, [10, 50])
    assert row.ok
    assert at >= 50 + steps.COLLECTED_S


def test_a_run_that_pushes_in_the_name_of_another_does_not_wait_for_itself(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    at, row = pushed(monkeypatch, clock, [], own_id="other")
    assert row.ok
    assert at == 0


def test_a_host_that_stays_at_work_is_given_up(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    at, row = pushed(monkeypatch, clock, [10_000])
    assert not row.ok
    assert at == pytest.approx(steps.BUSY_WAIT_S, abs=2)

# SPDX-License-Identifier: Apache-2.0
"""Between which batches a run waits, for what and how long, and who may end that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from novadocker_actions.actions import report as actions
from novadocker_actions.cloud import runs
from novadocker_actions.errors import CloudError, Refused
from novadocker_actions.plan import gate, holds

RUN, NOW = "run", 1000.0
STOP, APPROVE = f"novadocker_stop_{RUN}", f"novadocker_approve_{RUN}"
SETTINGS: dict[str, Any] = {
    "run_id": RUN,
    "approval": "none",
    "batch_pause_s": 0,
    "until": None,
    "run_timeout_s": None,
    "hold_until": NOW + holds.LONGEST_S,
    "phase": "all",
}


class Environments:
    """Those of Mistral's: the project that each name is of.

    :param away: whether Mistral's API is away
    """

    def __init__(self, *, away: bool = False, **told: str) -> None:
        self.told, self.away = told, away

    def list(self, name: str, fields: Any) -> list[Any]:
        """Return those of a name."""
        if self.away:
            raise CloudError("workflow", "GET /environments", 503, "no")
        known = {key.replace("_", "-"): project for key, project in self.told.items()}
        return [SimpleNamespace(project_id=known[name])] if name in known else []


def cloud(**told: Any) -> Any:
    executions = SimpleNamespace(get=lambda _run_id: SimpleNamespace(project_id="p1"))
    workflow = SimpleNamespace(environments=Environments(**told), executions=executions)
    return SimpleNamespace(workflow=workflow)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions.time, "time", lambda: NOW)


def judged(ended: int, held: Any = None, told: Any = None, left: int = 2, **settings: Any) -> Any:
    act = actions.Gate(0, left, 0, {**SETTINGS, **settings}, ended, 3, held).act
    return act(cloud(**(told or {})))


@pytest.mark.parametrize(
    ("approval", "pause_s", "kinds"),
    [
        ("none", 0, ["", "", ""]),
        ("none", 9, ["", "pause", "pause"]),
        ("canary", 0, ["", "approval", ""]),
        ("canary", 9, ["", "approval", "pause"]),
        ("batches", 9, ["", "approval", "approval"]),
    ],
)
def test_a_run_waits_where_that_was_asked_for(
    approval: str, pause_s: int, kinds: list[str]
) -> None:
    for ended, kind in enumerate(kinds):
        told = judged(ended, approval=approval, batch_pause_s=pause_s)
        assert told["go_on"] is not bool(kind)
        assert (told["hold"] or {"kind": ""})["kind"] == kind
        if kind == "pause":
            assert told["hold"]["until"] == NOW + 9
        # When that has ended well it goes on, and waits once.
        held = {"batch": ended + 1, "approved": kind == "approval"}
        after = judged(ended, held, approval=approval, batch_pause_s=pause_s)
        assert (after["go_on"], after["hold"]) == (True, None)


def test_nothing_is_waited_for_before_a_batch_that_changes_no_host() -> None:
    settings = {**SETTINGS, "approval": "batches"}
    told = actions.Gate(0, 2, 0, settings, ended=1, changing=0).act(cloud())
    assert (told["go_on"], told["hold"]) == (True, None)


def test_a_batch_that_nobody_approves_is_not_begun() -> None:
    told = judged(1, {"batch": 2, "approved": False}, approval="batches")
    assert not told["go_on"]
    assert told["hold"] is None
    assert told["stopped"] == f"{gate.UNAPPROVED}: 2 batches were not started"


def test_the_approval_of_one_batch_approves_no_other() -> None:
    told = judged(2, {"batch": 2, "approved": True}, approval="batches")
    assert told["hold"]["batch"] == 3


def test_a_run_ends_that_was_asked_to_or_has_no_time_left_and_waits_for_nothing() -> None:
    asked = judged(1, told={STOP: "p1"}, approval="batches")
    assert (asked["go_on"], asked["hold"]) == (False, None)
    assert asked["stopped"].startswith(gate.ASKED)
    late = judged(1, approval="batches", until=NOW, run_timeout_s=60)
    assert (late["hold"], late["stopped"]) == (None, "60 s are over: 2 batches were not started")


def test_a_run_waits_no_longer_than_its_trust_and_its_deadline_let_it() -> None:
    assert judged(1, approval="batches")["hold"]["until"] == SETTINGS["hold_until"]
    assert judged(1, approval="batches", until=NOW + 7)["hold"]["until"] == NOW + 7
    # A pause that would have been longer is no pause that is over.
    held = {"batch": 2, "approved": False}
    tired = judged(1, held, batch_pause_s=9, hold_until=NOW)
    assert tired["stopped"] == "it has waited for 20 hours: 2 batches were not started"


def look(hold: holds.Hold, **told: Any) -> Any:
    settings = {"run_id": RUN, "trust_id": ""}
    return actions.LookAtHold(vars(hold), settings).act(cloud(**told))


HOLD = holds.Hold("approval", 2, 2, 3, NOW, NOW + 3600)


def test_an_approval_is_heard_from_the_run_s_own_project_alone() -> None:
    name = f"{APPROVE}_2"
    assert look(HOLD, **{name: "p1"}) == {"again_s": 0, "approved": True}
    # Another project can have one that everybody sees.
    assert look(HOLD, **{name: "p2"})["approved"] is False
    assert not runs.is_asked_to_stop(cloud(**{STOP: "p2"}).workflow, RUN)
    # Nor is another batch's one.
    assert look(HOLD, **{name.replace("_2", "_3"): "p1"})["approved"] is False


def test_a_stop_ends_the_waiting_and_approves_nothing() -> None:
    assert look(HOLD, **{STOP: "p1"}) == {"again_s": 0, "approved": False}


def test_a_service_that_is_away_ends_no_waiting_and_approves_nothing() -> None:
    told = look(HOLD, away=True)
    assert (told["approved"], told["again_s"] > 0) == (False, True)
    away = actions.LookAtHold(vars(HOLD), {}).failed(CloudError("identity", "GET /", 503, "no"))
    assert away == told


@pytest.mark.parametrize(
    ("waited_s", "left_s", "look_s"),
    [(0, 3600, 5), (300, 3600, 30), (7200, 3600, 60), (300, 2.5, 3), (300, 0, 0), (300, -9, 0)],
)
def test_the_longer_a_run_has_waited_the_more_seldom_it_looks(
    waited_s: float, left_s: float, look_s: int
) -> None:
    hold = holds.Hold("pause", 2, 1, 1, NOW - waited_s, NOW + left_s)
    assert hold.look_s(NOW) == look_s


def test_pauses_that_are_longer_than_a_run_may_wait_are_refused_before_it_begins() -> None:
    settings = {**SETTINGS, "batch_pause_s": 600}
    holds.require_bearable(100, settings)
    with pytest.raises(Refused, match="120 pauses between 121 batches take 72000 s, and the run"):
        holds.require_bearable(121, settings)
    with pytest.raises(Refused, match="the run has 1200 s for all"):
        holds.require_bearable(3, {**settings, "run_timeout_s": 1200})
    # Staging has no batches, and an approval takes the place of a pause.
    holds.require_bearable(121, {**settings, "phase": "stage"})
    holds.require_bearable(121, {**settings, "approval": "batches"})

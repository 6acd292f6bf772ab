# SPDX-License-Identifier: Apache-2.0
"""Of runs that are about the same hosts one goes on, whichever of them is there to be seen when."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from novadocker_actions.actions import plan
from novadocker_actions.cloud import runs
from novadocker_actions.errors import CloudError, NovadockerError, Refused
from novadocker_actions.plan import claims

OWN, OTHER = "5", "7"
HOST = "compute-1"
SECOND, NEXT = "2026-11-28 10:00:00", "2026-11-28 10:00:01"


class Mistral:
    """Runs of deploy, with the hosts that they say and the state of their lock."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.executions = SimpleNamespace(list=self._list, get=self._get)
        self.tasks = SimpleNamespace(list=self._tasks)

    def add(
        self, run_id: str, created_at: str, *, lock: str = "", hosts: tuple[str, ...] = (HOST,)
    ) -> None:
        """Have a run."""
        self.known[run_id] = {
            "id": run_id,
            "created_at": created_at,
            "workflow_name": "novadocker.deploy",
            "lock": lock,
            "hosts": hosts,
        }

    def _get(self, run_id: str) -> SimpleNamespace:
        return SimpleNamespace(**self.known[run_id])

    def _list(self, **_query: Any) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(to_dict=lambda run=run: dict(run))
            for run in self.known.values()
            if run["lock"] != "ERROR"
        ]

    def _tasks(self, run_id: str, name: str) -> list[SimpleNamespace]:
        if run_id not in self.known:
            raise CloudError("workflowv2", f"GET /executions/{run_id}/tasks", 404, "no such run")
        run = self.known[run_id]
        if name == "lock":
            return [SimpleNamespace(state=run["lock"])] if run["lock"] else []
        assert name == "select_hosts"
        told = {"selected": {"names": claims.carried(run["hosts"])}} if run["hosts"] else {}
        return [SimpleNamespace(to_dict=lambda: {"published": told})]


@pytest.fixture
def mistral(monkeypatch: pytest.MonkeyPatch) -> Mistral:
    service = Mistral()
    service.add(OWN, SECOND)
    row = SimpleNamespace(host=HOST, role="compute")
    monkeypatch.setattr(plan, "_read", lambda _cloud, _pages: [row])
    return service


def lock(mistral: Mistral, run_id: str = OWN) -> Any:
    """Lock a run's hosts."""
    action = plan.Lock(pages=[], settings={"run_id": run_id})
    return action.act(SimpleNamespace(workflow=mistral))


@pytest.fixture
def _no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_LOCK_WAIT_S", 0)


def test_a_run_that_began_before_has_the_hosts(mistral: Mistral) -> None:
    mistral.add(OTHER, "2026-11-28 09:59:59")
    with pytest.raises(Refused, match=f"{HOST} are being changed by novadocker.deploy {OTHER}"):
        lock(mistral)


@pytest.mark.parametrize("created_at", [SECOND, NEXT])
def test_one_that_has_locked_them_already_has_them_though_it_counts_as_later(
    mistral: Mistral, created_at: str
) -> None:
    """It began in the same second, or by another server's clock, and did not see this one."""
    mistral.add(OTHER, created_at, lock="SUCCESS")
    with pytest.raises(Refused, match=f"being changed by novadocker.deploy {OTHER}"):
        lock(mistral)


@pytest.mark.parametrize(("ends", "goes_on"), [("SUCCESS", False), ("ERROR", True)])
def test_one_that_is_just_about_to_lock_them_is_waited_for(
    mistral: Mistral, monkeypatch: pytest.MonkeyPatch, ends: str, goes_on: bool
) -> None:
    mistral.add(OTHER, SECOND, lock="RUNNING")
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        mistral.known[OTHER]["lock"] = ends

    monkeypatch.setattr(plan.time, "sleep", wait)
    if goes_on:
        lock(mistral)
    else:
        with pytest.raises(Refused):
            lock(mistral)
    assert len(waited) == 1


@pytest.mark.parametrize("state", ["", "IDLE", "WAITING"])
def test_a_later_one_that_has_not_looked_yet_will_see_this_one(
    mistral: Mistral, state: str
) -> None:
    mistral.add(OTHER, SECOND, lock=state)
    assert lock(mistral) == {"looked_at": []}


def test_one_with_other_hosts_may_go_on_beside_it(mistral: Mistral) -> None:
    mistral.add(OTHER, SECOND, lock="SUCCESS", hosts=("compute-2",))
    assert lock(mistral) == {"looked_at": [OTHER]}


def test_one_that_vanishes_is_none(mistral: Mistral, monkeypatch: pytest.MonkeyPatch) -> None:
    mistral.add(OTHER, SECOND)
    listed = mistral.executions.list()
    del mistral.known[OTHER]
    mistral.executions.list = lambda **_query: listed
    assert lock(mistral) == {"looked_at": []}


@pytest.mark.usefixtures("_no_time")
@pytest.mark.parametrize("of_other", [{"lock": "RUNNING"}, {"hosts": ()}])
def test_what_is_not_known_in_time_is_no_leave(mistral: Mistral, of_other: dict[str, Any]) -> None:
    mistral.add(OTHER, SECOND if "lock" in of_other else "2026-11-28 09:59:59", **of_other)
    with pytest.raises(NovadockerError, match=f"Run {OTHER} .*has not yet said which hosts it has"):
        lock(mistral)


# What a run does, one after another: it is made and says its hosts, looks at the others, and goes
# on or does not.
STEPS = ("begins", "looks", "decides")
ORDERS = sorted(set(itertools.permutations([OWN] * len(STEPS) + [OTHER] * len(STEPS))))


@pytest.mark.usefixtures("_no_time")
@pytest.mark.parametrize("created_at", [SECOND, NEXT])
@pytest.mark.parametrize("order", ORDERS)
def test_never_do_both_go_on(mistral: Mistral, order: tuple[str, ...], created_at: str) -> None:
    """In whatever order they come; who has to wait for the other looks again at the end."""
    mistral.known.clear()
    created = {OWN: SECOND, OTHER: created_at}
    left = {run_id: iter(STEPS) for run_id in created}
    looked: dict[str, bool | None] = {}

    def look(run_id: str) -> None:
        try:
            lock(mistral, run_id)
            looked[run_id] = True
        except Refused:
            looked[run_id] = False
        except NovadockerError:
            looked[run_id] = None

    for run_id in order:
        step = next(left[run_id])
        if step == "begins":
            mistral.add(run_id, created[run_id])
        elif step == "looks":
            mistral.known[run_id]["lock"] = "RUNNING"
            look(run_id)
        elif looked[run_id] is not None:
            mistral.known[run_id]["lock"] = "SUCCESS" if looked[run_id] else "ERROR"
    for run_id in [run_id for run_id, outcome in looked.items() if outcome is None]:
        look(run_id)
        mistral.known[run_id]["lock"] = "SUCCESS" if looked[run_id] else "ERROR"
    assert sorted(looked.values(), key=bool) == [False, True]


def test_a_lock_that_mistral_does_not_show_is_no_leave(mistral: Mistral) -> None:
    mistral.add(OTHER, SECOND)

    def away(_run_id: str, name: str) -> Any:
        raise CloudError("workflowv2", f"GET tasks {name}", 503, "away")

    mistral.tasks.list = away
    with pytest.raises(CloudError):
        list(runs.ahead(mistral, OWN))

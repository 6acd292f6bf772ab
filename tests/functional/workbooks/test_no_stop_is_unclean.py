# SPDX-License-Identifier: Apache-2.0
"""Each kind of stop in each phase: what is left is told, and recover or the next run is right."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from novadocker_actions.actions import report
from novadocker_actions.cloud import ended
from novadocker_actions.plan import holds
from novadocker_client.progress import Progress
from novadocker_client.runs import CANCELLED, Run, Runs
from tests.functional.workbooks.fake_cloud import FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED

pytestmark = pytest.mark.proof

FIRST, SECOND, CONTROLLER = "compute-docker-1", "compute-docker-2", "controller"
HOLD = "hold"
TIMEOUT_S = 600
RUN_TIMEOUT_S = 3600
PAUSE_S = 1800
# By which step of which host a phase is known.
PHASES: dict[str, dict[str, tuple[str, ...]]] = {
    "deploy": {
        "prepare": (FIRST, "describe_host", "check"),
        "controllers": (CONTROLLER, "install_docker", "apply"),
        "images": (CONTROLLER, "upload_image", "apply"),
        "stage": (FIRST, "install_driver", "apply"),
        "switch": (FIRST, "configure_compute", "apply"),
        "verify": (FIRST, "verify_host", "apply"),
        "put back": (FIRST, "install_driver", "roll_back"),
        HOLD: (),
    },
    "undeploy": {
        "prepare": (FIRST, "describe_host", "check"),
        "switch": (FIRST, "configure_compute", "undo"),
        "finish": (FIRST, "install_docker", "undo"),
        "controllers": (CONTROLLER, "configure_glance", "undo"),
        HOLD: (),
    },
}
# How each kind of stop may end a run.
KINDS = {
    "stop": ("stopped", "done", "partial"),
    "cancel": ("stopped",),
    "deadline": ("failed", "done", "partial", "stopped"),
    "Ctrl-C": ("done", "partial"),
    # Between two batches.
    "pause": ("done",),
    "approval": ("done",),
    "no approval": ("stopped",),
}
EVERYWHERE = ("stop", "cancel", "deadline", "Ctrl-C")
CASES = [
    (workflow, phase, kind)
    for workflow, phases in PHASES.items()
    for phase, kind in itertools.product(phases, KINDS)
    if phase == HOLD or kind in EVERYWHERE
]


@dataclass
class Clock:
    """What the gate has of the module ``time``.

    :param ahead_s: how much later it is there
    """

    ahead_s: float = 0.0

    def time(self) -> float:
        """Return the time."""
        return time.time() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock of the gate's that can be put forward, and quick looks."""
    ticking = Clock()
    monkeypatch.setattr(report, "time", ticking)
    monkeypatch.setattr(holds, "FIRST_LOOK_S", 1)
    return ticking


def reached(runs: Runs, cloud: FakeCloud, workflow: str, phase: str, kind: str) -> str:
    """Begin a run; return its id when it is in a phase."""
    seen: list[str] = []

    def after_step(host: FakeHost, *step: str) -> None:
        if (host.name, *step) == PHASES[workflow][phase]:
            seen.append(host.name)

    given: dict[str, object] = {"batch_size": 1, "run_timeout_s": RUN_TIMEOUT_S, "max_failed": 1}
    if phase == HOLD:
        given |= {"approval": "batches"} if "approval" in kind else {"batch_pause_s": PAUSE_S}
    elif phase == "put back":
        cloud.hosts[FIRST].faults["verify_host", "apply"] = "fail"
    cloud.after_step, cloud.step_s = after_step, 1
    run_id = runs.start(workflow, given).id

    def is_there() -> bool:
        return runs.waiting(runs.get(run_id)).hold is not None if phase == HOLD else bool(seen)

    until = time.monotonic() + TIMEOUT_S
    while not is_there():
        assert time.monotonic() < until
        assert not runs.get(run_id).ended, runs.get(run_id).message
        time.sleep(0.1)
    return run_id


def end(runs: Runs, clock: Clock, run_id: str, kind: str) -> None:
    """Have a run stopped, or let go on."""

    def interrupt(_run: Run, _progress: Progress) -> None:
        raise KeyboardInterrupt

    acts: dict[str, Callable[[], object]] = {
        "stop": lambda: runs.ask_to_stop(run_id),
        "cancel": lambda: runs.stop(run_id),
        "approval": lambda: runs.approve(run_id),
    }
    if kind in acts:
        acts[kind]()
    elif kind in ("deadline", "no approval"):
        clock.ahead_s = RUN_TIMEOUT_S + 1
    elif kind == "pause":
        clock.ahead_s = PAUSE_S + 1
    else:
        with pytest.raises(KeyboardInterrupt):
            runs.wait(run_id, on_progress=interrupt)
        assert not runs.get(run_id).ended
        if runs.waiting(runs.get(run_id)).hold:
            # Nobody looks any more: it goes on when its time is over.
            clock.ahead_s = PAUSE_S + 1


def require_whole(cloud: FakeCloud, mistral: Mistral, run: Run) -> None:
    """Require that each host is one or the other, and in service."""
    for name in (FIRST, SECOND):
        host = cloud.hosts[name]
        assert host.status == "enabled", (name, host.disabled_reason, mistral.tree(run.id))
        assert host.state in (CONVERTED, UNTOUCHED), (name, host.state, mistral.tree(run.id))


def require_told(cloud: FakeCloud, workflow: str, run: Run) -> None:
    """Require that a run's report says of each host what it is, and of what is left why."""
    wanted = CONVERTED if workflow == "deploy" else UNTOUCHED
    states = {row.host: (row.state, row.reason) for row in run.report.rows}
    for name in (FIRST, SECOND):
        if run.report.rows:
            state, reason = states[name]
            assert (state in ("ok", "unchanged")) == (cloud.hosts[name].state == wanted), states
            assert state in ("ok", "unchanged") or reason, states
    left = [name for name in (FIRST, SECOND) if cloud.hosts[name].state != wanted]
    assert not left or run.outcome not in ("done", "unchanged"), run.message
    # Before the plan is made there is nothing to name but that nothing was changed.
    assert run.report.rows or "nothing was changed" in run.message


@pytest.mark.parametrize(
    ("workflow", "phase", "kind"), CASES, ids=["-".join(case).replace(" ", "-") for case in CASES]
)
def test_what_a_stop_leaves_is_told_and_put_right(
    runs: Runs,
    mistral: Mistral,
    cloud: FakeCloud,
    clock: Clock,
    request: pytest.FixtureRequest,
    workflow: str,
    phase: str,
    kind: str,
) -> None:
    if workflow == "undeploy":
        request.getfixturevalue("converted")
    run_id = reached(runs, cloud, workflow, phase, kind)
    end(runs, clock, run_id, kind)
    cloud.step_s = 0
    run = runs.wait(run_id, timeout_s=TIMEOUT_S)

    assert run.outcome in KINDS[kind], (run.message, mistral.tree(run_id))
    if kind == "cancel":
        assert run.state == CANCELLED
        run = runs.wait(runs.start("recover").id, timeout_s=TIMEOUT_S)
        assert run.outcome in ("done", "unchanged"), (run.message, mistral.tree(run.id))
    else:
        require_told(cloud, workflow, run)
    require_whole(cloud, mistral, run)

    clock.ahead_s = 0
    cloud.hosts[FIRST].faults.clear()
    last = runs.wait(runs.start(workflow).id, timeout_s=TIMEOUT_S)
    assert last.outcome in ("done", "unchanged"), (last.message, mistral.tree(last.id))
    wanted = CONVERTED if workflow == "deploy" else UNTOUCHED
    assert [cloud.hosts[name].state for name in (FIRST, SECOND)] == [wanted, wanted]
    assert cloud.trusts == {}
    left = [item.name for item in runs._cloud.mistral.environments.list()]
    assert [name for name in left if run_id in name and not ended.run_of(name)] == []

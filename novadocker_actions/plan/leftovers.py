# SPDX-License-Identifier: Apache-2.0
"""What a run that was lost has left on a host: to be finished, to be put back, or nothing.

A host that was made a Docker hypervisor is whole when the checks of all its steps find nothing to
change, and the host itself finds the driver to work. One that is no Docker hypervisor is whole when
nothing of a lost run is on it. All that is between these is put back as that run found it.

That a run is gone from Mistral does not tell how it ended: Mistral forgets those that ended well,
too. So what a host has of one counts only where the host shows that it was not left as wanted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from novadocker_actions import recipes
from novadocker_actions.plan import order
from novadocker_actions.plan.hosts import DOCKER
from novadocker_actions.plan.rows import OK, HostRow

TASK = "find_left"
# What became of a run: it is under way, has ended well, has ended otherwise, or is gone.
ALIVE, WELL, LOST, GONE = "alive", "well", "lost", "gone"
# As Mistral makes them.
_RUN_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
NOT_STARTED = "not started"


@dataclass(frozen=True)
class Seen:
    """What Nova shows of a compute host.

    :param hypervisor_type: such as ``docker``, "" where it shows no hypervisor
    :param instances: that live on it
    :param parked_by: the run that it was taken out of service by, or left out after; "" for none
    :param member: whether it is in the aggregate of Docker hypervisors
    """

    hypervisor_type: str = ""
    instances: int = 0
    parked_by: str = ""
    member: bool = False


def find(row: HostRow, seen: Seen, fate: Callable[[str], str]) -> None:
    """Note what is left on a described host.

    A host that may be whole is given steps whose checks are to be asked (``unknown``); one that is
    to be put back fails, with the steps that its run has done there.

    :param row: the host, with the facts of describe_host
    :param seen: what Nova shows of it
    :param fate: what became of a run, as Mistral tells it
    """
    steps = recipes.for_role(row.role)
    journals = _journals(row.facts, steps)
    if row.role != "compute":
        # Controllers are everybody's, and are not out of service by a run.
        _note_lost(row, {step: run for step, run in journals.items() if fate(run) == LOST})
        row.unknown = list(row.done)
        return
    alive = [run for run in (seen.parked_by, *journals.values()) if run and fate(run) == ALIVE]
    if alive:
        row.skip(TASK, f"run {alive[0]} is at it, which is under way or another project's")
        return
    docker = order.looks_converted(row.facts, steps), seen.hypervisor_type == DOCKER
    half_way = any(docker) or order.runs_driver(row.facts)
    left = {seen.parked_by, *(run for run in journals.values() if fate(run) == LOST)}
    left |= set() if half_way else {run for run in journals.values() if fate(run) == GONE}
    _note_lost(row, {step: run for step, run in journals.items() if run in left})
    row.left_by = row.left_by or seen.parked_by
    row.hypervisor_type, row.instances = seen.hypervisor_type, seen.instances
    row.containers = order.containers_of(row.facts)
    row.parked = bool(seen.parked_by)
    if all(docker):
        aside = row.parked or (bool(row.left_by) and not seen.member)
        row.unknown = steps if aside else []
        row.done = row.done if aside else []
        row.left_by = row.left_by if aside else ""
    elif half_way:
        _break(row, f"run {row.left_by or 'before'} has left it half converted")
    elif row.done:
        row.fail(TASK, f"run {row.left_by} has left on it: {', '.join(row.done)}")


def _journals(facts: Mapping[str, Any], steps: list[str]) -> dict[str, str]:
    """Return the run that did each step last, as the host tells it; no id is of another form."""
    told = facts.get("journals") or {}
    return {step: told[step] for step in steps if _RUN_ID.fullmatch(told.get(step) or "")}


def _note_lost(row: HostRow, lost: Mapping[str, str]) -> None:
    # Of several runs the one that did the last of the steps: what others did before it is found
    # the next time.
    row.left_by = list(lost.values())[-1] if lost else ""
    row.done = [step for step, run in lost.items() if run == row.left_by]


def judge(row: HostRow) -> None:
    """Judge a host by the checks that it was asked for; what is not whole is to be put back."""
    if row.needs and row.ok:
        _break(row, f"it is not whole: {', '.join(row.needs)} would change it")
    elif row.unknown and not row.ok:
        row.damaged = row.role == "compute"
        order.note_instances(row, row.instances)
    if not row.ok and not row.done and row.damaged:
        row.add_reason("nothing of a lost run is on record there: deploy or undeploy it")


def _break(row: HostRow, reason: str) -> None:
    row.damaged = row.role == "compute"
    order.note_instances(row, row.instances)
    row.fail(TASK, reason)


def settle(row: HostRow) -> None:
    """Note of a host that was put back that it is as it was before the run that was lost."""
    if row.rolled_back and not row.stuck:
        row.state, row.step, row.rolled_back, row.changed = OK, TASK, False, True
        row.reason = f"put back as run {row.left_by} found it"

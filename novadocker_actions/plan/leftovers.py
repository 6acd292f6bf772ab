# SPDX-License-Identifier: Apache-2.0
"""What a run that was lost has left on a host: to be finished, to be put back, or nothing.

A host that was made a Docker hypervisor is whole when the checks of all its steps find nothing to
change, and the host itself finds the driver to work. One that is no Docker hypervisor is whole when
nothing of a lost run is on it. All that is between these is put back as that run found it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from novadocker_actions import recipes
from novadocker_actions.plan import order
from novadocker_actions.plan.hosts import DOCKER
from novadocker_actions.plan.rows import OK, HostRow

TASK = "find_left"
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

    @property
    def aside(self) -> bool:
        """Return whether it is out of service by one of our runs, or in the wrong aggregate."""
        return bool(self.parked_by) or self.member != (self.hypervisor_type == DOCKER)


def find(row: HostRow, seen: Seen, is_lost: Callable[[str], bool]) -> None:
    """Note what is left on a described host.

    A host that may be whole is given steps whose checks are to be asked (``unknown``); one that is
    to be put back fails, with the steps that its run has done there.

    :param row: the host, with the facts of describe_host
    :param seen: what Nova shows of it
    :param is_lost: whether a run has ended other than well, or is gone
    """
    steps = recipes.for_role(row.role)
    journals = _lost(row.facts, steps, is_lost)
    if journals:
        # Of several runs the one that came last; what an earlier one left is found the next time.
        row.left_by = list(journals.values())[-1]
        row.done = [step for step, run in journals.items() if run == row.left_by]
    elif seen.parked_by:
        row.left_by = seen.parked_by
    if row.role != "compute":
        row.unknown = list(journals)
        return
    row.hypervisor_type, row.instances = seen.hypervisor_type, seen.instances
    row.parked = bool(seen.parked_by)
    docker = order.looks_converted(row.facts, steps), seen.hypervisor_type == DOCKER
    if all(docker):
        row.unknown = steps if seen.aside else []
        row.done = row.done if seen.aside else []
    elif any(docker) or order.runs_driver(row.facts):
        _break(row, f"run {row.left_by or 'before'} has left it half converted")
    elif row.done:
        row.fail(TASK, f"run {row.left_by} has left on it: {', '.join(row.done)}")


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


def _lost(
    facts: Mapping[str, Any], steps: list[str], is_lost: Callable[[str], bool]
) -> dict[str, str]:
    journals = facts.get("journals") or {}
    return {s: journals[s] for s in steps if journals.get(s) and is_lost(journals[s])}


def settle(row: HostRow) -> None:
    """Note of a host that was put back that it is as it was before the run that was lost."""
    if row.rolled_back and not row.stuck:
        row.state, row.step, row.rolled_back, row.changed = OK, TASK, False, True
        row.reason = f"put back as run {row.left_by} found it"

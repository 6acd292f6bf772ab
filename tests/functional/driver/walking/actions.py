# SPDX-License-Identifier: Apache-2.0
"""The actions of Nova's API and what happens to hosts: what each does, and what follows a kill."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tests.functional.driver.walking.rig import Host
from tests.functional.driver.walking.walk import CONTEXT, Walk


class Recovery:
    """How an instance that something was done with is brought back to a state that Nova knows."""

    # Nova, or the user, does the same again.
    AGAIN = "again"
    # An operator resets the state, and the user reboots it hard.
    REBOOT = "reboot"
    # Nova clears the task where the instance runs; otherwise as REBOOT.
    REBOOT_UNLESS_RUNNING = "reboot unless it runs"
    # Nova does nothing but to compare the power state.
    NONE = "none"
    # Nova rolls back an instance that was about to leave.
    ROLL_BACK = "roll back"
    # As REBOOT; where it is to go back to another host, an operator has it go on.
    REBOOT_OR_AGAIN = "reboot, or again elsewhere"


@dataclasses.dataclass(frozen=True)
class Phase:
    """What one host does of an action.

    :param do: what nova-compute does, with its driver
    :param done: what Nova has in its database then
    :param killed: what is done after nova-compute was killed in it
    :param failed: what is done after it has failed
    :param cut: what Nova has in its database after nova-compute was killed in it
    :param lost: what Nova has in its database after it has failed
    """

    do: Callable[[Walk, Any], None]
    done: Callable[[Walk], None] = lambda _walk: None
    killed: str = Recovery.NONE
    failed: str = Recovery.NONE
    cut: Callable[[Walk], None] = lambda _walk: None
    lost: Callable[[Walk], None] = lambda _walk: None


@dataclasses.dataclass(frozen=True)
class Action:
    """An action of Nova's API, or something that happens to a host.

    :param states: in which Nova takes it
    :param to: the state that it leads to; None for the same
    :param first: what happens before, and is not cut short
    :param wants: whether an instance has to have a second port or a volume; None for no matter
    """

    states: tuple[str, ...]
    phases: tuple[Phase, ...]
    to: str | None = None
    first: Callable[[Walk], None] = lambda _walk: None
    port: bool | None = None
    volume: bool | None = None


def other_size(walk: Walk) -> int:
    """Return the memory of the flavor that it is resized to, up or down."""
    return 160 - walk.memory_mb


def resize(dest: Callable[[Walk], Host], memory_mb: Callable[[Walk], int]) -> tuple[Phase, ...]:
    return (
        Phase(
            lambda walk, driver: walk.leave(driver, dest(walk), memory_mb(walk)),
            lambda walk: walk.has_left(dest(walk), memory_mb(walk)),
            killed=Recovery.ROLL_BACK,
            failed=Recovery.REBOOT,
        ),
        Phase(
            lambda walk, _driver: walk.finish(walk.driver()),
            lambda walk: walk.set_state("resized"),
            killed=Recovery.REBOOT,
            failed=Recovery.REBOOT,
            lost=Walk.is_back,
        ),
    )


def to(state: str) -> Callable[[Walk], None]:
    return lambda walk: walk.set_state(state)


RUN, OFF, PAUSED, RESCUED, RESIZED, SHELVED = (
    "active",
    "stopped",
    "paused",
    "rescued",
    "resized",
    "shelved",
)
AGAIN = {"killed": Recovery.AGAIN, "failed": Recovery.AGAIN}
REBOOT = {"killed": Recovery.REBOOT, "failed": Recovery.REBOOT}
UNLESS = {"killed": Recovery.REBOOT_UNLESS_RUNNING, "failed": Recovery.REBOOT_UNLESS_RUNNING}
HERE: Callable[[Walk], Host] = lambda walk: walk.host  # noqa: E731
ANY = (RUN, OFF, PAUSED, RESCUED, RESIZED)
UNSHELVE = Phase(Walk.unshelve, Walk.unshelved, **AGAIN)

ACTIONS: dict[str, Action] = {
    "start": Action((OFF,), (Phase(Walk.start, to(RUN), **AGAIN),), RUN),
    "stop": Action((RUN,), (Phase(Walk.stop, to(OFF), **AGAIN),), OFF),
    "reboot soft": Action((RUN,), (Phase(lambda w, d: w.reboot(d, "SOFT"), **UNLESS),)),
    "reboot hard": Action((RUN, OFF, PAUSED), (Phase(Walk.reboot, to(RUN), **UNLESS),), RUN),
    "reboot with other options": Action(
        (RUN, OFF, PAUSED),
        (Phase(Walk.reboot, to(RUN), **REBOOT),),
        RUN,
        first=Walk.options_change,
    ),
    "pause": Action(
        (RUN,), (Phase(lambda w, d: d.pause(w.instance), to(PAUSED), **UNLESS),), PAUSED
    ),
    "unpause": Action(
        (PAUSED,), (Phase(lambda w, d: d.unpause(w.instance), to(RUN), **AGAIN),), RUN
    ),
    "suspend": Action((RUN,), (Phase(Walk.suspend),)),
    "rescue": Action((RUN, OFF), (Phase(Walk.rescue, to(RESCUED), **REBOOT),), RESCUED),
    "unrescue": Action(
        (RESCUED,),
        (Phase(lambda w, d: d.unrescue(CONTEXT, w.instance), Walk.is_unrescued, **REBOOT),),
        RUN,
    ),
    "resize": Action((RUN, OFF), resize(HERE, other_size), RESIZED, first=Walk.is_about_to_leave),
    "resize with other options": Action(
        (RUN, OFF), resize(HERE, other_size), RESIZED, first=Walk.leave_with_other_options
    ),
    "migrate": Action(
        (RUN, OFF),
        resize(lambda w: w.elsewhere, lambda w: w.memory_mb),
        RESIZED,
        first=Walk.is_about_to_leave,
    ),
    "confirm": Action((RESIZED,), (Phase(Walk.confirm, Walk.settled, **REBOOT),), RUN),
    "revert": Action(
        (RESIZED,),
        (
            Phase(
                Walk.leave_back,
                Walk.is_back,
                killed=Recovery.REBOOT_OR_AGAIN,
                failed=Recovery.REBOOT_OR_AGAIN,
            ),
            Phase(lambda w, _d: w.go_back(w.driver()), Walk.settled, **REBOOT),
        ),
        RUN,
    ),
    "snapshot": Action((RUN, OFF, PAUSED), (Phase(Walk.snapshot),)),
    "rebuild": Action((RUN, OFF), (Phase(Walk.rebuild, Walk.is_rebuilt, **AGAIN),)),
    "shelve": Action(
        (RUN, OFF, PAUSED),
        (
            Phase(Walk.shelve, to(OFF), killed=Recovery.REBOOT, failed=Recovery.NONE),
            Phase(Walk.destroy, to(SHELVED), **AGAIN),
        ),
        SHELVED,
        first=Walk.new_shelf,
    ),
    "unshelve": Action((SHELVED,), (UNSHELVE,), RUN),
    "unshelve elsewhere": Action(
        (SHELVED,), (UNSHELVE,), RUN, first=lambda w: w.set_host(w.elsewhere)
    ),
    "attach a port": Action(
        (RUN, OFF, PAUSED),
        (Phase(Walk.attach_port, Walk.has_extra, cut=Walk.has_extra),),
        first=Walk.new_port,
        port=False,
    ),
    "detach a port": Action(
        (RUN, OFF, PAUSED), (Phase(Walk.detach_port, Walk.has_no_extra),), port=True
    ),
    "attach a volume": Action(
        (RUN, OFF, PAUSED),
        (Phase(Walk.attach_volume, lambda w: w.has_volume(True)),),
        volume=False,
    ),
    "detach a volume": Action(
        (RUN, OFF, PAUSED),
        (Phase(Walk.detach_volume, lambda w: w.has_volume(False)),),
        volume=True,
    ),
    "the workload ends": Action(
        (RUN,), (Phase(Walk.stop, to(OFF), **AGAIN),), OFF, first=Walk.workload_ends
    ),
    "nova-compute starts again": Action(ANY, (Phase(Walk.plug, **AGAIN),)),
    "the host reboots": Action(
        (*ANY, SHELVED),
        (Phase(Walk.resume, Walk.resumed, **AGAIN),),
        first=Walk.host_reboots,
    ),
    "images are pruned": Action((*ANY, SHELVED), (), first=Walk.images_are_pruned),
    "its sandbox is removed": Action(
        (RUN, OFF), (Phase(Walk.reboot, to(RUN), **REBOOT),), RUN, first=Walk.sandbox_is_removed
    ),
}
DELETE = Action((*ANY, SHELVED), (Phase(Walk.destroy, **AGAIN),))
SPAWN = Action((), (Phase(Walk.spawn),))
# What leads to each state.
WAYS = {
    RUN: (),
    OFF: ("stop",),
    PAUSED: ("pause",),
    RESCUED: ("rescue",),
    RESIZED: ("resize",),
    SHELVED: ("shelve",),
}
# What brings an instance back to where it runs.
BACK = {
    OFF: ("start",),
    PAUSED: ("unpause",),
    RESCUED: ("unrescue",),
    RESIZED: ("confirm", "revert"),
    SHELVED: ("unshelve",),
}


def possible_pairs() -> set[tuple[str, str]]:
    """Return each action that can come after another one."""
    pairs = set()
    for first, before in ACTIONS.items():
        # Nova stops what was paused when its host went down.
        kept = set(before.states) - ({PAUSED} if first == "the host reboots" else set())
        for state in (before.to,) if before.to else kept:
            for second, after in ACTIONS.items():
                undone = (first, second) in (
                    ("attach a port", "attach a port"),
                    ("detach a port", "detach a port"),
                    ("attach a volume", "attach a volume"),
                    ("detach a volume", "detach a volume"),
                )
                if state in after.states and not undone:
                    pairs.add((first, second))
    return pairs

# SPDX-License-Identifier: Apache-2.0
"""What happened in a run, one sentence an event, in the order in which it happened."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from novadocker_client import meanings
from novadocker_client.progress import FAILED, OK, Cell, Progress, Task

_NAMES_SHOWN = 4


@dataclass(frozen=True)
class Event:
    """Something that has ended.

    :param key: by which it is known again at the next look
    :param at: when
    :param ok: whether it went well
    :param hosts: that it is about, none where it is about the run
    :param text: what is so now, or what failed and why
    """

    key: str
    at: datetime.datetime | None
    ok: bool
    text: str
    hosts: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Return it in words."""
        about = names(self.hosts)
        return f"{about}: {self.text}" if about else self.text

    def elapsed_s(self, since: datetime.datetime | None) -> float:
        """Return how many seconds after a moment it was; 0 where either is not known."""
        return max(0.0, (self.at - since).total_seconds()) if self.at and since else 0.0


def names(hosts: Sequence[str]) -> str:
    """Return hosts for a sentence, the first few of many."""
    more = len(hosts) - _NAMES_SHOWN
    shown = ", ".join(hosts[:_NAMES_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def of(progress: Progress) -> list[Event]:
    """Return what has happened, in order.

    A task that is about hosts is told host by host where it failed, and once for all others.

    :param progress: of the run
    """
    cells: dict[str, list[Cell]] = {}
    for cell in progress.cells():
        cells.setdefault(cell.task_id, []).append(cell)
    events = [
        event
        # Of what has ended in one second, the first is what was begun first.
        for task in sorted(progress.tasks, key=lambda task: task.started_at or _NEVER)
        if task.ended
        for event in _of_task(task, cells.get(task.id, []))
    ]
    return sorted(events, key=lambda event: event.at or _NEVER)


_NEVER = datetime.datetime.max.replace(tzinfo=datetime.UTC)


def _of_task(task: Task, cells: Sequence[Cell]) -> Iterator[Event]:
    words = meanings.step(task.name)
    done = tuple(cell.host for cell in cells if cell.state == OK)
    if task.state != "SUCCESS":
        # Where nobody can say how it ended, its rows tell at which hosts it was.
        yield Event(task.id, task.finished_at, ok=False, text=f"{words.title} failed", hosts=done)
    elif done or (not task.rows and task.name in meanings.STEPS):
        yield Event(task.id, task.finished_at, ok=True, text=words.done, hosts=done)
    for cell in cells:
        if cell.state == FAILED:
            yield Event(
                f"{task.id} {cell.host}",
                task.finished_at,
                ok=False,
                text=f"{words.title}: {cell.reason or 'it gave no reason'}",
                hosts=(cell.host,),
            )

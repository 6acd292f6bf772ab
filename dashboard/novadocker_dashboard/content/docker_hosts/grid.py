# SPDX-License-Identifier: Apache-2.0
"""A run's hosts and their steps, in the order in which they need looking at."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from novadocker_client import meanings, progress
from novadocker_client.progress import Cell, Progress, Task
from novadocker_client.reports import Report, Row

FAILED, RUNNING, SKIPPED, OK = "failed", "running", "skipped", "ok"
# What a report says of a host, where that is another word.
_SAID = {"unchanged": OK, "planned": OK}


@dataclass(frozen=True)
class Square:
    """A host at a step.

    :param state: "" where it has not come to it
    :param duration: how long it took
    """

    title: str
    state: str = ""
    duration: datetime.timedelta | None = None


@dataclass(frozen=True)
class Line:
    """A host.

    :param state: ok, running, failed or skipped
    :param step: the title of where it failed, or is, or was last
    :param log: a file on the host that has more
    """

    host: str
    role: str
    state: str
    step: str = ""
    reason: str = ""
    log: str = ""
    since: datetime.datetime | None = None
    rolled_back: bool = False


@dataclass(frozen=True)
class Group:
    """Hosts of one state."""

    state: str
    count: int


@dataclass(frozen=True)
class Grid:
    """Hosts and steps.

    :param steps: names of the steps that hosts have come to, in order
    :param lines: hosts, those that failed first, then those that are worked on
    :param cells: by host and by step
    """

    steps: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    cells: Mapping[str, Mapping[str, Cell]] = field(default_factory=dict)

    def titles(self) -> list[str]:
        """Return the titles of the steps."""
        return [_title(step) for step in self.steps]

    def squares(self, line: Line) -> list[Square]:
        """Return a host at each of the steps."""
        cells = self.cells.get(line.host, {})
        return [_square(step, cells.get(step)) for step in self.steps]

    def groups(self) -> list[Group]:
        """Return how many hosts there are of each state, in the order of the lines."""
        counts: dict[str, int] = {}
        for line in self.lines:
            counts[line.state] = counts.get(line.state, 0) + 1
        return [Group(state, count) for state, count in counts.items()]

    def chosen(self, state: str, name: str) -> list[Line]:
        """Return the lines of a state whose hosts have this in their names; "" lets all pass."""
        return [
            line
            for line in self.lines
            if state in ("", line.state) and name.lower() in line.host.lower()
        ]


_ORDER = {FAILED: 0, RUNNING: 1, SKIPPED: 2, OK: 3}


def grid(told: Progress, report: Report) -> Grid:
    """Return a run's hosts and their steps.

    :param told: how far the run has come
    :param report: what it says at its end; an empty one before that
    """
    cells: dict[str, dict[str, Cell]] = {}
    steps: dict[str, None] = {}
    for cell in told.cells():
        steps.setdefault(cell.step)
        cells.setdefault(cell.host, {})[cell.step] = cell
    line_of = {
        host.host: Line(
            host.host,
            host.role,
            host.state,
            step=_title(host.step),
            reason=host.reason,
            since=host.since,
        )
        for host in told.hosts()
    }
    for row in report.rows:
        line_of[row.host] = _reported(row, line_of.get(row.host))
    lines = sorted(line_of.values(), key=lambda line: (_ORDER.get(line.state, 3), line.host))
    return Grid(tuple(steps), tuple(lines), cells)


def _reported(row: Row, line: Line | None) -> Line:
    # The report is the run's last word; what led to it is the progress's.
    return Line(
        row.host,
        row.role or (line.role if line else ""),
        _SAID.get(row.state, row.state),
        step=_title(row.step) if row.step else (line.step if line else ""),
        reason=row.reason,
        log=row.log,
        since=line.since if line else None,
        rolled_back=row.rolled_back,
    )


def _square(step: str, cell: Cell | None) -> Square:
    if cell is None:
        return Square(_title(step))
    return Square(_title(step), cell.state, _took(cell.started_at, cell.finished_at))


def _took(
    since: datetime.datetime | None, until: datetime.datetime | None
) -> datetime.timedelta | None:
    return until - since if since and until else None


def _title(names: str) -> str:
    # Of a plan, a row has all steps that would be done.
    return ", ".join(meanings.step(name.strip()).title for name in names.split(","))


@dataclass(frozen=True)
class Phase:
    """A task of the run itself.

    :param state: ok, running or failed
    :param duration: how long it took
    """

    title: str
    state: str
    since: datetime.datetime | None = None
    duration: datetime.timedelta | None = None


def phases(tasks: Iterable[Task]) -> list[Phase]:
    """Return what a run does one after another, in the order in which it was begun."""
    states = {"SUCCESS": OK, "ERROR": FAILED, "CANCELLED": FAILED, "SKIPPED": SKIPPED}
    return [
        Phase(
            meanings.step(task.name).title,
            states.get(task.state, progress.RUNNING),
            task.started_at,
            _took(task.started_at, task.finished_at),
        )
        for task in tasks
        if not task.batch
    ]

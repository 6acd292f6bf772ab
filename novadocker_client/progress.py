# SPDX-License-Identifier: Apache-2.0
"""How far a run has come: its tasks, and by them each host and each of its steps.

A run's own tasks and those of the workflows that they run are enough for that, so a look costs a
request for each of these workflows that is under way, and four more: no more for many hosts than
for one. What had ended at the last look is not asked for again.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from novadocker_client import holds, pages, readable
from novadocker_client.connection import MISTRAL, Cloud
from novadocker_client.errors import asking
from novadocker_client.holds import Hold

PAGE = 100
_ENDED = ("SUCCESS", "ERROR", "CANCELLED", "SKIPPED")
_TASK_FIELDS = ["id", "name", "type", "state", "created_at", "started_at", "finished_at"]
# States of a host, and of a host at a step.
RUNNING, OK, FAILED, SKIPPED = "running", "ok", "failed", "skipped"
# Of a step whose outcome a run did not live to see, and in a row: as a service was away.
UNKNOWN = "unknown"
# The task that puts hosts back that failed.
ROLL_BACK = "roll_back"
# Tasks that have hosts run the steps of the task that runs them: they are told by its name.
_OF_A_RECIPE = ("push", "collect")


@dataclass(frozen=True)
class Doing:
    """Which of the steps of one message a host is at, in its own word.

    :param step: name of the host step
    :param number: its place among them, the first being 1
    :param of: how many they are
    """

    step: str
    number: int
    of: int


@dataclass(frozen=True)
class HostRow:
    """What a task said of a host.

    :param pending: whether it was asked to do something, and its outcome is yet to come
    :param doing: which of the steps that it was asked for it is at, as far as it has told
    """

    host: str
    role: str = ""
    state: str = OK
    reason: str = ""
    rolled_back: bool = False
    pending: bool = False
    doing: Doing | None = None


@dataclass(frozen=True)
class Task:
    """A task of the run, or of a workflow that it runs.

    :param batch: which of the workflows it belongs to: the task that runs it, "" for the run
    :param rows: of the hosts that it is about, as far as it says so
    """

    id: str
    name: str
    kind: str
    state: str
    batch: str = ""
    started_at: datetime.datetime | None = None
    finished_at: datetime.datetime | None = None
    rows: tuple[HostRow, ...] = ()

    @property
    def ended(self) -> bool:
        """Return whether the task's state is final."""
        return self.state in _ENDED


@dataclass(frozen=True)
class Cell:
    """A host at a step.

    :param task_id: the task that did it
    :param reason: of a failure
    :param doing: which part of it is under way, as far as the host has told
    """

    host: str
    step: str
    state: str
    task_id: str = ""
    started_at: datetime.datetime | None = None
    finished_at: datetime.datetime | None = None
    reason: str = ""
    doing: Doing | None = None

    @property
    def ended(self) -> bool:
        """Return whether the step has ended on the host, as far as is known."""
        return self.state != RUNNING


@dataclass(frozen=True)
class HostProgress:
    """How far a host has come.

    :param step: the step that it is at, or was at last
    :param since: since when
    :param doing: which part of the step is under way, as far as the host has told
    """

    host: str
    role: str
    state: str
    step: str = ""
    reason: str = ""
    since: datetime.datetime | None = None
    doing: Doing | None = None


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    :param tasks: in the order in which they were started
    :param settled: tasks of the workflows that had ended, by the task that ran them
    :param ended: whether the run has ended, so that what has no outcome will have none
    :param hold: what it waits for between two batches, None where it does not
    """

    tasks: tuple[Task, ...] = ()
    settled: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    ended: bool = False
    hold: Hold | None = None

    def cells(self) -> Iterator[Cell]:
        """Yield each host at each step that it has come to, once, in the order of the steps.

        A step that several tasks are about has ended when one of them says so of the host.
        """
        cells: dict[tuple[str, str], Cell] = {}
        failed: set[str] = set()
        for task in self.tasks:
            for row in task.rows:
                cell = _cell(task, row, failed)
                if cell is None:
                    continue
                known = cells.get((row.host, task.name))
                if known and known.state == RUNNING:
                    # Who looks for an outcome that is yet to come carries no more than names.
                    doing = cell.doing or (known.doing if cell.state == RUNNING else None)
                    cell = replace(cell, started_at=known.started_at, doing=doing)
                elif known and (known.state == cell.state or (task.ended and not cell.ended)):
                    # Mistral's times are whole seconds: who pushed may come after who collected.
                    continue
                elif known:
                    del cells[row.host, task.name]
                cells[row.host, task.name] = cell
        for cell in cells.values():
            yield replace(cell, state=UNKNOWN) if self.ended and cell.state == RUNNING else cell

    def steps(self) -> list[str]:
        """Return the names of the steps that hosts have come to, each once, in order."""
        return list(dict.fromkeys(cell.step for cell in self.cells()))

    def hosts(self) -> list[HostProgress]:
        """Return the hosts that the run is about so far, in the order in which it came to them."""
        roles = {row.host: row.role for task in self.tasks for row in task.rows}
        hosts: dict[str, HostProgress] = {}
        for cell in self.cells():
            known = hosts.get(cell.host)
            if known and known.state == FAILED:
                continue
            if known and known.state == RUNNING and _is_of_that_second(cell, known.since):
                continue
            hosts[cell.host] = HostProgress(
                cell.host,
                roles[cell.host],
                cell.state,
                cell.step,
                cell.reason,
                cell.finished_at or cell.started_at,
                cell.doing if cell.state == RUNNING else None,
            )
        return [hosts[host] for host in roles if host in hosts]


def _is_of_that_second(cell: Cell, since: datetime.datetime | None) -> bool:
    """Return whether a step that went well began when one did that is under way.

    Mistral's times are whole seconds: what is under way came after it, in whatever order both come.
    """
    return cell.state == OK and cell.started_at == since


def _cell(task: Task, row: HostRow, failed: set[str]) -> Cell | None:
    """Return what a task says of a host, None where it has only been carried along.

    :param failed: the hosts that have failed so far
    """
    if row.state == SKIPPED:
        return None
    state, reason = OK if task.ended and not row.pending else RUNNING, ""
    if row.state == FAILED:
        if row.host in failed and not (row.rolled_back and task.name == ROLL_BACK):
            return None
        if row.host not in failed:
            failed.add(row.host)
            state, reason = FAILED, row.reason
    finished_at = None if state == RUNNING else task.finished_at
    doing = row.doing if state == RUNNING else None
    return Cell(row.host, task.name, state, task.id, task.started_at, finished_at, reason, doing)


def look(cloud: Cloud, run_id: str, *, ended: bool, before: Progress | None = None) -> Progress:
    """Return how far a run has come.

    :param run_id: the run's id
    :param ended: whether it has ended, so that nothing is under way
    :param before: what was returned last
    :raises ClientError: when Mistral does not tell
    """
    reader = _Reader(cloud, run_id)
    settled = dict(before.settled) if before else {}
    below = reader.below()
    hosts = {} if ended else reader.hosts_under_way()
    own = list(reader.tasks(run_id, "", {}))
    tasks = list(own)
    for parent in own:
        # What looks again and again whether the run goes on has nothing to tell of hosts.
        for child in below.get(parent.id, ()) if parent.name != holds.TASK else ():
            key = str(child["id"])
            if key not in settled:
                given = hosts.get(key, ())
                child_tasks = tuple(reader.tasks(key, parent.name, hosts, given))
                if child["state"] not in _ENDED:
                    tasks += child_tasks
                    tasks += reader.recipes_under_way(child_tasks, below)
                    continue
                settled[key] = child_tasks
            tasks += settled[key]
    tasks.sort(key=lambda task: task.started_at or _LATE)
    return Progress(tuple(tasks), settled, ended, reader.hold)


_LATE = datetime.datetime.max.replace(tzinfo=datetime.UTC)


class _Reader:
    """What Mistral has of a run.

    :param run_id: the run's id
    """

    def __init__(self, cloud: Cloud, run_id: str) -> None:
        self._cloud, self._run_id = cloud, run_id
        self.hold: Hold | None = None

    def below(self) -> dict[str, list[dict[str, Any]]]:
        """Return the workflows that the run runs, at whatever depth, by the task that runs them."""
        children: dict[str, list[dict[str, Any]]] = {}
        for item in self._executions(["id", "state", "task_execution_id", "created_at"]):
            children.setdefault(str(item.get("task_execution_id")), []).append(item)
        return children

    def hosts_under_way(self) -> dict[str, tuple[HostRow, ...]]:
        """Return the hosts that are worked on, by the workflow and by the task that runs it.

        What the run waits for instead is kept.
        """
        hosts: dict[str, tuple[HostRow, ...]] = {}
        fields = ["id", "task_execution_id", "input"]
        for item in self._executions(fields, state="RUNNING"):
            self.hold = holds.read(item.get("input")) or self.hold
            rows = host_rows(readable.mapping(item.get("input")).get("rows"))
            hosts[str(item["id"])] = hosts[str(item.get("task_execution_id"))] = rows
        return hosts

    def recipes_under_way(
        self, tasks: Sequence[Task], below: Mapping[str, list[dict[str, Any]]]
    ) -> Iterator[Task]:
        """Yield what has ended of the workflows that tasks of a batch run now: how far hosts are.

        :param tasks: of the batch's workflow
        :param below: workflows by the task that runs them
        """
        for task in tasks:
            for child in below.get(task.id, ()) if not task.ended else ():
                if child["state"] not in _ENDED:
                    of_recipe = self.tasks(str(child["id"]), task.name, {})
                    yield from (item for item in of_recipe if item.ended and item.rows)

    def tasks(
        self,
        execution_id: str,
        batch: str,
        under_way: Mapping[str, tuple[HostRow, ...]],
        given: Sequence[HostRow] = (),
    ) -> Iterator[Task]:
        """Yield the tasks of a workflow's execution.

        :param batch: the task that runs it
        :param under_way: hosts that are worked on, by the task that has them worked on
        :param given: hosts that the workflow was begun with
        """
        marker = ""
        while True:
            with asking(MISTRAL, f"show the tasks of {execution_id}"):
                page = self._cloud.mistral.tasks.list(
                    workflow_execution_id=execution_id,
                    marker=marker,
                    limit=PAGE,
                    sort_keys="created_at",
                    fields=[*_TASK_FIELDS, "published"],
                )
            for item in page:
                yield _task(item.to_dict(), batch, under_way, given)
            if len(page) < PAGE:
                return
            marker = page[-1].id

    def _executions(self, fields: list[str], **filters: str) -> Iterator[dict[str, Any]]:
        marker = ""
        while True:
            with asking(MISTRAL, f"show what the run {self._run_id} runs"):
                page = self._cloud.mistral.executions.list(
                    marker=marker,
                    limit=PAGE,
                    sort_keys="created_at",
                    fields=fields,
                    root_execution_id=self._run_id,
                    **filters,
                )
            for item in page:
                yield item.to_dict()
            if len(page) < PAGE:
                return
            marker = page[-1].id


def _task(
    record: Mapping[str, Any],
    batch: str,
    under_way: Mapping[str, tuple[HostRow, ...]],
    given: Sequence[HostRow],
) -> Task:
    state, kind = str(record.get("state") or ""), str(record.get("type") or "")
    rows: tuple[HostRow, ...]
    if not batch and kind == "WORKFLOW":
        # Its own tasks tell of its hosts.
        rows = ()
    elif state in _ENDED:
        rows = host_rows(_rows_in(readable.mapping(record.get("published"))))
    else:
        rows = under_way.get(str(record["id"])) or tuple(row for row in given if row.state == OK)
    name = str(record.get("name") or "")
    return Task(
        id=str(record["id"]),
        name=batch if batch and name in _OF_A_RECIPE else name,
        kind=kind,
        state=state,
        batch=batch,
        started_at=moment(record.get("started_at") or record.get("created_at")),
        finished_at=moment(record.get("finished_at")),
        rows=rows,
    )


def _rows_in(published: Mapping[str, Any]) -> Any:
    batch = published.get("batch")
    return batch.get("rows") if isinstance(batch, Mapping) else published.get("rows")


def host_rows(rows: Any) -> tuple[HostRow, ...]:
    """Return what a workflow's rows say of hosts; what is no row is left out.

    :param rows: as they are, or packed; what names the page that they are in has none
    """
    rows = pages.unpack(rows)
    return tuple(
        HostRow(
            host=str(row["host"]),
            role=str(row.get("role") or ""),
            state=FAILED if row.get("state") == UNKNOWN else str(row.get("state") or OK),
            reason=str(row.get("reason") or ""),
            rolled_back=row.get("rolled_back") is True,
            pending=bool(row.get("pending")),
            doing=_doing(row.get("pending")),
        )
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, Mapping) and row.get("host")
    )


def _doing(pending: Any) -> Doing | None:
    steps = pending.get("steps") if isinstance(pending, Mapping) else None
    number = pending.get("at") if isinstance(pending, Mapping) else None
    if not isinstance(steps, list) or not isinstance(number, int) or not 0 < number <= len(steps):
        return None
    return Doing(str(steps[number - 1]), number, len(steps))


def moment(text: Any) -> datetime.datetime | None:
    """Return a time that Mistral tells, which is UTC without saying so; None where it has none."""
    if not text:
        return None
    try:
        told = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return told if told.tzinfo else told.replace(tzinfo=datetime.UTC)

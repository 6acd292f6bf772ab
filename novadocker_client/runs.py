# SPDX-License-Identifier: Apache-2.0
"""Runs: executions of the public workflows. They are started, listed, read, awaited and stopped."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from novadocker_client import ended, holds, meanings, pages, progress, readable, reports, signals
from novadocker_client.connection import MISTRAL, Cloud
from novadocker_client.errors import BadInput, NotFound, Unavailable, asking
from novadocker_client.holds import Hold
from novadocker_client.lost_tasks import LostTasks
from novadocker_client.progress import Progress
from novadocker_client.reports import Report

RUNNING, PAUSED, SUCCESS, ERROR, CANCELLED = "RUNNING", "PAUSED", "SUCCESS", "ERROR", "CANCELLED"
ENDED = (SUCCESS, ERROR, CANCELLED)
STOPPED = "stopped"
# Mistral's API cuts lists to 1,000, or to fewer where it is told so.
PAGE = 100
POLL_S = 2.0
# A run whose tasks nobody wants to see is looked at so often, for those that Mistral has lost.
LOOK_S = 20.0
# So long Mistral may be away while a run is awaited; the run goes on without its API.
PATIENCE_S = 300.0
_LIGHT = (
    *("workflow_name", "state", "state_info", "description", "created_at", "updated_at"),
    *("task_execution_id", "project_id"),
)


class TimedOut(Exception):
    """A run did not end in time. It goes on."""


@dataclass(frozen=True)
class Run:
    """A run as it was when it was read.

    :param workflow: name without the workbook's
    :param state: Mistral's
    :param state_info: Mistral's reason for it
    :param created_at: when it began
    :param updated_at: when its state changed last
    :param inputs: what was given
    :param hold: what it waits for between two batches, where that was asked for
    :param kept: whether its execution is gone from Mistral, and this is what was kept of it
    """

    id: str
    workflow: str
    state: str
    state_info: str = ""
    description: str = ""
    created_at: datetime.datetime | None = None
    updated_at: datetime.datetime | None = None
    project_id: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    hold: Hold | None = None
    kept: bool = False

    @property
    def ended(self) -> bool:
        """Return whether the run's state is final."""
        return self.state in ENDED

    @property
    def report(self) -> Report:
        """Return the run's report, an empty one while it has none."""
        return reports.read(self.output.get("report"))

    @property
    def outcome(self) -> str:
        """Return what became of the run: one of ``meanings.OUTCOMES``."""
        if self.state == CANCELLED:
            return STOPPED
        if not self.ended:
            going = "waiting" if self.hold else "running"
            return "paused" if self.state == PAUSED else going
        told = self.report.state
        if self.state == ERROR:
            # What did not succeed is never told as if it had.
            return told if told in ("refused", "drift", "findings", STOPPED) else "failed"
        return told if told in meanings.OUTCOMES else "done"

    @property
    def message(self) -> str:
        """Return what the run says of itself; of one that broke, at least Mistral's reason."""
        told = self.hold.sentence(self.id) if self.hold else str(self.output.get("message") or "")
        if self.state == CANCELLED or not told:
            return self.state_info or told
        return told

    @property
    def url(self) -> str:
        """Return where the run can be seen, as it says itself."""
        return str(self.output.get("url") or "")


class Runs:
    """The runs of a cloud.

    :param cloud: as the user sees it
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def start(
        self, workflow: str, inputs: Mapping[str, Any] | None = None, *, description: str = ""
    ) -> Run:
        """Begin a run and return it.

        :param workflow: name without the workbook's
        :param inputs: by name; those that are left out have their defaults
        :param description: why, or by whom; it is shown with the run
        :raises BadInput: when the workflow takes no such input
        :raises ClientError: when Mistral does not begin it
        """
        given = dict(inputs or {})
        require_inputs(workflow, given)
        with asking(MISTRAL, f"start {workflow}"):
            record = self._cloud.mistral.executions.create(
                _full(workflow), workflow_input=given, description=description
            )
        return _run(record.to_dict())

    def get(self, run_id: str) -> Run:
        """Return a run with its inputs and its output, or what is kept of it after its execution.

        :raises NotFound: when there is none of this id
        """
        return self._whole(self._begun(run_id))

    def _begun(self, run_id: str) -> Run:
        try:
            with asking(MISTRAL, f"show the run {run_id}"):
                return _run(self._cloud.mistral.executions.get(run_id).to_dict())
        except NotFound:
            record = ended.find(self._cloud, run_id)
            if record is None:
                raise
            return _run(record, kept=True)

    def _whole(self, run: Run) -> Run:
        """Return a run with its report assembled, where that is in pages."""
        told = run.output.get("report")
        names = reports.page_names(told)
        if not isinstance(told, Mapping) or not names:
            return run
        try:
            parts = [part for name in names for part in pages.read(self._cloud, name)]
        except NotFound as err:
            data = reports.noted(told, f"This is the beginning of the report: {err}")
        else:
            data = reports.assembled(told, parts)
        return replace(run, output={**run.output, "report": data})

    def list(
        self,
        *,
        limit: int = 20,
        workflow: str = "",
        all_projects: bool = False,
        outputs: bool = True,
        marker: str = "",
    ) -> list[Run]:
        """Return runs, the newest first; what a workflow runs within itself is none.

        Those whose executions are gone from Mistral are among them as far as they are kept, which
        is in the user's own project.

        :param limit: how many at most
        :param workflow: only runs of this one
        :param all_projects: whether those of other projects, too, which is an administrator's right
        :param outputs: whether with their messages and reports, which may be large
        :param marker: id of the run after which to begin
        """
        names = [*map(_full, [workflow] if workflow else meanings.WORKFLOWS)]
        kept = [_run(row, kept=True) for row in ended.listed(self._cloud, names)]
        filters = {"workflow_name": f"in:{','.join(names)}", "nulls": "task_execution_id"}
        if all_projects:
            filters["all_projects"] = "true"
        before = next((run for run in kept if run.id == marker), None)
        fields = ["id", *_LIGHT, "input", *(["output"] if outputs else [])]
        try:
            listed = self._executions(fields, limit, marker=marker, **filters)
        except NotFound:
            if before is None:
                raise
            listed = self._after_kept(before, fields, limit, filters)
        if marker:
            before = before or self._begun(marker)
            kept = [run for run in kept if _follows(run, before)]
        if len(listed) == limit:
            kept = [run for run in kept if not _follows(run, listed[-1])]
        known = {run.id for run in listed}
        gone = [run for run in kept if run.id not in known]
        # As Mistral's order is: of those that began in the same second, by their ids.
        ordered = sorted([*listed, *gone], key=lambda run: run.id)
        return sorted(ordered, key=_age, reverse=True)[:limit]

    def _after_kept(
        self, before: Run, fields: Sequence[str], limit: int, filters: Mapping[str, str]
    ) -> Sequence[Run]:
        """Return the executions that come after a run which has none any more."""
        listed: list[Run] = []
        marker, begun = "", f"lte:{before.created_at:%Y-%m-%d %H:%M:%S}"
        while len(listed) < limit:
            page = self._executions(fields, limit, marker=marker, created_at=begun, **filters)
            listed += [run for run in page if _follows(run, before)]
            if len(page) < limit:
                break
            marker = page[-1].id
        return listed[:limit]

    def _executions(self, fields: Sequence[str], limit: int, **filters: str) -> Sequence[Run]:
        with asking(MISTRAL, "list runs"):
            records = self._cloud.mistral.executions.list(
                limit=limit, sort_keys="created_at", sort_dirs="desc", fields=fields, **filters
            )
        return [_run(record.to_dict()) for record in records]

    def progress(self, run_id: str, before: Progress | None = None) -> Progress:
        """Return how far a run has come, host by host and step by step.

        :param before: what was returned last: what had ended then is not asked for again
        """
        return progress_of(self._cloud, self.get(run_id), before)

    def ask_to_stop(self, run_id: str) -> Run:
        """Ask a run to end when the recipe that its hosts run has ended, and return it.

        It begins no further batch then, puts what is under way in order, takes back what was staged
        for others, and reports what is left. One that changes no hosts is ended at once.

        :raises BadInput: when it has ended, or is another project's, where it would not hear it
        """
        run = self._not_ended(run_id)
        workflow = meanings.WORKFLOWS.get(run.workflow)
        if workflow is None or not workflow.changes:
            return self.stop(run_id)
        with asking(MISTRAL, f"ask the run {run_id} to stop"):
            mistral = self._cloud.mistral
            signals.give(mistral, f"{signals.STOP}{run_id}", run_id, run.project_id)
            if run.state == PAUSED:
                mistral.executions.update(run_id, RUNNING)
        return self.get(run_id)

    def approve(self, run_id: str, batch: int | None = None) -> Run:
        """Let a run go on that waits before a batch, and return it. It goes on within a minute.

        :param batch: number of the batch that is meant, None for the one that it waits before
        :raises BadInput: when it waits for nothing, or before another batch, has ended, or is
            another project's
        """
        run = self.waiting(self._not_ended(run_id))
        if run.hold is None or batch not in (None, run.hold.batch):
            waits = f"waits before batch {run.hold.batch}" if run.hold else "waits for no approval"
            raise BadInput(
                "run",
                f"{run_id} is {run.outcome}, and {waits}.",
                "`openstack docker run watch` tells what a run waits for.",
            )
        with asking(MISTRAL, f"approve the next batch of {run_id}"):
            name = f"{signals.APPROVE}{run_id}-{run.hold.batch}"
            signals.give(self._cloud.mistral, name, run_id, run.project_id)
        return run

    def waiting(self, run: Run) -> Run:
        """Return a run with what it waits for between two batches, where it does."""
        if run.state != RUNNING:
            return run
        return replace(run, hold=self._holds(root_execution_id=run.id).get(run.id))

    def with_waits(self, listed: Sequence[Run], *, all_projects: bool = False) -> Sequence[Run]:
        """Return runs with what they wait for; it is asked for once, where any is under way.

        :param all_projects: whether there are those of other projects among them
        """
        if not any(run.state == RUNNING for run in listed):
            return listed
        waits = self._holds(**({"all_projects": "true"} if all_projects else {}))
        return [replace(run, hold=waits.get(run.id)) for run in listed]

    def _holds(self, **filters: str) -> dict[str, Hold]:
        """Return what runs wait for, by run."""
        with asking(MISTRAL, "show what runs wait for"):
            waits = self._cloud.mistral.executions.list(
                fields=["id", "root_execution_id", "input"],
                workflow_name=holds.WORKFLOW,
                state=RUNNING,
                limit=PAGE,
                **filters,
            )
        known = {}
        for item in (record.to_dict() for record in waits):
            hold = holds.read(item.get("input"))
            if hold:
                known[str(item.get("root_execution_id"))] = hold
        return known

    def _not_ended(self, run_id: str) -> Run:
        run = self.get(run_id)
        if run.ended:
            raise BadInput(
                "run", f"{run_id} has ended already ({run.outcome}).", "There is nothing to stop."
            )
        return run

    def stop(self, run_id: str) -> Run:
        """End a run where it is. Its hosts stay as they are, some of them out of service.

        :raises BadInput: when it has ended
        """
        self._not_ended(run_id)
        with asking(MISTRAL, f"stop the run {run_id}"):
            self._cloud.mistral.executions.update(run_id, CANCELLED)
        return self.get(run_id)

    def wait(
        self,
        run_id: str,
        *,
        timeout_s: float | None = None,
        on_progress: Callable[[Run, Progress], None] | None = None,
        on_fault: Callable[[Unavailable], None] | None = None,
    ) -> Run:
        """Return a run when it has ended; begin tasks of it that Mistral has lost.

        :param timeout_s: how long to wait; None for as long as it takes
        :param on_progress: called with the run and its progress each time they were read
        :param on_fault: called each time that Mistral did not answer
        :raises TimedOut: when it has not ended by then
        :raises Unavailable: when Mistral did not answer for some minutes
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        for run in self._looks(run_id, on_progress, on_fault):
            if run.ended:
                return run
            if until is not None and time.monotonic() > until:
                raise TimedOut(
                    f"The run {run_id} is {run.outcome} after {timeout_s:g} s, and goes on;"
                    f" tasks under way: {self._under_way(run_id) or 'none'}."
                )
        raise AssertionError("it is looked at until it has ended")

    def _under_way(self, run_id: str) -> str:
        tasks = progress.look(self._cloud, run_id, ended=False).tasks
        return ", ".join(dict.fromkeys(task.name for task in tasks if not task.ended))

    def _looks(
        self,
        run_id: str,
        on_progress: Callable[[Run, Progress], None] | None,
        on_fault: Callable[[Unavailable], None] | None,
    ) -> Iterator[Run]:
        before: Progress | None = None
        answered = looked = time.monotonic()
        lost = LostTasks(self._cloud, run_id)
        while True:
            try:
                run = self.get(run_id)
                if on_progress or (not run.ended and time.monotonic() - looked > LOOK_S):
                    before = progress_of(self._cloud, run, before)
                    looked = time.monotonic()
                    run = replace(run, hold=before.hold if run.state == RUNNING else None)
                    if on_progress:
                        on_progress(run, before)
                    if not run.ended:
                        lost.go_on(run.state, before.tasks)
            except Unavailable as err:
                if time.monotonic() - answered > PATIENCE_S:
                    raise
                if on_fault:
                    on_fault(err)
            else:
                answered = time.monotonic()
                yield run
            # Mistral tells nobody when a run ends; there is only asking.
            time.sleep(POLL_S)


def require_inputs(workflow: str, given: Mapping[str, Any]) -> None:
    """Require that a workflow takes these inputs.

    :param workflow: name without the workbook's
    :param given: inputs by name
    :raises BadInput: naming the first that it does not take
    """
    if workflow not in meanings.WORKFLOWS:
        raise BadInput(
            "workflow",
            f"there is no {workflow!r}.",
            f"There are: {', '.join(meanings.WORKFLOWS)}.",
        )
    taken = meanings.WORKFLOWS[workflow].inputs
    for name in given:
        if name not in taken:
            raise BadInput(
                name, f"{workflow} takes no such input.", f"It takes: {', '.join(sorted(taken))}."
            )


def _full(workflow: str) -> str:
    return f"{meanings.WORKBOOK}.{workflow}"


def _age(run: Run) -> str:
    return f"{run.created_at or ''}"


def _follows(run: Run, other: Run) -> bool:
    return (_age(run), other.id) < (_age(other), run.id)


def progress_of(cloud: Cloud, run: Run, before: Progress | None = None) -> Progress:
    """Return how far a run has come; of one whose execution is gone that is not known any more.

    :param before: what was returned last: what had ended then is not asked for again
    """
    if run.kept:
        return Progress(ended=True)
    return progress.look(cloud, run.id, ended=run.ended, before=before)


def _run(record: Mapping[str, Any], *, kept: bool = False) -> Run:
    return Run(
        id=str(record["id"]),
        workflow=str(record.get("workflow_name") or "").removeprefix(f"{meanings.WORKBOOK}."),
        state=str(record.get("state") or ""),
        state_info=str(record.get("state_info") or ""),
        description=str(record.get("description") or ""),
        created_at=progress.moment(record.get("created_at")),
        updated_at=progress.moment(record.get("updated_at")),
        project_id=str(record.get("project_id") or ""),
        inputs=readable.mapping(record.get("input")),
        output=readable.mapping(record.get("output")),
        kept=kept,
    )

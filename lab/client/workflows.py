# SPDX-License-Identifier: Apache-2.0
"""Runs of workflows on the lab's Mistral: start, watch, wait."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from openstack.connection import Connection

from lab.errors import LabError

ENDED = ("SUCCESS", "ERROR", "CANCELLED")
POLL_S = 1.0


class WorkflowTimeout(LabError):
    """A workflow did not end in time."""


@dataclasses.dataclass(frozen=True)
class Execution:
    """A workflow execution as it was when it was read."""

    id: str
    workflow: str
    state: str
    state_info: str
    output: dict[str, Any]

    @property
    def ended(self) -> bool:
        """Whether its state is final."""
        return self.state in ENDED

    @property
    def message(self) -> str:
        """What the run says of itself; of a failed run at least Mistral's reason."""
        return str(self.output.get("message") or self.output.get("result") or self.state_info)

    @property
    def report(self) -> dict[str, Any]:
        """The report of the run; empty when it has none."""
        report = self.output.get("report")
        return report if isinstance(report, dict) else {}


@dataclasses.dataclass(frozen=True)
class Task:
    """A task execution of a workflow or of one of its sub-workflows.

    :param kind: ``ACTION`` or ``WORKFLOW``
    :param depth: 0 for the workflow's own tasks, 1 for those of its sub-workflows, ...
    """

    id: str
    name: str
    workflow: str
    kind: str
    state: str
    depth: int


def start(cloud: Connection, workflow: str, inputs: Mapping[str, Any] | None = None) -> Execution:
    """Start a workflow.

    :raises lab.errors.LabError: with Mistral's message when it refuses the inputs
    """
    answer = cloud.workflow.post(
        "/executions", json={"workflow_name": workflow, "input": json.dumps(dict(inputs or {}))}
    )
    if answer.status_code >= 400:
        raise LabError(f"{workflow} was refused: {_fault(answer)}")
    return _execution(answer.json())


def get(cloud: Connection, execution_id: str) -> Execution:
    """Read an execution."""
    return _execution(_get(cloud, f"/executions/{execution_id}"))


class TaskTree:
    """The tasks of an execution and of its sub-workflows, in the order of their start.

    :param execution_id: the execution
    """

    def __init__(self, cloud: Connection, execution_id: str) -> None:
        self._cloud = cloud
        self._execution_id = execution_id
        # What has ended is not read again: the machine has better things to do.
        self._ended: dict[str, list[Task]] = {}

    def read(self) -> list[Task]:
        """Return the tasks as they are now."""
        return self._tasks(self._execution_id, 0)

    def _tasks(self, execution_id: str, depth: int) -> list[Task]:
        records = _listed(self._cloud, "tasks", workflow_execution_id=execution_id)
        tasks = []
        for record in records:
            task = _task(record, depth)
            tasks.append(task)
            if task.kind == "WORKFLOW":
                tasks += self._children(task)
        return tasks

    def _children(self, task: Task) -> list[Task]:
        if task.id in self._ended:
            return self._ended[task.id]
        tasks = []
        for child in _listed(self._cloud, "executions", task_execution_id=task.id):
            tasks += self._tasks(child["id"], task.depth + 1)
        if task.state in ENDED:
            self._ended[task.id] = tasks
        return tasks


def published(cloud: Connection, task: Task) -> dict[str, Any]:
    """Read what a task has published."""
    return _json(_get(cloud, f"/tasks/{task.id}").get("published"))


def wait(
    cloud: Connection,
    execution_id: str,
    *,
    timeout_s: float = 900,
    on_tasks: Callable[[list[Task]], None] | None = None,
) -> Execution:
    """Return the execution when it has ended.

    :param timeout_s: seconds after which to give up
    :param on_tasks: called with all tasks each time they were read
    :raises WorkflowTimeout: naming the tasks that still run
    """
    deadline = time.monotonic() + timeout_s
    tree = TaskTree(cloud, execution_id)
    while True:
        execution = get(cloud, execution_id)
        if on_tasks:
            on_tasks(tree.read())
        if execution.ended:
            return execution
        if time.monotonic() > deadline:
            running = [task.name for task in tree.read() if task.state == "RUNNING"]
            raise WorkflowTimeout(
                f"{execution.workflow} {execution_id} is {execution.state} after {timeout_s:g} s;"
                f" running tasks: {', '.join(running) or 'none'}"
            )
        time.sleep(POLL_S)


def _execution(record: Mapping[str, Any]) -> Execution:
    return Execution(
        id=record["id"],
        workflow=record["workflow_name"],
        state=record["state"],
        state_info=record.get("state_info") or "",
        output=_json(record.get("output")),
    )


def _task(record: Mapping[str, Any], depth: int) -> Task:
    return Task(
        id=record["id"],
        name=record["name"],
        workflow=record["workflow_name"],
        kind=record.get("type") or "",
        state=record["state"],
        depth=depth,
    )


def _get(cloud: Connection, path: str, **query: str) -> dict[str, Any]:
    # An API that restarts is back in a moment; reading again does no harm.
    answer = cloud.workflow.get(path, params=query, connect_retries=5)
    if answer.status_code >= 400:
        raise LabError(f"Mistral does not show {path}: {_fault(answer)}")
    return dict(answer.json())


def _listed(cloud: Connection, collection: str, **query: str) -> list[dict[str, Any]]:
    fields = {"tasks": "name,workflow_name,type,state,created_at", "executions": "created_at"}
    page = _get(cloud, f"/{collection}", sort_keys="created_at", fields=fields[collection], **query)
    return list(page[collection])


def _json(text: str | None) -> dict[str, Any]:
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}


def _fault(answer: Any) -> str:
    try:
        body = answer.json()
    except ValueError:
        return str(answer.text)
    return str(body.get("faultstring") or body)

# SPDX-License-Identifier: Apache-2.0
"""A page for each public workflow of the workbooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from novadocker_reference import rst

TRANSITIONS = ("on-success", "on-error", "on-complete")
# What the outputs of our workflows are; another output is shown as its expression.
OUTPUTS = {
    "message": "What was done, or why it was not, in one sentence that ends with the URL.",
    "url": "Where the run can be seen.",
    "report": "State, totals, a row for each host, the images, the digest of the plan.",
}


def pages(workbooks: Path, accepted: Mapping[str, str]) -> dict[str, str]:
    """Return the pages by name.

    :param workbooks: the directory of the workbooks
    :param accepted: what an input takes, by its name
    :raises ValueError: when it holds no public workflow
    """
    pages_by_name = {}
    for path in sorted(workbooks.glob("*.yaml")):
        book = yaml.safe_load(path.read_text())
        for name in book["workflows"]:
            if not name.startswith("_"):
                pages_by_name[f"{book['name']}.{name}"] = workflow_page(book, name, accepted)
    if not pages_by_name:
        raise ValueError(f"no workflow in {workbooks}")
    return pages_by_name


def workflow_page(book: dict[str, Any], name: str, accepted: Mapping[str, str]) -> str:
    """Return the page of one workflow of a workbook."""
    full_name = f"{book['name']}.{name}"
    workflow = book["workflows"][name]
    return rst.page(
        f".. _workflow-{full_name}:\n",
        rst.title(full_name),
        rst.prose(workflow.get("description")) + "\n",
        rst.code(f"openstack workflow execution create {full_name} '{{}}'", "console"),
        rst.title("Inputs", "-"),
        rst.table(
            ("Input", "Default", "What it takes"),
            [
                (f"``{key}``", rst.literal(value), rst.prose(accepted.get(key)))
                for key, value in inputs(workflow)
            ],
        ),
        rst.title("Outputs", "-"),
        rst.table(("Output", "What it holds"), _outputs(workflow)),
        rst.title("Tasks", "-"),
        "In the order of the workbook. A workflow that begins with ``_`` is private: its tasks\n"
        "are listed below.\n",
        task_table(book, workflow),
        *_private(book, workflow),
    )


def inputs(workflow: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the inputs with their defaults."""
    for entry in workflow.get("input") or []:
        if isinstance(entry, dict):
            yield from entry.items()
        else:
            yield entry, rst.NOTHING


def task_table(book: dict[str, Any], workflow: dict[str, Any]) -> str:
    """Return the table of a workflow's tasks."""
    rows = []
    for name, task in workflow["tasks"].items():
        rows.append((f"``{name}``", _runs(book, task), _next(task)))
    return rst.table(("Task", "Runs", "Then"), rows)


def _runs(book: dict[str, Any], task: dict[str, Any]) -> str:
    """Return what a task calls: an action, a workflow, or a workflow that is told an action."""
    call = str(task.get("action") or task.get("workflow") or "std.noop")
    # Without expressions a call may hold its parameters, too.
    called = [call if call.startswith("<%") else call.split()[0]]
    told = task.get("input")
    if isinstance(told, dict) and "action" in told:
        called.append(str(told["action"]))
    return " ".join(
        f":ref:`{name} <action-{name}>`"
        if name.startswith(f"{book['name']}.")
        else rst.literal(name)
        for name in called
    )


def _outputs(workflow: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"``{key}``", OUTPUTS.get(key) or rst.literal(value))
        for key, value in (workflow.get("output") or {}).items()
    ]


def _next(task: dict[str, Any]) -> str:
    parts = []
    for transition in TRANSITIONS:
        # `fail(msg=...)` is the engine's command, whatever its message.
        names = [name.partition("(")[0] for name in _names(task.get(transition))]
        if names:
            parts.append(f"{transition}: " + ", ".join(f"``{name}``" for name in names))
    return "; ".join(parts)


def _names(transition: Any) -> Iterator[str]:
    """Yield the names in a transition, in any of the forms that Mistral takes."""
    if isinstance(transition, str):
        yield transition
    elif isinstance(transition, list):
        for entry in transition:
            yield from _names(entry)
    elif isinstance(transition, dict):
        yield from (
            _names(transition["next"])
            if "next" in transition
            else (key for key in transition if key != "publish")
        )


def _private(book: dict[str, Any], workflow: dict[str, Any]) -> Iterator[str]:
    """Yield the sections of the private workflows that this one runs, each once."""
    siblings = book["workflows"]
    seen: set[str] = set()
    waiting = [workflow]
    while waiting:
        for task in waiting.pop(0)["tasks"].values():
            called = str(task.get("workflow", "")).split()
            name = called[0] if called else ""
            if name.startswith("_") and name in siblings and name not in seen:
                seen.add(name)
                waiting.append(siblings[name])
                yield rst.title(name, "-")
                yield rst.prose(siblings[name].get("description")) + "\n"
                yield task_table(book, siblings[name])

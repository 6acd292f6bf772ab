# SPDX-License-Identifier: Apache-2.0
"""A page for each public workflow of the workbooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from novadocker_reference import rst

TRANSITIONS = ("on-success", "on-error", "on-complete")


def pages(workbooks: Path, accepted: Mapping[str, str]) -> dict[str, str]:
    """Return the pages by name.

    :param workbooks: the directory of the workbooks
    :param accepted: what an input takes, by its name
    :raises ValueError: when it holds no public workflow
    """
    found = {}
    for path in sorted(workbooks.glob("*.yaml")):
        book = yaml.safe_load(path.read_text())
        for name, workflow in book["workflows"].items():
            if not name.startswith("_"):
                full_name = f"{book['name']}.{name}"
                found[full_name] = workflow_page(full_name, workflow, book["workflows"], accepted)
    if not found:
        raise ValueError(f"no workflow in {workbooks}")
    return found


def workflow_page(
    name: str, workflow: dict[str, Any], siblings: dict[str, Any], accepted: Mapping[str, str]
) -> str:
    """Return the page of one workflow."""
    return rst.page(
        f".. _workflow-{name}:\n",
        rst.title(name),
        rst.prose(workflow.get("description")) + "\n",
        rst.code(f"openstack workflow execution create {name} '{{}}'", "console"),
        rst.title("Inputs", "-"),
        rst.table(
            ("Input", "Default", "What it takes"),
            [
                (f"``{key}``", rst.literal(value), rst.prose(accepted.get(key)))
                for key, value in inputs(workflow)
            ],
        ),
        rst.title("Outputs", "-"),
        rst.table(("Output", "Value"), _outputs(workflow)),
        rst.title("Tasks", "-"),
        "In the order of the workbook. A workflow that begins with ``_`` is private: its tasks\n"
        "are listed below.\n",
        task_table(workflow),
        *_private(workflow, siblings),
    )


def inputs(workflow: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the inputs with their defaults."""
    for entry in workflow.get("input") or []:
        if isinstance(entry, dict):
            yield from entry.items()
        else:
            yield entry, rst.NOTHING


def task_table(workflow: dict[str, Any]) -> str:
    """Return the table of a workflow's tasks."""
    rows = []
    for name, task in workflow["tasks"].items():
        does = task.get("action") or task.get("workflow") or "std.noop"
        rows.append(
            (
                f"``{name}``",
                rst.literal(does.split()[0]),
                rst.prose(task.get("description")),
                _next(task),
            )
        )
    return rst.table(("Task", "Runs", "What for", "Then"), rows)


def _outputs(workflow: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"``{key}``", rst.literal(value)) for key, value in (workflow.get("output") or {}).items()
    ]


def _next(task: dict[str, Any]) -> str:
    parts = []
    for transition in TRANSITIONS:
        names = list(_names(task.get(transition)))
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


def _private(workflow: dict[str, Any], siblings: dict[str, Any]) -> Iterator[str]:
    """Yield the sections of the private workflows that this one runs, each once."""
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
                yield task_table(siblings[name])

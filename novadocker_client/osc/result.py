# SPDX-License-Identifier: Apache-2.0
"""A run as a command shows it at the end: its fields, its report, its report as a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from novadocker_client import meanings
from novadocker_client.errors import BadInput
from novadocker_client.osc import base
from novadocker_client.osc.base import plain
from novadocker_client.reports import COLUMNS, Report, junit, page
from novadocker_client.runs import Run


def _json(run: Run) -> str:
    return run.report.to_json()


def _junit(run: Run) -> str:
    return junit.write(run.report, f"{meanings.WORKBOOK}.{run.workflow}", run.message)


def _page(run: Run) -> str:
    return page.write(run.report, f"{meanings.WORKBOOK}.{run.workflow} {run.id}", run.message)


WRITERS: Mapping[str, Callable[[Run], str]] = {
    ".json": _json,
    ".xml": _junit,
    ".html": _page,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option that writes the report to a file."""
    parser.add_argument(
        "--report",
        metavar="FILE",
        type=Path,
        help="Write the run's report there, as JSON, JUnit's XML or a page: .json, .xml or .html.",
    )


def require_writable(path: Path | None) -> None:
    """Require that a report can be written there, before a run is begun for it.

    :raises BadInput: when its name says no kind, or there is no such folder
    """
    if path is None:
        return
    if path.suffix not in WRITERS:
        raise BadInput(
            "--report", f"{path} is of no known kind.", f"It ends with {', '.join(WRITERS)}."
        )
    if not path.parent.is_dir():
        raise BadInput("--report", f"There is no folder {path.parent}.", "Make it.")


def write(run: Run, path: Path | None) -> None:
    """Write a run's report to a file, where one was asked for.

    :raises BadInput: when it cannot be written
    """
    if path is None:
        return
    if not run.report.data:
        base.tell(f"The run {run.id} has no report: {path} is not written.")
        return
    try:
        path.write_text(WRITERS[path.suffix](run), encoding="utf-8")
    except OSError as err:
        raise BadInput("--report", f"{err}.", "Give another file.") from err


def show(report: Report, out: TextIO) -> None:
    """Print a report's hosts and images as tables.

    :param out: where to
    """
    console = Console(file=out, width=None if out.isatty() else base.WIDTH, highlight=False)
    for table in tables(report):
        console.print(table)


def tables(report: Report) -> list[Table]:
    """Return a report's hosts and images as tables, without those that would be empty."""
    findings = _table(("Finding", "Hosts"), [*report.findings])
    hosts = _table(COLUMNS, [row.cells for row in report.rows])
    images = _table(
        ("Image", "In Glance", "Reason"),
        [
            (
                str(image.get("reference") or ""),
                "no" if image.get("ok") is False else "yes",
                str(image.get("reason") or ""),
            )
            for image in report.images
        ],
    )
    return [table for table in (findings, hosts, images) if table.row_count]


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Nothing in them is markup, whatever a host has said.
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


def fields(run: Run, *, formatter: str, full: bool) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return what a command shows of a run.

    :param formatter: what prints it; a machine gets the report as one of the fields
    :param full: whether with its inputs and its report
    """
    shown: dict[str, Any] = {
        "id": run.id,
        "workflow": run.workflow,
        "state": run.outcome,
        "message": run.message,
        "url": run.url,
        "description": run.description,
        "started_at": base.local(run.created_at),
        "updated_at": base.local(run.updated_at),
    }
    if formatter in ("json", "yaml"):
        shown["inputs"] = dict(run.inputs)
        shown["report"] = dict(run.report.data)
        return tuple(shown), tuple(shown.values())
    if full:
        shown["inputs"] = ", ".join(f"{name}={value!r}" for name, value in run.inputs.items())
    shown = {name: plain(value) for name, value in shown.items()}
    return tuple(shown), tuple(shown.values())

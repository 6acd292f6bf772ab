# SPDX-License-Identifier: Apache-2.0
"""A report as one HTML page that asks nothing of anybody: no script, no picture, no other file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from novadocker_client.reports import COLUMNS, Report

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; width: 100% }
caption { font-weight: bold; text-align: left; padding: .3rem 0 }
th, td { border: 1px solid #bbb; padding: .3rem .6rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere }
th { background: #eee }
.failed td, .state-failed, .state-refused, .state-drift { background: #fbe3e4 }
.skipped td, .state-partial { background: #fff6d6 }
"""
# Only what stands in it may have an effect, whatever a host has put into its words.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write(report: Report, title: str, message: str = "") -> str:
    """Return the report as a page.

    :param report: of a run
    :param title: such as ``novadocker.deploy 1234``
    :param message: the run's own sentence
    """
    totals = ", ".join(f"{count} {name}" for name, count in report.totals.items())
    facts = [
        ("Selected", report.rule),
        ("Hosts", totals),
        ("Plan", report.plan_digest),
        *(("Note", note) for note in report.notes),
    ]
    images = (
        (
            str(image.get("reference") or ""),
            "no" if image.get("ok") is False else "yes",
            str(image.get("id") or ""),
            str(image.get("reason") or ""),
        )
        for image in report.images
    )
    errors = ((error["task"], error["error"]) for error in report.errors)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="{_class("state", report.state)}"><strong>{escape(report.state)}</strong>'
            f" {escape(message)}</p>",
            _table("Run", ("What", "Value"), [fact for fact in facts if fact[1]]),
            _table("Findings", ("Finding", "Hosts"), report.findings),
            _table("Hosts", COLUMNS, (row.cells for row in report.rows), 2),
            _table(
                "Times",
                ("Host", "On the host", "Steps", "Out of service"),
                ((row.host, *row.times) for row in report.rows if any(row.times)),
            ),
            *(
                f"<h2>{escape(row.host)}: {escape(row.log)}</h2><pre>{escape(row.log_tail)}</pre>"
                for row in report.rows
                if row.log_tail
            ),
            _table("Images", ("Image", "In Glance", "Id", "Reason"), images),
            _table("Failed tasks", ("Task", "Error"), errors),
            "</body></html>\n",
        ]
    )


def _class(*words: str) -> str:
    return escape("-".join(word for word in words if word.replace("_", "").isalnum()))


def _table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    state_column: int | None = None,
) -> str:
    body = []
    for row in rows:
        state = "" if state_column is None else f' class="{_class(row[state_column])}"'
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        body.append(f"<tr{state}>{cells}</tr>")
    if not body:
        return ""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>"
    )

# SPDX-License-Identifier: Apache-2.0
"""What a run says at its end: read here; ``junit`` and ``page`` write it as files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# States of a host.
OK, UNCHANGED, PLANNED = "ok", "unchanged", "planned"
FAILED, SKIPPED = "failed", "skipped"
# Of a host that a run could not say of how it ended.
UNKNOWN = "unknown"
COLUMNS = ("Host", "Role", "State", "Changed", "Step", "Reason")


@dataclass(frozen=True)
class Row:
    """What became of one host.

    :param state: ok, unchanged, planned, failed or skipped
    :param step: the step that failed, or the last; of a plan those that would be done
    :param log: file on the host that has more
    :param seconds: how long its steps took together, on the host
    :param steps: how long each took
    :param log_tail: the end of the log of the step that failed
    :param out_of_service_s: how long the run had it out of service
    :param out_of_service_since: since when it is, where it still is
    """

    host: str
    role: str = ""
    state: str = ""
    changed: bool = False
    step: str = ""
    reason: str = ""
    log: str = ""
    rolled_back: bool = False
    seconds: float = 0.0
    steps: Mapping[str, float] = field(default_factory=dict)
    log_tail: str = ""
    out_of_service_s: float = 0.0
    out_of_service_since: str = ""

    @property
    def times(self) -> tuple[str, str, str]:
        """Return how long it took, step by step, and how long it was out of service."""
        steps = ", ".join(f"{step} {seconds:g} s" for step, seconds in self.steps.items())
        if self.out_of_service_since:
            out = f"since {self.out_of_service_since}"
        else:
            out = f"{self.out_of_service_s:g} s" if self.out_of_service_s else ""
        return (f"{self.seconds:g} s" if self.seconds else "", steps, out)

    @property
    def cells(self) -> tuple[str, ...]:
        """Return what the columns of a table show."""
        reason = f"{self.reason} (put back as it was)" if self.rolled_back else self.reason
        return (
            self.host,
            self.role,
            self.state,
            "yes" if self.changed else "no",
            self.step,
            reason,
        )


@dataclass(frozen=True)
class Report:
    """A run's report.

    :param state: done, unchanged, partial, planned, drift, failed or refused
    :param rows: a row a host, those that failed first
    :param totals: hosts by what became of them
    :param images: reference, digest, Glance's id and whether it is there, an image
    :param errors: tasks that failed, with their errors
    :param findings: what a precheck has found, and the hosts that it was found on, for a table
    :param data: all of it as the run told it
    """

    state: str = ""
    rows: tuple[Row, ...] = ()
    totals: Mapping[str, int] = field(default_factory=dict)
    images: Sequence[Mapping[str, Any]] = ()
    plan_digest: str = ""
    rule: str = ""
    notes: Sequence[str] = ()
    errors: Sequence[Mapping[str, str]] = ()
    findings: Sequence[tuple[str, str]] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cut_short(self) -> bool:
        """Return whether rows are missing in it: the pages that had them are gone."""
        return bool(page_names(self.data) or self.data.get("rows_left_out"))

    def to_json(self) -> str:
        """Return it as JSON, as the run told it."""
        return json.dumps(self.data, indent=2, sort_keys=True) + "\n"


def read(data: Any) -> Report:
    """Return a run's report from its output; what does not fit in it is left out.

    :param data: the output named ``report``
    """
    if not isinstance(data, Mapping):
        return Report()
    rows = [_row(row) for row in _items(data.get("rows"))]
    rows.sort(key=lambda row: (row.state != FAILED, row.state != SKIPPED))
    hosts = data.get("hosts")
    totals = data.get("totals")
    return Report(
        state=str(data.get("state") or ""),
        rows=tuple(rows),
        totals={str(name): count for name, count in totals.items() if isinstance(count, int)}
        if isinstance(totals, Mapping)
        else {},
        images=tuple(_items(data.get("images"))),
        plan_digest=str(data.get("plan_digest") or ""),
        rule=str(hosts.get("rule") or "") if isinstance(hosts, Mapping) else "",
        notes=tuple(map(str, _list(data.get("notes")))),
        errors=tuple(
            {"task": str(error.get("task") or ""), "error": str(error.get("error") or "")}
            for error in _items(data.get("errors"))
        ),
        findings=tuple(
            (str(item.get("finding") or ""), _on(item)) for item in _items(data.get("findings"))
        ),
        data=dict(data),
    )


def _on(finding: Mapping[str, Any]) -> str:
    """Return the hosts of a finding: the first few of many."""
    names = [str(name) for name in _list(finding.get("hosts"))]
    count = finding.get("count")
    more = count - len(names) if isinstance(count, int) else 0
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def page_names(data: Any) -> list[str]:
    """Return the names of the pages that a run of many hosts has put its report into.

    :param data: the output named ``report``
    """
    named = data.get("pages") if isinstance(data, Mapping) else None
    return [str(item["page"]) for item in _items(named) if item.get("page")]


def assembled(data: Mapping[str, Any], parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a report with what its pages have of it, as one of few hosts is.

    :param data: the output named ``report``
    :param parts: what is in its pages, in their order
    """
    rows: list[Any] = []
    hosts = dict(data["hosts"]) if isinstance(data.get("hosts"), Mapping) else {}
    lists: dict[str, list[Any]] = {}
    for part in parts:
        for name, items in part.items():
            (rows if name == "rows" else lists.setdefault(name, [])).extend(_list(items))
    whole = {name: value for name, value in data.items() if name != "pages"}
    return {**whole, "rows": rows, "hosts": {**hosts, **lists}}


def noted(data: Mapping[str, Any], note: str) -> dict[str, Any]:
    """Return a report with one more note.

    :param data: the output named ``report``
    """
    return {**data, "notes": [*_list(data.get("notes")), note]}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in _list(value) if isinstance(item, Mapping)]


def _row(data: Mapping[str, Any]) -> Row:
    def text(name: str) -> str:
        return str(data.get(name) or "")

    steps = data.get("steps")
    steps = steps if isinstance(steps, Mapping) else {}
    return Row(
        host=text("host"),
        role=text("role"),
        state=text("state"),
        changed=data.get("changed") is True,
        step=text("step"),
        reason=text("reason"),
        log=text("log"),
        rolled_back=data.get("rolled_back") is True,
        seconds=_number(data.get("seconds")),
        steps={str(name): _number(took) for name, took in steps.items()},
        log_tail=text("log_tail"),
        out_of_service_s=_number(data.get("out_of_service_s")),
        out_of_service_since=text("out_of_service_since"),
    )


def _number(value: Any) -> float:
    try:
        return float(value) if type(value) in (int, float) else 0.0
    except OverflowError:
        return 0.0

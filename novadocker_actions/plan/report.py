# SPDX-License-Identifier: Apache-2.0
"""What a run says at its end: rows a host, and totals. ``sentence`` says it in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from novadocker_actions.plan import gate, times
from novadocker_actions.plan.rows import FAILED, OK, SKIPPED, UNKNOWN, HostRow, shorten

DONE, UNCHANGED, PARTIAL, REFUSED = "done", "unchanged", "partial", "refused"
PLANNED, DRIFT, BROKEN, STOPPED = "planned", "drift", "failed", "stopped"
READY, FINDINGS = "ready", "findings"
_NAMES_SHOWN = 10
# Where the plug-in of the dashboard shows a run.
RUN_PAGE = "admin/docker_hosts/runs/{run_id}/"
# States with which a workflow ends in ERROR.
BAD = (REFUSED, BROKEN, DRIFT, STOPPED, FINDINGS)


# The tasks with which a run looks and refuses, before anything is changed.
_LOOKING = frozenset({"begin", "select_hosts", "lock", "prepare"})

# A report that is no longer than this is carried whole; of another its beginning is.
WHOLE_CHARS = 24_000
_SHOWN_CHARS = 16_000
_PART_ROWS = 100
# Remarks and failed tasks that a report has at most.
_MOST_TOLD = 20


@dataclass
class Facts:
    """What a report is made of.

    :param workflow: name without the workbook's
    :param computes: selected hosts, converted ones with their outcome
    :param not_started: hosts that were not touched
    :param stopped: the gate's reason, "" when all batches ran
    :param errors: failed tasks: name and error
    :param rule: how the hosts were selected
    :param remarks: what is left to the operator, and no drift
    :param findings: what a precheck has found, alike ones once
    :param driver: the driver's version that Docker hypervisors were to get by an upgrade, "" where
        it was none
    :param phase: ``stage`` where hosts were only to be staged
    """

    workflow: str
    controllers: Sequence[HostRow] = ()
    computes: Sequence[HostRow] = ()
    not_started: Sequence[str] = ()
    unselected: Sequence[str] = ()
    images: Sequence[dict[str, Any]] = ()
    stopped: str = ""
    errors: Sequence[dict[str, Any]] = ()
    rule: str = ""
    plan_digest: str = ""
    max_failed: int = 0
    notes: Sequence[str] = field(default_factory=list)
    remarks: Sequence[str] = ()
    findings: Sequence[dict[str, Any]] = ()
    driver: str = ""
    phase: str = ""

    @property
    def staging(self) -> bool:
        """Return whether hosts are staged, and not switched."""
        return self.phase == "stage"


def _row(row: HostRow) -> dict[str, Any]:
    state = "unchanged" if row.state == OK and not row.changed else row.state
    entry: dict[str, Any] = {
        "host": row.host,
        "role": row.role,
        "state": state,
        "changed": row.changed and not row.rolled_back,
        "step": row.step,
        "reason": row.reason,
        "log": row.log,
    }
    if row.rolled_back:
        entry["rolled_back"] = True
    if row.tail and row.state == FAILED:
        entry["log_tail"] = row.tail
    return {**entry, **times.of(row)}


def _staged_row(row: HostRow) -> dict[str, Any]:
    entry = _row(row)
    return {**entry, "reason": row.reason or "staged, not switched"} if row.to_switch else entry


def _to_be_staged(row: HostRow) -> dict[str, Any]:
    return _planned_row(row, [step for step in row.needs if not row.is_disturbed_by(step)])


def _planned_row(row: HostRow, steps: Sequence[str] | None = None) -> dict[str, Any]:
    needs = row.needs if steps is None else steps
    return {
        "host": row.host,
        "role": row.role,
        "state": row.state if row.state != OK else ("planned" if needs else "unchanged"),
        "changed": False,
        "step": row.step if row.state == FAILED else ", ".join(needs),
        "reason": row.reason,
        "log": "",
    }


def _planning(facts: Facts) -> bool:
    return facts.workflow in ("plan", "verify", "precheck")


def _unstarted_row(host: str) -> dict[str, Any]:
    return _row(HostRow(host, "compute", state=SKIPPED, reason="not started"))


def build(facts: Facts) -> dict[str, Any]:
    """Return a run's report.

    :param facts: what is known of the run
    """
    # A controller that is a compute host as well has a row of its own, begun or not.
    not_started = set(facts.not_started)
    begun = [row for row in facts.computes if row.host not in not_started]
    if facts.staging:
        shown = _to_be_staged if _planning(facts) else _staged_row
    else:
        shown = _planned_row if _planning(facts) else _row
    entries = [shown(row) for row in (*facts.controllers, *begun)]
    entries += [_unstarted_row(host) for host in facts.not_started]
    totals = {
        "ok": sum(1 for entry in entries if entry["state"] in (OK, "unchanged", "planned")),
        "failed": sum(1 for entry in entries if entry["state"] == FAILED),
        "changed": sum(1 for entry in entries if entry["changed"]),
        "unchanged": sum(1 for entry in entries if entry["state"] == "unchanged"),
        "skipped": sum(1 for entry in entries if entry["state"] == SKIPPED),
    }
    unknown = sum(1 for entry in entries if entry["state"] == UNKNOWN)
    if unknown:
        totals["unknown"] = unknown
    report: dict[str, Any] = {
        "state": _state(facts, totals),
        "hosts": {
            "selected": [row.host for row in facts.computes],
            "controllers": [row.host for row in facts.controllers],
            "unselected": list(facts.unselected),
            "rule": facts.rule,
        },
        "totals": totals,
        "rows": entries,
        "images": list(facts.images),
        "plan_digest": facts.plan_digest,
        "notes": [shorten(note) for note in (*facts.notes, *facts.remarks)[:_MOST_TOLD]],
    }
    if facts.workflow == "precheck":
        report["findings"] = list(facts.findings)[:_MOST_TOLD]
    if facts.errors:
        report["errors"] = [
            {"task": str(error.get("name")), "error": error_text(error.get("error"))}
            for error in facts.errors[:_MOST_TOLD]
        ]
    return report


def parts(report: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Yield the lists of a long report in pieces, each of which says what it is a piece of.

    :param report: from :func:`build`
    """
    lists = {"rows": report["rows"], **{n: report["hosts"][n] for n in _HOST_LISTS}}
    for name, items in lists.items():
        for start in range(0, len(items), _PART_ROWS):
            yield [{name: items[start : start + _PART_ROWS]}]


def beginning(report: dict[str, Any], pages: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Return as much of a long report as a field of Mistral's may hold.

    :param report: from :func:`build`
    :param pages: what names its :func:`parts`, none when they could not be written
    :return: the report with counts for lists of hosts, and the first rows, of hosts that failed
    """
    worst = sorted(report["rows"], key=lambda row: row["state"] not in (FAILED, UNKNOWN))
    shown, chars = [], 0
    for row in worst:
        chars += len(json.dumps(row))
        if chars > _SHOWN_CHARS:
            break
        shown.append(row)
    hosts = {name: [] if name in _HOST_LISTS else value for name, value in report["hosts"].items()}
    counts = {f"{name}_count": len(report["hosts"][name]) for name in _HOST_LISTS}
    left = {"pages": list(pages)} if pages else {"rows_left_out": len(worst) - len(shown)}
    return {**report, "hosts": {**hosts, **counts}, "rows": shown, **left}


_HOST_LISTS = ("selected", "unselected")


def _state(facts: Facts, totals: dict[str, int]) -> str:
    refused = refusals(facts)
    if refused:
        return STOPPED if any(is_stop(error["error"]) for error in refused) else REFUSED
    failed = totals["failed"] + totals.get("unknown", 0)
    asked = facts.stopped.startswith((gate.ASKED, gate.UNAPPROVED)) or unbegun(facts)
    if facts.errors or (facts.stopped and not asked):
        return BROKEN
    if any(row.state in (FAILED, UNKNOWN) for row in facts.controllers):
        return BROKEN
    if facts.workflow != "verify" and any(not image.get("ok", True) for image in facts.images):
        return BROKEN
    if facts.workflow == "verify":
        return DRIFT if _drifted(facts, totals) else UNCHANGED
    if facts.workflow == "precheck":
        return FINDINGS if facts.findings else READY
    if _planning(facts):
        return PLANNED
    if failed > facts.max_failed:
        return BROKEN
    if asked:
        return STOPPED
    if failed or late(facts):
        return PARTIAL
    images_changed = any(image.get("changed") for image in facts.images)
    return DONE if totals["changed"] or images_changed else UNCHANGED


def refusals(facts: Facts) -> list[dict[str, Any]]:
    """Return the errors by which a run was refused before it changed anything."""
    # What is refused later, a host's key that is gone, say, ends a run that has changed hosts.
    return [
        error
        for error in facts.errors
        if is_refusal(error.get("error")) and (_planning(facts) or error.get("name") in _LOOKING)
    ]


def unbegun(facts: Facts) -> bool:
    """Return whether a run has not begun with some hosts, as it was asked to stop."""
    # What recover is at are pages of hosts, and it has no gate.
    skipped = [row for row in facts.computes if row.state == SKIPPED and not row.step]
    return facts.workflow == "recover" and bool(skipped)


def late(facts: Facts) -> list[HostRow]:
    """Return the hosts that a run has left as they are when it came to them."""
    # A host that the plan leaves out is as asked for; one that was occupied later is not.
    # Nor is one that the gate has stopped before.
    return [row for row in facts.computes if row.state == SKIPPED and row.step not in ("", "plan")]


def _drifted(facts: Facts, totals: dict[str, int]) -> bool:
    return bool(totals["failed"] or totals["ok"] > totals["unchanged"] or facts.notes)


def _unwrapped(error: Any) -> Any:
    # A sub-workflow that fails gives its parent an object with its task's error as the result.
    # One that is run for many batches gives the errors of those that failed.
    while isinstance(error, list) or (isinstance(error, dict) and "result" in error):
        error = next(iter(error), None) if isinstance(error, list) else error["result"]
    return error


def is_refusal(error: Any) -> bool:
    """Return whether a task's error is a refusal, which the operator has to act on."""
    error = _unwrapped(error)
    return isinstance(error, dict) and bool(error.get("refused"))


def is_stop(error: Any) -> bool:
    """Return whether a task's error is that the operator has asked the run to stop."""
    error = _unwrapped(error)
    return isinstance(error, dict) and bool(error.get("stopped"))


def error_text(error: Any) -> str:
    """Return a task's error as a sentence."""
    error = _unwrapped(error)
    text = error.get("message") if isinstance(error, dict) else error
    # Where a task has no result, these are Mistral's own words, with where in its code it was.
    told = " ".join(str(text or "").partition("Traceback (")[0].split())
    return told[:1000] if told not in ("", "null") else "it gave no reason"


def names(hosts: Sequence[str], most: int = _NAMES_SHOWN) -> str:
    """Return names, of hosts as a rule, for a sentence: the first few of many."""
    shown = ", ".join(hosts[:most])
    more = len(hosts) - most
    return f"{shown} and {more} more" if more > 0 else shown


def page(dashboard: str, run_id: str) -> str:
    """Return the address of a run's page.

    :param dashboard: the dashboard's address, "" where the cloud has none
    :return: "" without a dashboard
    """
    return f"{dashboard.rstrip('/')}/{RUN_PAGE.format(run_id=run_id)}" if dashboard else ""

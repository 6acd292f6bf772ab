# SPDX-License-Identifier: Apache-2.0
"""What a run says at its end: rows a host, totals, and one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from novadocker_actions.plan import gate, times
from novadocker_actions.plan.hosts import DOCKER
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


def _planned_row(row: HostRow) -> dict[str, Any]:
    return {
        "host": row.host,
        "role": row.role,
        "state": row.state if row.state != OK else ("planned" if row.needs else "unchanged"),
        "changed": False,
        "step": row.step if row.state == FAILED else ", ".join(row.needs),
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
    refusals = _refusals(facts)
    if refusals:
        return STOPPED if any(is_stop(error["error"]) for error in refusals) else REFUSED
    failed = totals["failed"] + totals.get("unknown", 0)
    asked = facts.stopped.startswith(gate.ASKED) or _unbegun(facts)
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
    if failed or _late(facts):
        return PARTIAL
    images_changed = any(image.get("changed") for image in facts.images)
    return DONE if totals["changed"] or images_changed else UNCHANGED


def _refusals(facts: Facts) -> list[dict[str, Any]]:
    # What is refused later, a host's key that is gone, say, ends a run that has changed hosts.
    return [
        error
        for error in facts.errors
        if is_refusal(error.get("error")) and (_planning(facts) or error.get("name") in _LOOKING)
    ]


def _unbegun(facts: Facts) -> bool:
    # What recover is at are pages of hosts, and it has no gate.
    skipped = [row for row in facts.computes if row.state == SKIPPED and not row.step]
    return facts.workflow == "recover" and bool(skipped)


def _late(facts: Facts) -> list[HostRow]:
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


def message(facts: Facts, report: dict[str, Any], url: str) -> str:
    """Return the one sentence with which a run ends.

    :param facts: what is known of the run
    :param report: from :func:`build`
    :param url: where the run can be seen
    """
    parts = [*_faults(facts, report), *_achieved(facts, report)]
    return "; ".join(part for part in parts if part) + f". See {url}"


def _faults(facts: Facts, report: dict[str, Any]) -> list[str]:
    if any(is_stop(e.get("error")) for e in facts.errors):
        return [f"Stopped, nothing was changed: {gate.ASKED}"]
    if report["state"] == REFUSED:
        first = error_text(_refusals(facts)[0]["error"])
        return [f"Refused, nothing was changed: {first.rstrip('.')}"]
    parts = [f"Task {e['task']} failed: {e['error'].rstrip('.')}" for e in report.get("errors", [])]
    failed = [entry for entry in report["rows"] if entry["state"] in (FAILED, UNKNOWN)]
    if facts.workflow == "precheck":
        # Each is told once, with all hosts that it is found on.
        failed = []
    for entry in failed[:3]:
        how = "failed" if entry["state"] == FAILED else "was lost"
        parts.append(f"{entry['host']} {how} at {entry['step']}: {entry['reason']}"[:500])
    if len(failed) > 3:
        parts.append(f"{len(failed) - 3} more hosts failed")
    late = _late(facts)
    for row in late[:3]:
        parts.append(f"{row.host} was left as it is: {row.reason}"[:500])
    if len(late) > 3:
        parts.append(f"{len(late) - 3} more hosts were left as they are: see the report")
    for image in facts.images:
        if image.get("reason"):
            parts.append(f"Image {image['reference']} was not published: {image['reason']}")
    if _unbegun(facts):
        parts.append(f"Stopped: {gate.ASKED}: {report['totals']['skipped']} hosts were not begun")
    if facts.stopped:
        parts.append(f"Stopped: {facts.stopped}")
    return parts


def _achieved(facts: Facts, report: dict[str, Any]) -> list[str]:
    if report["state"] == REFUSED or (report["state"] in BAD and not facts.computes):
        return []
    describe = {
        "deploy": _deployed,
        "plan": _planned,
        "verify": _verified,
        "undeploy": _undeployed,
        "recover": _recovered,
        "precheck": _prechecked,
        "preload_images": _preloaded,
    }[facts.workflow]
    return describe(facts)


def _good(facts: Facts) -> list[str]:
    not_started = set(facts.not_started)
    return [r.host for r in facts.computes if r.state == OK and r.host not in not_started]


def _images(facts: Facts) -> str:
    ready = [image for image in facts.images if image.get("ok")]
    if not ready:
        return ""
    images = f"{len(ready)} image{'' if len(ready) == 1 else 's'}"
    names_of_good = set(_good(facts))
    good = [row for row in facts.computes if row.host in names_of_good]
    there = [row for row in good if row.preloaded]
    if there and len(there) == len(good):
        return f"{images} preloaded"
    return f"{images} in Glance, preloaded on {len(there)} of {len(good)} hosts"


def _unchanged(facts: Facts) -> str:
    rows = [*facts.controllers, *facts.computes]
    same = rows and not any(row.changed or row.state != OK for row in rows)
    return "nothing had to be changed" if same else ""


def _deployed(facts: Facts) -> list[str]:
    good = _good(facts)
    count = f"{len(good)} of {len(facts.computes)} compute hosts are Docker hypervisors"
    glance = facts.controllers and all(row.ok for row in facts.controllers)
    return [
        count + (f" ({names(good)})" if good else ""),
        _put_back(facts),
        "Glance accepts docker images" if glance else "",
        _images(facts),
        _unchanged(facts),
    ]


def _put_back(facts: Facts) -> str:
    """Tell of hosts on which a repair or an upgrade failed: they serve as they did before it."""
    hosts = [
        row.host
        for row in facts.computes
        if row.state == FAILED
        and row.hypervisor_type == DOCKER
        and row.rolled_back
        and not row.stuck
    ]
    if not hosts:
        return ""
    return f"{len(hosts)} put back as the Docker hypervisors they were ({names(hosts)})"


def _planned(facts: Facts) -> list[str]:
    todo = [row.host for row in facts.computes if row.needs and row.state == OK]
    same = [row.host for row in facts.computes if not row.needs and row.state == OK]
    return [
        f"{len(todo)} of {len(facts.computes)} compute hosts would be converted"
        + (f" ({names(todo)})" if todo else ""),
        f"{len(same)} are as wanted" if same else "",
        f"selected: {facts.rule}",
        f"plan {facts.plan_digest}",
        *facts.remarks,
        "nothing was changed",
    ]


def _verified(facts: Facts) -> list[str]:
    rows = [*facts.controllers, *facts.computes]
    drifted = [row for row in rows if row.ok and row.needs]
    good = [row.host for row in rows if row.ok and not row.needs]
    return [
        *(f"{row.host} has drifted: {', '.join(row.needs)} would change it" for row in drifted[:5]),
        f"{len(good)} of {len(rows)} hosts are as wanted",
        *facts.notes,
        "nothing was changed",
    ]


def _undeployed(facts: Facts) -> list[str]:
    good = _good(facts)
    return [
        f"{len(good)} of {len(facts.computes)} compute hosts are as they were before"
        + (f" ({names(good)})" if good else ""),
        *facts.notes,
        _unchanged(facts),
    ]


def _prechecked(facts: Facts) -> list[str]:
    good = sum(1 for row in facts.computes if row.ok)
    return [
        f"{len(facts.findings)} findings" if facts.findings else "nothing is in the way",
        *(str(item["finding"]) for item in facts.findings[:5]),
        f"{good} of {len(facts.computes)} compute hosts can be converted",
        f"selected: {facts.rule}" if facts.rule else "",
        *facts.remarks,
        "nothing was changed",
    ]


def _recovered(facts: Facts) -> list[str]:
    taken_up = [row.host for row in facts.computes if row.ok and row.changed]
    return [
        f"{len(taken_up)} of {len(facts.computes)} hosts were taken up"
        + (f" ({names(taken_up)})" if taken_up else ""),
        *facts.notes,
        _unchanged(facts),
    ]


def _preloaded(facts: Facts) -> list[str]:
    good = _good(facts)
    return [f"{len(facts.images)} images are on {len(good)} of {len(facts.computes)} hosts"]

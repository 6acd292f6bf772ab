# SPDX-License-Identifier: Apache-2.0
"""The one sentence with which a run ends."""

from __future__ import annotations

from typing import Any

from novadocker_actions.plan import gate
from novadocker_actions.plan.hosts import DOCKER
from novadocker_actions.plan.report import (
    BAD,
    REFUSED,
    Facts,
    error_text,
    is_stop,
    late,
    names,
    refusals,
    unbegun,
)
from novadocker_actions.plan.rows import FAILED, OK, UNKNOWN


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
        first = error_text(refusals(facts)[0]["error"])
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
    occupied = late(facts)
    for row in occupied[:3]:
        parts.append(f"{row.host} was left as it is: {row.reason}"[:500])
    if len(occupied) > 3:
        parts.append(f"{len(occupied) - 3} more hosts were left as they are: see the report")
    for image in facts.images:
        if image.get("reason"):
            parts.append(f"Image {image['reference']} was not published: {image['reason']}")
    if unbegun(facts):
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
    if facts.staging:
        begun = set(good)
        staged = [row.host for row in facts.computes if row.host in begun and row.to_switch]
        same = len(good) - len(staged)
        return [
            f"{len(staged)} of {len(facts.computes)} compute hosts are staged"
            + (f" ({names(staged)})" if staged else ""),
            f"{same} {'is' if same == 1 else 'are'} as wanted" if same else "",
            "none was switched",
            _unchanged(facts),
        ]
    if facts.driver:
        return [
            f"{len(good)} of {len(facts.computes)} Docker hypervisors have the driver "
            + facts.driver
            + (f" ({names(good)})" if good else ""),
            _put_back(facts),
            _unchanged(facts),
        ]
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
        (
            f"{len(todo)} of {len(facts.computes)} Docker hypervisors would get the driver "
            + facts.driver
            if facts.driver
            else f"{len(todo)} of {len(facts.computes)} compute hosts would be "
            + ("staged" if facts.staging else "converted")
        )
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
    if not facts.computes:
        ready = [image for image in facts.images if image.get("ok")]
        new = sum(1 for image in ready if image.get("changed"))
        many = "" if len(ready) == 1 else "s"
        return [f"{len(ready)} image{many} in Glance, {new} published by this run"]
    return [f"{len(facts.images)} images are on {len(good)} of {len(facts.computes)} hosts"]

# SPDX-License-Identifier: Apache-2.0
"""What a precheck has found: all of all hosts, and what is alike is told once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from novadocker_actions.plan import order, report
from novadocker_actions.plan.hosts import Host
from novadocker_actions.plan.rows import FAILED, HostRow, shorten

# How many are told, and on how many hosts each; the hosts' rows have them all.
MOST, HOSTS_SHOWN = 20, 10


def of_hosts(host_rows: Sequence[HostRow]) -> list[dict[str, Any]]:
    """Return what was found on hosts; those with findings fail by them.

    :param host_rows: hosts with their findings
    """
    told = [(row.host, text) for row in host_rows for text in order.told_of(row)]
    merged = [_finding(text, found_on) for text, found_on in order.grouped(told)]
    for row in host_rows:
        if row.findings:
            first = [f"{row.step} would fail: {row.reason}"] if row.state == FAILED else []
            row.state, row.step = FAILED, row.step or "precheck"
            row.reason = shorten("; ".join([*first, *row.findings]))
    return merged[:MOST]


def on_the_whole(
    host_rows: Sequence[HostRow], images: Sequence[dict[str, str]]
) -> list[dict[str, Any]]:
    """Return what was found of images and roles.

    :param host_rows: all hosts, those that no step reaches as well
    :param images: references and digests, and why one cannot be had
    """
    roles = {role for row in host_rows for role in row.role.split(",")}
    enrolled = any(row.deployment_id for row in host_rows)
    return of_no_host(
        [image["reason"] for image in images if "reason" in image]
        + [
            f"no enrolled host has the role {role}: enrol one with `novadocker-enroll add`"
            for role in ("controller", "glance")
            if enrolled and role not in roles
        ]
    )


def in_reach(row: HostRow, record: Host) -> bool:
    """Return whether steps reach a host; what keeps them from one that is enrolled is noted."""
    if record.enrolled and not record.has_key:
        row.findings.append("no key of it is pinned: repeat `novadocker-enroll add` with its pool")
    return record.enrolled and record.has_key


def unreached(host_rows: Sequence[HostRow]) -> list[str]:
    """Return what is told of hosts that were looked at through the cloud's APIs alone."""
    names = [row.host for row in host_rows if not row.deployment_id]
    if not names:
        return []
    return [f"not enrolled, and so looked at through the cloud's APIs alone: {report.names(names)}"]


def of_no_host(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return what was found of services, and of no one host."""
    return [_finding(text, []) for text in texts]


def _finding(text: str, found_on: Sequence[str]) -> dict[str, Any]:
    return {"finding": shorten(text), "hosts": [*found_on[:HOSTS_SHOWN]], "count": len(found_on)}

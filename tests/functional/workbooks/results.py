# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind: its hosts' states, its report, its requests that changed the cloud."""

from __future__ import annotations

import json
from typing import Any

from novadocker_client import pages, reports
from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral

CONVERTED = (True, True, True, False)
UNTOUCHED = (False, False, False, False)


def rows(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the report's rows by host, of one that was not put into pages for its length."""
    return {row["host"]: row for row in run["output"]["report"]["rows"]}


def whole_report(cloud: FakeCloud, report: dict[str, Any]) -> dict[str, Any]:
    """Return a report with what lies in its pages, as the client reads it."""
    variables = [cloud.environments[name]["variables"] for name in reports.page_names(report)]
    parts = [part for text in variables for part in pages.unpack(json.loads(text)["items"])]
    return reports.assembled(report, parts)


def writes(cloud: FakeCloud) -> list[tuple[str, str]]:
    """Return the requests that change Nova or Glance."""
    return [r for r in cloud.requests if r[0] != "GET" and r[1].startswith(("/nova/", "/glance/"))]


def refused(mistral: Mistral, cloud: FakeCloud, inputs: dict[str, Any]) -> str:
    """Run deploy, see that nothing was changed, and return what it said."""
    run = mistral.run("novadocker.deploy", inputs)
    assert run["state"] == "ERROR", mistral.tree(run["id"])
    assert run["output"]["report"]["state"] == "refused"
    assert run["output"]["message"].startswith("Refused, nothing was changed: ")
    assert run["output"]["message"] == run["state_info"]
    assert writes(cloud) == []
    assert {mode for host in cloud.hosts.values() for _, mode in host.runs} <= {"check"}
    return str(run["output"]["message"])

# SPDX-License-Identifier: Apache-2.0
"""Reports: read, and written as files."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from novadocker_client import reports
from novadocker_client.reports import junit, page

HOSTILE = "<script>alert('x')</script> & \"quotes\" \x00\x1b[31m"
DATA = {
    "state": "partial",
    "hosts": {"rule": "name contains docker"},
    "totals": {"ok": 1, "failed": 1, "skipped": 1},
    "rows": [
        {"host": "c1", "role": "compute", "state": "ok", "changed": True, "step": "enable"},
        {"host": "c2", "role": "compute", "state": "skipped", "reason": "2 instances"},
        {
            "host": "c3",
            "role": "compute",
            "state": "failed",
            "step": "install_driver",
            "reason": HOSTILE,
            "log": "/var/log/novadocker/install_driver.log",
            "rolled_back": True,
        },
    ],
    "images": [
        {"reference": "busybox:latest", "ok": True, "id": "i1"},
        {"reference": "nginx:latest", "ok": False, "reason": "the registry is away"},
    ],
    "plan_digest": "sha256:1",
    "notes": ["a note"],
    "errors": [{"task": "gate", "error": "broke"}],
}


def test_what_failed_comes_first() -> None:
    report = reports.read(DATA)
    assert [row.host for row in report.rows] == ["c3", "c2", "c1"]
    assert report.rows[0].cells[-1].endswith("(put back as it was)")
    assert report.rows[2].cells[:5] == ("c1", "compute", "ok", "yes", "enable")
    assert (report.state, report.rule, report.plan_digest) == (
        "partial",
        "name contains docker",
        "sha256:1",
    )


@pytest.mark.parametrize(
    "data",
    [
        None,
        "a text",
        [],
        {},
        {"rows": None, "totals": [], "images": "x", "hosts": [], "errors": {}, "notes": None},
        {"rows": ["c1", None], "totals": {"ok": "many"}},
    ],
)
def test_a_report_that_is_none_is_an_empty_one(data: object) -> None:
    report = reports.read(data)
    assert (report.rows, dict(report.totals), report.images, report.errors) == ((), {}, (), ())
    junit.write(report, "novadocker.deploy")
    page.write(report, "novadocker.deploy")


def test_its_json_is_as_the_run_told_it() -> None:
    assert json.loads(reports.read(DATA).to_json()) == DATA


def test_junit_has_a_case_a_host_and_an_image() -> None:
    text = junit.write(reports.read(DATA), "novadocker.deploy", "1 of 3 hosts")
    suite = ET.fromstring(text)
    assert suite.attrib == {
        "name": "novadocker.deploy",
        "tests": "6",
        "failures": "2",
        "errors": "1",
        "skipped": "1",
    }
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    failure = cases["c3"].find("failure")
    assert failure is not None
    assert "<script>alert" in str(failure.get("message"))
    assert failure.text == "/var/log/novadocker/install_driver.log"
    assert cases["c2"].find("skipped") is not None
    assert list(cases["c1"]) == []
    assert cases["nginx:latest"].find("failure") is not None
    assert "1 of 3 hosts\na note" in str(suite.findtext("system-out"))


def test_a_drifted_host_is_a_failure_for_ci() -> None:
    rows = [{"host": "c1", "state": "planned", "step": "install_driver"}]
    text = junit.write(reports.read({"state": "drift", "rows": rows}), "novadocker.verify")
    assert ET.fromstring(text).get("failures") == "1"
    text = junit.write(reports.read({"state": "planned", "rows": rows}), "novadocker.plan")
    assert ET.fromstring(text).get("failures") == "0"


class Elements(HTMLParser):
    """Notes the elements of a page, and what they refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.add(tag)
        self.references += [str(v) for name, v in attrs if name in ("src", "href", "action")]


def test_a_page_says_what_hosts_said_as_text_and_asks_nothing_of_anybody() -> None:
    text = page.write(reports.read(DATA), f"novadocker.deploy {HOSTILE}", HOSTILE)
    elements = Elements(text)
    assert "script" not in elements.tags
    assert elements.references == []
    assert not re.search(r"url\(|@import", text)
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in text
    for said in ("c1", "c2", "c3", "nginx:latest", "gate", "a note", "sha256:1"):
        assert said in text


def test_a_state_that_is_no_word_is_no_class() -> None:
    rows = [{"host": "c1", "state": 'x" onload="y'}]
    text = page.write(reports.read({"state": '" onload="z', "rows": rows}), "t")
    assert 'onload="' not in text


def test_what_a_precheck_found_is_in_each_form_with_its_hosts() -> None:
    findings = [
        {"finding": "Heat: none of its engines is up", "hosts": [], "count": 0},
        {"finding": f"no room on {HOSTILE}", "hosts": ["c1", "c2"], "count": 14},
    ]
    report = reports.read({"state": "findings", "rows": [], "findings": findings})
    assert report.findings[1] == (f"no room on {HOSTILE}", "c1, c2 and 12 more")
    suite = ET.fromstring(junit.write(report, "novadocker.precheck"))
    (case,) = suite.findall("testcase")
    assert case.get("classname") == "novadocker.precheck.cloud"
    assert suite.get("failures") == "1"
    text = page.write(report, "novadocker.precheck")
    assert "c1, c2 and 12 more" in text
    assert HOSTILE not in text


def test_times_and_the_end_of_a_log_are_in_each_form() -> None:
    timed = {"seconds": 61.5, "steps": {"install_docker": 41, "configure_compute": 20.5}}
    rows = [
        {"host": "c1", "state": "ok", **timed, "out_of_service_s": 23},
        {"host": "c2", "state": "failed", "log": "/x.log", "log_tail": f"pip: {HOSTILE}"},
        {"host": "c3", "state": "failed", "out_of_service_since": "2026-11-27T06:00:00+00:00"},
        # Whatever is in its place.
        {"host": "c4", "state": "ok", "seconds": "long", "steps": [1], "out_of_service_s": True},
    ]
    report = reports.read({"state": "partial", "rows": rows})
    by_host = {row.host: row for row in report.rows}
    steps = "install_docker 41 s, configure_compute 20.5 s"
    assert by_host["c1"].times == ("61.5 s", steps, "23 s")
    assert by_host["c4"].times == ("", "", "")
    suite = ET.fromstring(junit.write(report, "novadocker.deploy"))
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert cases["c1"].get("time") == "61.5"
    assert cases["c1"].findtext("system-out") == f"steps: {steps}\nout of service: 23 s"
    assert str(cases["c2"].findtext("failure")).startswith("/x.log\npip: <script>")
    assert "since 2026-11-27T06" in str(cases["c3"].findtext("system-out"))
    text = page.write(report, "novadocker.deploy")
    for said in (steps, "23 s", "since 2026-11-27T06", "<h2>c2: /x.log</h2><pre>pip: &lt;script"):
        assert said in text

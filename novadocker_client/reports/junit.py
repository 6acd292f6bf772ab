# SPDX-License-Identifier: Apache-2.0
"""A report as JUnit's XML, which CI systems show: a test case a host and an image."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from novadocker_client.reports import FAILED, PLANNED, SKIPPED, Report

_TIMES = ("steps", "out of service")
# What XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(report: Report, name: str, message: str = "") -> str:
    """Return the report as XML.

    :param report: of a run
    :param name: what the suite is called, such as ``novadocker.verify``
    :param message: the run's own sentence
    """
    suite = ET.Element("testsuite", name=_text(name))
    drift = report.state == "drift"
    for row in report.rows:
        case = ET.SubElement(suite, "testcase", classname=_text(name), name=_text(row.host))
        if row.seconds:
            case.set("time", f"{row.seconds:g}")
        if row.state == FAILED or (drift and row.state == PLANNED):
            what = f"{row.step}: {row.reason}" if row.reason else row.step
            _say(case, "failure", what or row.state, f"{row.log}\n{row.log_tail}".strip())
        elif row.state == SKIPPED:
            _say(case, "skipped", row.reason)
        lines = [
            f"{what}: {took}" for what, took in zip(_TIMES, row.times[1:], strict=True) if took
        ]
        if lines:
            ET.SubElement(case, "system-out").text = _text("\n".join(lines))
    for image in report.images:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=_text(f"{name}.images"),
            name=_text(str(image.get("reference") or "image")),
        )
        if image.get("ok") is False:
            _say(case, "failure", str(image.get("reason") or "it is not in Glance"))
    for text, found_on in report.findings:
        if not found_on:
            # What is found on hosts is told with these.
            case = ET.SubElement(
                suite, "testcase", classname=_text(f"{name}.cloud"), name=_text(text[:80])
            )
            _say(case, "failure", text)
    for error in report.errors:
        case = ET.SubElement(
            suite, "testcase", classname=_text(f"{name}.tasks"), name=_text(error["task"])
        )
        _say(case, "error", error["error"])
    for kind, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(kind, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    ET.SubElement(suite, "system-out").text = _text("\n".join([message, *report.notes]))
    ET.indent(suite)
    text = ET.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _say(case: ET.Element, tag: str, message: str, text: str = "") -> None:
    said = ET.SubElement(case, tag, message=_text(message))
    said.text = _text(text)


def _text(value: str) -> str:
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", value)

# SPDX-License-Identifier: Apache-2.0
"""The record of a run of Tempest: each test with what came of it, from which a page is made."""

from __future__ import annotations

import re
from typing import Any

from lab.stage.tempest.conf import CANNOT, UNSET
from lab.stage.tempest.results import Summary

# What Tempest adds to some reasons: objects of this one cloud, as Python writes them.
_OBJECTS = re.compile(r":? \[\{.*", re.DOTALL)
_REASON_LENGTH = 600


def record(summary: Summary, machine: str, took_s: float) -> dict[str, Any]:
    """Return the record as JSON data, the same for the same results in whatever order.

    :param machine: what the figures depend on
    :param took_s: from the first test to the last one's end
    """

    def reasons(outcome: str) -> dict[str, str]:
        results = (result for result in summary.results if result.outcome == outcome)
        return {result.test: _line(result.reason) for result in sorted(results, key=str)}

    return {
        "figures": summary.figures,
        "machine": machine,
        "took_min": round(took_s / 60),
        "cannot": dict(CANNOT),
        "unset": dict(UNSET),
        "left_out": dict(sorted(summary.left_out)),
        "failed": reasons("FAILED"),
        "skipped": reasons("SKIPPED"),
        "passed": sorted(result.test for result in summary.results if result.outcome == "ok"),
    }


def _line(text: str) -> str:
    """Return a reason as one line of bounded length."""
    one_line = " ".join(_OBJECTS.sub("", text).split())
    return one_line if len(one_line) <= _REASON_LENGTH else one_line[:_REASON_LENGTH] + " ..."

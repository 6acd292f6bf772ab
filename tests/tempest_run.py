# SPDX-License-Identifier: Apache-2.0
"""A run of Tempest with every kind of result, for tests of its summary and of the page about it."""

from __future__ import annotations

from lab.stage.tempest import results
from lab.stage.tempest.results import Rule
from lab.stage.tempest.results import TestResult as Result

LISTED = [
    "tempest.api.compute.A.test_a[id-1]",
    "tempest.api.compute.A.test_b[id-2,volume]",
    "tempest.api.compute.B.test_c[id-3]",
    "tempest.api.compute.B.test_d[id-4]",
    "tempest.scenario.C.test_resize[id-5]",
]


def summary() -> results.Summary:
    """Return the summary of the run."""
    return results.summarise(
        LISTED,
        [
            Result("tempest.api.compute.A.test_a", "ok"),
            Result("tempest.api.compute.A.test_b", "FAILED", "a_fault: <x>"),
            Result("tempest.api.compute.B.test_c", "FAILED", "another"),
            Result("tempest.api.compute.B.test_d", "SKIPPED", "Suspend is not available."),
        ],
        left_out=[Rule(r"^tempest\.scenario\.", "needs a guest")],
        known_failures=[Rule(r"A\.test_b$", "a known bug")],
    )

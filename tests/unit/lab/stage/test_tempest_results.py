# SPDX-License-Identifier: Apache-2.0
"""Tempest's output is understood, and compared with what is expected."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

import lab.stage.tempest
from lab.stage.tempest import results
from lab.stage.tempest.results import Rule
from lab.stage.tempest.results import TestResult as Result
from tests.tempest_run import LISTED, summary

LISTS = pathlib.Path(lab.stage.tempest.__file__).parent


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "{0} tempest_plugin.tests.api.test_a.A.test_b[id-1,smoke] [1.234567s] ... ok",
            ("tempest_plugin.tests.api.test_a.A.test_b[id-1,smoke]", "ok", ""),
        ),
        ("{1} pkg.A.test_b [0.100000s] ... FAILED", ("pkg.A.test_b", "FAILED", "")),
        (
            "{0} setUpClass (pkg.A) ... SKIPPED: Cinder is not available",
            ("setUpClass (pkg.A)", "SKIPPED", "Cinder is not available"),
        ),
        ("Captured traceback:", None),
        (" - Passed: 3", None),
    ],
)
def test_outcomes_are_read_from_the_output(
    line: str, expected: tuple[str, str, str] | None
) -> None:
    outcomes = results.parse_results([line])
    assert [dataclasses.astuple(result) for result in outcomes] == ([expected] if expected else [])


def test_a_failure_has_the_end_of_its_traceback_as_reason() -> None:
    output = """{0} pkg.A.test_a [1.000000s] ... FAILED

Captured traceback:
~~~~~~~~~~~~~~~~~~~
    Traceback (most recent call last):
      File "tempest/test.py", line 1, in test_a
        raise ValueError
    tempest.lib.exceptions.TimeoutException: Request timed out
    Details: (A:test_a) not ACTIVE
{0} pkg.A.test_b [1.000000s] ... ok
    ValueError: of no failure
"""
    assert results.parse_results(output.splitlines()) == [
        Result(
            "pkg.A.test_a",
            "FAILED",
            "tempest.lib.exceptions.TimeoutException: Request timed out"
            " Details: (A:test_a) not ACTIVE",
        ),
        Result("pkg.A.test_b", "ok"),
    ]


def test_the_list_of_tests_is_told_from_what_else_is_printed() -> None:
    printed = ["WARNING something", LISTED[0], "", f"{LISTED[1]}\n", "tempest is here"]
    assert results.parse_listed(printed) == LISTED[:2]


def test_each_test_has_a_result_though_its_class_has_one_line() -> None:
    outcomes = results.complete(
        LISTED,
        [
            Result("tempest.api.compute.A.test_a", "ok"),
            Result("tempest.api.compute.A.test_b[id-2,volume]", "FAILED", "why"),
            Result("setUpClass (tempest.api.compute.B)", "SKIPPED", "no volumes"),
            Result("tearDownClass (tempest.api.compute.A)", "FAILED"),
        ],
    )
    assert [dataclasses.astuple(result) for result in outcomes] == [
        ("tempest.api.compute.A.test_a", "ok", ""),
        ("tempest.api.compute.A.test_b", "FAILED", "why"),
        ("tempest.api.compute.B.test_c", "SKIPPED", "no volumes"),
        ("tempest.api.compute.B.test_d", "SKIPPED", "no volumes"),
        ("tempest.scenario.C.test_resize", "FAILED", results.NOT_RUN),
        ("tearDownClass (tempest.api.compute.A)", "FAILED", ""),
    ]


def test_known_failures_are_no_surprise_and_what_is_left_out_is_not_missed() -> None:
    told = summary()
    assert [result.test for result in told.unexpected] == ["tempest.api.compute.B.test_c"]
    assert told.left_out == (("tempest.scenario.C.test_resize", "needs a guest"),)
    assert len(told.results) == 4


def test_the_share_is_of_what_upstreams_gate_kept() -> None:
    # Tags count: test_b is about volumes, and the test of resize was not kept either.
    assert summary().gate == (3, 1, 1)
    assert summary().figures == (
        "1 passed, 2 failed (1 of them known), 1 skipped, 1 left out;"
        " of the 3 tests that upstream's gate kept 1 passed (33.3 %) and 1 were skipped"
    )


def test_a_rule_without_a_reason_is_refused() -> None:
    assert results.parse_rules("# a comment\n\n^x  # why not\n") == [Rule("^x", "why not")]
    with pytest.raises(ValueError, match="no reason"):
        results.parse_rules("^x\n")


@pytest.mark.parametrize("name", ["left_out.txt", "known_failures.txt"])
def test_the_committed_lists_are_in_order(name: str) -> None:
    rules = results.parse_rules((LISTS / name).read_text())
    assert all(rule.reason for rule in rules)

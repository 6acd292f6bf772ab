# SPDX-License-Identifier: Apache-2.0
"""The Tempest plug-in passes on a converted cloud, with a tempest.conf that tells the truth."""

from __future__ import annotations

import pytest

from lab.settings import LabSettings
from lab.stage import tempest

# The scenario and each API that the conversion is about. A test that is skipped proves nothing.
KINDS = ("images", "hypervisors", "workflows", "scenario")


@pytest.fixture(scope="module")
def results(lab_settings: LabSettings, converted: None) -> list[tempest.TestResult]:
    """What each test of the plug-in came to."""
    return tempest.run(lab_settings, concurrency=2)


def test_no_test_fails_or_is_skipped(results: list[tempest.TestResult]) -> None:
    assert [result for result in results if result.outcome != "ok"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_was_run(results: list[tempest.TestResult], kind: str) -> None:
    assert any(kind in result.test for result in results if result.outcome == "ok")

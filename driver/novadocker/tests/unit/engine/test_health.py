# SPDX-License-Identifier: Apache-2.0
"""Health checks of images, and what of them a container gets."""

from __future__ import annotations

from typing import Any

import pytest

from novadocker.virt.docker.engine import health

S = 1_000_000_000
CHECK = {"Test": ["CMD-SHELL", "true"], "Interval": 90 * S}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"Test": "true"},
        {"Test": []},
        {"Test": ["NONE"]},
        {"Test": ["CMD"]},
        {"Test": ["RUN", "true"]},
        {"Test": ["CMD", 1]},
        {"Test": ["CMD", "true"], "test": ["CMD", "false"]},
        {**CHECK, "Interval": "1s"},
        {**CHECK, "Retries": 1.5},
        {**CHECK, "Timeout": True},
    ],
)
def test_what_cannot_be_run_is_none(value: Any) -> None:
    assert not health.is_one(value)
    assert health.bounded(value, 30) is health.NONE


def test_an_image_has_its_own_within_bounds() -> None:
    assert health.bounded({**CHECK, "Timeout": 5 * S, "Retries": 2, "StartPeriod": S}, 30) == {
        "test": ["CMD-SHELL", "true"],
        "interval": 90 * S,
        "timeout": 5 * S,
        "retries": 2,
        "start_period": S,
    }


def test_the_engines_own_numbers_where_it_says_nothing() -> None:
    checked = health.bounded({"Test": ["CMD", "true"]}, 1)
    assert (checked["interval"], checked["timeout"]) == (30 * S, 30 * S)
    assert (checked["retries"], checked["start_period"]) == (3, 0)


def test_none_is_run_more_often_than_the_host_allows_or_without_end() -> None:
    eager = {**CHECK, "Interval": 1_000_000, "Timeout": 1, "Retries": -7, "StartPeriod": 1 << 62}
    checked = health.bounded(eager, 30)
    assert (checked["interval"], checked["timeout"], checked["retries"]) == (30 * S, S, 1)
    assert checked["start_period"] == 600 * S
    lasting = health.bounded({**CHECK, "Timeout": 1 << 62, "Retries": 1 << 62}, 30)
    assert (lasting["timeout"], lasting["retries"]) == (60 * S, 100)


@pytest.mark.parametrize("start_period", [-1, 0, 999_999])
def test_a_time_to_start_that_no_engine_takes_is_none(start_period: int) -> None:
    assert health.bounded({**CHECK, "StartPeriod": start_period}, 30)["start_period"] == 0


def test_none_is_run_where_the_host_runs_none() -> None:
    assert health.bounded(CHECK, 0) is health.NONE


def test_who_is_not_checked_has_no_health() -> None:
    assert health.of({"State": {}}) is None
    assert health.of({"State": {"Health": {"Status": "starting"}}}) == "starting"

# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a run's page judges what was measured."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.run_page import Page, figures, missed, ratios, read

PAGES = {
    "horizon": Page(0.3, 0.6, 0, 390_000),
    "first_10": Page(0.05, 0.1, 14, 25_000),
    "refresh_10": Page(0.02, 0.1, 5, 11_000),
    "first_1000": Page(0.2, 0.4, 14, 36_000),
    "refresh_1000": Page(0.1, 0.2, 5, 22_528),
    "ended_1000": Page(0.25, 0.4, 14, 36_000),
}


def test_the_figures_are_the_medians_of_the_line_that_has_them() -> None:
    told = {"processor_s": [3.0, 1.0, 2.0], "clock_s": [9.0, 4.0, 5.0], "requests": 5}
    text = f"Ran 1 test\n{json.dumps({'horizon': {**told, 'sent_bytes': 7}})}\nOK"
    assert read(text) == {"horizon": Page(2.0, 5.0, 5, 7)}


def test_a_program_that_has_measured_nothing_is_told() -> None:
    with pytest.raises(ValueError, match="no figures in: Ran 0 tests"):
        read("Ran 0 tests")


def test_a_thousand_hosts_are_put_beside_ten_and_beside_horizon() -> None:
    assert ratios(PAGES)["refresh_beside_few"] == pytest.approx(5)
    assert ratios(PAGES)["first_beside_horizon"] == pytest.approx(2 / 3)


def test_nothing_is_missed_below_the_bars() -> None:
    assert missed(PAGES) == []
    assert "5 requests" not in figures(PAGES)
    assert "14 requests and 5 a refresh, with 10 hosts 14 and 5; 22 KB" in figures(PAGES)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("first_1000", {"processor_s": 1.0}, "first view 1.00 s"),
        ("ended_1000", {"processor_s": 1.5}, "first view when it has ended 1.50 s"),
        ("refresh_1000", {"processor_s": 0.31}, "refresh 0.31 s"),
        ("refresh_1000", {"requests": 6}, "requests of refresh: 5 with 10 hosts, 6 with 1000"),
        ("first_1000", {"requests": 24}, "requests of first: 14 with 10 hosts, 24 with 1000"),
    ],
)
def test_a_bar_that_is_missed_is_told(name: str, change: dict[str, float], told: str) -> None:
    pages = {**PAGES, name: replace(PAGES[name], **change)}
    assert missed(pages) == [told]
    assert figures(pages).endswith(f"; MISSED: {told}")

# SPDX-License-Identifier: Apache-2.0
"""What is told of isolation, by what hosts and images say."""

from __future__ import annotations

import pytest

from novadocker_actions.plan import isolation
from novadocker_actions.plan.rows import HostRow


@pytest.mark.parametrize(
    ("facts", "does"),
    [
        ({}, ""),
        ({"scheduler": None}, ""),
        ({"scheduler": {"unit": "u"}}, ""),
        ({"scheduler": {"isolates": True}}, isolation.ISOLATES),
        ({"scheduler": {"isolates": False}}, isolation.MIXES),
    ],
)
def test_what_a_scheduler_does_is_what_its_host_tells(facts: dict, does: str) -> None:
    assert isolation.of_scheduler(facts) == does


def told(*schedulers: str, untied: list[str] | None = None) -> str:
    """Return the remarks on controllers whose schedulers do that."""
    rows = [HostRow(f"ctl-{n}", "controller", scheduler=s) for n, s in enumerate(schedulers)]
    return "; ".join(isolation.remarks(rows, untied or []))


def test_where_all_is_isolated_nothing_is_left_to_do() -> None:
    assert told(isolation.ISOLATES, "", isolation.ISOLATES) == ""


def test_each_scheduler_without_the_option_is_named_with_it() -> None:
    text = told(isolation.ISOLATES, isolation.MIXES, isolation.MIXES)
    assert "nova-scheduler on ctl-1, ctl-2 may put" in text
    assert "set [scheduler] enable_isolated_aggregate_filtering = true" in text


def test_a_scheduler_that_nobody_could_look_at_is_not_taken_for_a_good_one() -> None:
    assert "is not known, as no enrolled host runs it" in told("", "")


def test_images_without_the_trait_are_named_the_first_of_many() -> None:
    text = told(isolation.ISOLATES, untied=[f"image-{n}" for n in range(9)])
    assert "hosts without Docker: image-0, image-1, image-2 and 6 more; give them" in text

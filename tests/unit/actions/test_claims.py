# SPDX-License-Identifier: Apache-2.0
"""The hosts that a run is about, as runs of other projects read them."""

from __future__ import annotations

import json
import random

import pytest

from novadocker_actions.plan import claims, packing
from novadocker_actions.plan.selection import MOST_HOSTS


def odd_names(count: int, seed: int = 1) -> list[str]:
    """Return names of which nothing follows from each other."""
    chance = random.Random(seed)
    return [f"{chance.getrandbits(128):032x}.cloud.test" for _ in range(count)]


@pytest.mark.parametrize("count", [1, 5, 300, 1000])
def test_a_list_that_is_not_too_long_is_carried_by_its_names(count: int) -> None:
    names = [f"rack-{number:05}-docker" for number in range(count)]
    carried = claims.carried(names)
    assert packing.unpack(carried) == names
    assert claims.shared([names[-1], "other"], carried) == [names[-1]]


@pytest.mark.parametrize("count", [1500, 4000, MOST_HOSTS])
def test_one_of_any_names_that_a_run_may_have_fits_into_its_field(count: int) -> None:
    names = odd_names(count)
    carried = json.loads(json.dumps(claims.carried(names)))
    assert len(packing.pack(names)) > packing.PACKED_CHARS
    assert len(json.dumps(carried)) <= packing.PACKED_CHARS
    mine = [*odd_names(50, seed=2), names[0], names[-1], names[count // 2]]
    assert claims.shared(mine, carried) == sorted([names[0], names[-1], names[count // 2]])
    assert claims.shared(names, carried) == sorted(names)


def test_digests_of_a_few_are_read_back() -> None:
    for count in range(1, 40):
        digests = sorted(map(claims._digest, odd_names(count, seed=count)))
        for low_bits in (0, 1, 20, 31):
            if digests[-1] >> low_bits < 100_000:
                assert (
                    list(claims._decoded(claims._encoded(digests, low_bits), low_bits)) == digests
                )

# SPDX-License-Identifier: Apache-2.0
"""JSON that others have a say in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from novadocker_client import holds, readable


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"a": ["b", 1.5, None, True]}, None),
        ("\N{EARTH GLOBE AMERICAS} \\ud800 \N{GREEK SMALL LETTER ALPHA}", None),
        ("\ud800 \udcff", "? ?"),
        ({"\udcff": ["a\ud800"]}, {"?": ["a?"]}),
    ],
)
def test_all_is_as_it_was_but_what_is_no_character(value: Any, read: Any) -> None:
    wanted = value if read is None else read
    assert readable.loads(json.dumps(value)) == wanted
    assert readable.loads(json.dumps(value, ensure_ascii=False)) == wanted


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "", "no JSON", "9" * 5000])
def test_what_is_none_is_told_as_that(text: str) -> None:
    with pytest.raises(ValueError):
        readable.loads(text)
    assert readable.mapping(text) == {}


@pytest.mark.parametrize(
    "hold",
    [
        {},
        {"batch": 1},
        {"batch": "x", "left": 1, "hosts": 1, "until": 1},
        {"batch": 1, "left": 1, "hosts": [], "until": 1},
        {"batch": 1, "left": 1, "hosts": 1, "until": 1e300},
        {"batch": 1, "left": 1, "hosts": 1, "until": float("nan")},
    ],
)
def test_a_workflow_that_waits_for_nonsense_is_waited_for_by_no_run(hold: Any) -> None:
    assert holds.read(json.dumps({"hold": hold})) is None

# SPDX-License-Identifier: Apache-2.0
"""The page of what was found in the field names tests that there are, and each row has some."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[3]
RESULTS = TOP / "doc" / "results" / "field"
ROOMS = ("tests", "driver/novadocker/tests")


def module(place: str, name: str) -> Any:
    """Import a module from a directory, as its program does."""
    path = str(TOP / place)
    if path not in sys.path:
        sys.path.append(path)
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def rows() -> dict[str, str]:
    named: dict[str, str] = module("tools/proofs/field", "rows").ROWS
    return named


def marked() -> set[str]:
    texts = (path.read_text() for room in ROOMS for path in (TOP / room).rglob("test_*.py"))
    return {row for text in texts for row in re.findall(r'field_case\("(K[\d.]+)"\)', text)}


def test_each_row_has_tests_but_those_that_are_open(rows: dict[str, str]) -> None:
    cases = {case["row"]: case for case in json.loads((RESULTS / "cases.json").read_text())}
    assert cases.keys() == rows.keys()
    assert marked() == {row for row in rows if cases[row]["state"] != "open"}


def test_surroundings_name_files_that_there_are() -> None:
    support = json.loads((RESULTS / "support.json").read_text())
    entries = [entry for listed in support.values() for entry in listed]
    named = {name for entry in entries for name in re.findall(r"``(\S+/\S+)``", entry["by"])}
    assert [name for name in sorted(named) if not (TOP / name).exists()] == []
    assert {entry["state"] for entry in entries} == {"seen", "expected", "refused"}


def test_the_page_shows_all_rows_and_surroundings(rows: dict[str, str]) -> None:
    (text,) = module("doc/ext", "novadocker_reference.field").pages(RESULTS).values()
    for row in rows:
        assert f"   * - {row} " in text
    assert "kolla-ansible, TripleO, EDPM, Sunbeam: nova-compute\n     - refused" in text


def test_outcomes_of_a_row_are_as_bad_as_the_worst() -> None:
    cases = module("tools/proofs/field", "cases")
    told = [("K1.1", "t[a]", "passed"), ("K1.1", "t[b]", "failed"), ("K1.1", "t[c]", "passed")]
    told += [("K1.2", "u", "passed"), ("K1.3", "v", "skipped")]
    lines = [json.dumps(dict(zip(("row", "test", "outcome"), line, strict=True))) for line in told]
    states = {row.name: row.state for row in cases.judged(lines)}
    assert [states[name] for name in ("K1.1", "K1.2", "K1.3", "K1.4")] == [
        *("wrong", "right", "not run", "open")
    ]

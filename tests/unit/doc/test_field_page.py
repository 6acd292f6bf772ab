# SPDX-License-Identifier: Apache-2.0
"""The page of what was found in the field names tests that there are, and each row has some."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from collections.abc import Iterator
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


def rows_of(node: ast.ClassDef | ast.FunctionDef) -> set[str]:
    marks = (call for call in node.decorator_list if isinstance(call, ast.Call))
    named = (mark.args[0] for mark in marks if ast.unparse(mark.func) == "pytest.mark.field_case")
    return {str(ast.literal_eval(name)) for name in named}


def rows_by_name(
    body: list[ast.stmt], name: str, above: set[str]
) -> Iterator[tuple[str, set[str]]]:
    """Yield tests as the page calls them, each with its rows."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from rows_by_name(node.body, f"{name}: {node.name}", above | rows_of(node))
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield f"{name}: {node.name}", above | rows_of(node)


def test_the_tests_of_a_row_are_those_that_have_its_mark() -> None:
    cases = json.loads((RESULTS / "cases.json").read_text())
    told = {(case["row"], test) for case in cases for test in case["tests"]}
    paths = [path for room in ROOMS for path in (TOP / room).rglob("test_*.py")]
    listed = [
        (row, name, "lab" in path.parts)
        for path in paths
        for name, rows in rows_by_name(ast.parse(path.read_text()).body, path.name, set())
        for row in rows
    ]
    # Those of the whole cloud are listed where they were run.
    lacking = {(row, name) for row, name, in_lab in listed if not in_lab} - told
    # This one gives each of its faults a row.
    strange = {
        (row, name)
        for row, name in told - {(row, name) for row, name, _in_lab in listed}
        if name != "test_no_surprise_after_plan.py: test_a_plan_tells_it_and_changes_nothing"
    }
    remedy = "run `tools/proofs/field_cases --keep`"
    assert (lacking, strange) == (set(), set()), remedy


def test_tests_that_cannot_be_run_are_told_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = module("tools/proofs/field", "cases")
    (tmp_path / "test_a.py").write_text("import no_such_module")
    test = "import pytest\n@pytest.mark.field_case('K1.1')\ndef test_it(): assert False\n"
    (tmp_path / "test_b.py").write_text(f"{test}def test_of_no_row(): pass\n")
    groups = [(str(tmp_path / f"test_{letter}.py"),) for letter in "ab"]
    kept: list[Any] = []
    monkeypatch.setattr(cases, "GROUPS", groups)
    monkeypatch.setattr(cases, "keep", kept.append)
    monkeypatch.setattr(sys, "argv", ["cases", "--keep"])

    assert cases.main() == 1

    told = capsys.readouterr().out.splitlines()
    assert told[-1] == f"figures: none, as these tests could not be run: {groups[0][0]}"
    assert "K1.1  wrong    " in told[0]
    assert len(told) == len(cases.ROWS) + 2
    assert kept == []


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
    refused = "kolla-ansible with Podman, TripleO, EDPM, Sunbeam: nova-compute\n     - refused"
    assert refused in text


def test_outcomes_of_a_row_are_as_bad_as_the_worst() -> None:
    cases = module("tools/proofs/field", "cases")
    told = [("K1.1", "t[a]", "passed"), ("K1.1", "t[b]", "failed"), ("K1.1", "t[c]", "passed")]
    told += [("K1.2", "u", "passed"), ("K1.3", "v", "skipped")]
    lines = [json.dumps(dict(zip(("row", "test", "outcome"), line, strict=True))) for line in told]
    states = {row.name: row.state for row in cases.judged(lines)}
    assert [states[name] for name in ("K1.1", "K1.2", "K1.3", "K1.4")] == [
        *("wrong", "right", "not run", "open")
    ]

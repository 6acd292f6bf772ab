# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of each row of the field, tells which rows are right, and writes that down."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rows import KINDS, ROWS

TOP = Path(__file__).resolve().parents[3]
RESULTS = TOP / "doc/results/field/cases.json"
# Nova, Heat and Mistral each want oslo.config's global options for themselves.
GROUPS = (
    ("tests/unit/configs", "tests/unit/actions"),
    ("driver/novadocker/tests/unit",),
    ("tests/functional/workbooks",),
    ("tests/functional/driver",),
)
OUTCOMES = ("skipped", "passed", "failed")
# Of pytest: all passed, or some failed, which is told of their rows. Others ended before the tests.
RAN = (0, 1)
# Need the whole cloud, which is there: `python -m lab up`.
LAB = ("tests/lab",)


@dataclass
class Row:
    """A row, and what came of its tests.

    :param tests: outcomes by name of a test
    """

    name: str
    tests: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """Return how it is: ``right``, ``wrong``, ``open`` without a test, or ``not run``."""
        if not self.tests:
            return "open"
        ran = {outcome for outcome in self.tests.values() if outcome != "skipped"}
        if not ran:
            return "not run"
        return "right" if ran == {"passed"} else "wrong"


def run(groups: Iterable[tuple[str, ...]], file: Path) -> list[str]:
    """Run the tests of rows, each group in a process of its own; return those that did not run.

    Such as one with a module that cannot be imported: its rows may have other tests, which pass.
    """
    plugin = ("-p", "tools.proofs.field.plugin", "-m", "field_case", "-p", "no:cacheprovider")
    broken = []
    for group in groups:
        command = [sys.executable, "-m", "pytest", *plugin, "-q", "--no-header", *group]
        env = {**os.environ, "NOVADOCKER_FIELD_FILE": str(file)}
        if subprocess.run(command, cwd=TOP, env=env, check=False).returncode not in RAN:
            broken += group
    return broken


def judged(lines: Iterable[str]) -> list[Row]:
    """Return all rows with what came of their tests."""
    rows = {name: Row(name) for name in ROWS}
    for line in lines:
        told: dict[str, Any] = json.loads(line)
        tests = rows[told["row"]].tests
        # A parametrized test is one: the worst that came of it.
        name = told["test"].partition("[")[0]
        tests[name] = max(told["outcome"], tests.get(name, "skipped"), key=OUTCOMES.index)
    return list(rows.values())


def show(rows: list[Row]) -> None:
    """Print each row with its tests."""
    for row in rows:
        print(f"{row.name:5} {row.state:8} {ROWS[row.name]}")
        for test, outcome in sorted(row.tests.items()):
            print(f"{'':14} {outcome:7} {test}")


def keep(rows: list[Row]) -> None:
    """Write down what came of the rows, for the page of the documentation."""
    told = [
        {
            "row": row.name,
            "kind": KINDS[row.name.partition(".")[0]],
            "text": ROWS[row.name],
            "state": row.state,
            "tests": sorted(test.replace("::", ": ").rpartition("/")[2] for test in row.tests),
        }
        for row in rows
    ]
    RESULTS.write_text(json.dumps(told, indent=1) + "\n")


def main() -> int:
    """Run what is asked for; return 0 where every row that was run is right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lab", action="store_true", help="run the tests of the whole cloud, too")
    parser.add_argument("--keep", action="store_true", help=f"write {RESULTS.relative_to(TOP)}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "outcomes")
        file.touch()
        broken = run((*GROUPS, *([LAB] if arguments.lab else [])), file)
        rows = judged(file.read_text().splitlines())
    show(rows)
    if broken:
        print(f"figures: none, as these tests could not be run: {', '.join(broken)}")
        return 1
    if arguments.keep:
        keep(rows)
    count = {
        state: [row.name for row in rows if row.state == state]
        for state in ("right", "wrong", "open", "not run")
    }
    told = [f"{len(count['right'])} of {len(rows)} rows are right"]
    told += [
        f"{state}: {', '.join(names)}"
        for state, names in count.items()
        if (names and state != "right")
    ]
    print(f"figures: {'; '.join(told)}")
    return 0 if not count["wrong"] and not count["open"] else 1


if __name__ == "__main__":
    sys.exit(main())

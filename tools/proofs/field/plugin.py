# SPDX-License-Identifier: Apache-2.0
"""Has pytest write down what came of each test of a row of the field.

    NOVADOCKER_FIELD_FILE=FILE pytest -p tools.proofs.field.plugin -m field_case TESTS

``FILE`` gets a line of JSON for each test: its row, its name and its outcome.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

MARKER = "field_case"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have a test carry the names of its rows."""
    rows = [str(mark.args[0]) for mark in item.iter_markers(MARKER)]
    item.user_properties += [(MARKER, row) for row in dict.fromkeys(rows)]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write what came of a test; one that could not be set up, or was left out, is not right."""
    if report.when != "call" and report.outcome == "passed":
        return
    with Path(os.environ["NOVADOCKER_FIELD_FILE"]).open("a") as file:
        for name, row in report.user_properties:
            if name == MARKER:
                told = {"row": row, "test": report.nodeid, "outcome": report.outcome}
                file.write(json.dumps(told) + "\n")

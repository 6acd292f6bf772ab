# SPDX-License-Identifier: Apache-2.0
"""Has pytest run the tests of rows of the field alone, and write down what came of each.

    NOVADOCKER_FIELD_FILE=FILE pytest -p tools.proofs.field.plugin TESTS

``FILE`` gets a line of JSON for each test: its row, its name and its outcome.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

MARKER = "field_case"


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave out tests of no row; the others carry the names of theirs."""
    kept, left = [], []
    for item in items:
        rows = [str(mark.args[0]) for mark in item.iter_markers(MARKER)]
        item.user_properties += [(MARKER, row) for row in dict.fromkeys(rows)]
        (kept if rows else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write what came of a test; one that could not be set up, or was left out, is not right."""
    if report.when != "call" and report.outcome == "passed":
        return
    with Path(os.environ["NOVADOCKER_FIELD_FILE"]).open("a") as file:
        for name, row in report.user_properties:
            if name == MARKER:
                told = {"row": row, "test": report.nodeid, "outcome": report.outcome}
                file.write(json.dumps(told) + "\n")

# SPDX-License-Identifier: Apache-2.0
"""A page for each recorded run of Tempest: each test with what came of it."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from novadocker_reference import rst

TITLE = "Tempest's compute tests on containers"
_MARKUP = re.compile(r"([\\*`_|<>\[\]])")


def pages(results: Path) -> dict[str, str]:
    """Return the pages by the record's name.

    :param results: the directory of the records
    :raises ValueError: when it holds no record
    """
    pages_by_record = {
        path.stem: page(json.loads(path.read_text())) for path in results.glob("*.json")
    }
    if not pages_by_record:
        raise ValueError(f"no record of a run in {results}")
    return pages_by_record


def page(record: Mapping[str, Any]) -> str:
    """Return the page of one run.

    :param record: what ``python -m lab.stage.tempest --results`` has written
    """
    reasons = collections.Counter(record["skipped"].values())
    by_count = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return ":orphan:\n\n" + rst.page(
        rst.title(TITLE),
        "``tools/proofs/tempest_compute_passes`` has recorded this run: all of"
        " ``tempest.api.compute`` and of Tempest's scenarios, in the lab with converted hosts.\n",
        f"{_text(record['figures'])}.\n",
        f"It took {record['took_min']} minutes on {_text(record['machine'])}.\n",
        "Upstream's gate is the expression by which the retired community driver chose its tests;"
        " what is skipped or left out counts there as not passed.\n",
        "Where Tempest logs in to an instance, it is Debian's busybox with dropbear (the lab's"
        " ``guest.py``). Its ``blkid`` and ``mount`` find the config drive, which a container has"
        " as a directory; its ``sudo`` runs what it is given, as root logs in.\n",
        rst.title("What containers cannot do", "-"),
        "In Tempest's words (``[compute-feature-enabled]``), each of them off:\n",
        _table("Feature", "Why", record["cannot"]),
        "And options that are empty:\n",
        _table("Option", "Why", record["unset"]),
        _section("Failed", "Reason", record["failed"]),
        _section("Left out", "Why", record["left_out"]),
        rst.title("Why tests are skipped", "-"),
        rst.table(("Reason", "Tests"), ((_text(why), str(count)) for why, count in by_count)),
        _section("Skipped", "Reason", record["skipped"]),
        rst.title("Passed", "-"),
        "\n".join(f"* ``{_short(test)}``" for test in record["passed"]) or "None.",
    )


def _section(title: str, heading: str, tests: Mapping[str, str]) -> str:
    """Return a section with a table of tests, nothing where there is none."""
    if not tests:
        return ""
    shown = {_short(test): why for test, why in tests.items()}
    return rst.title(title, "-") + "\n" + _table("Test", heading, shown)


def _table(first: str, second: str, rows: Mapping[str, str]) -> str:
    lines = ((f"``{name}``", _text(why or "-")) for name, why in rows.items())
    return rst.table((first, second), lines)


def _short(test: str) -> str:
    return test.removeprefix("tempest.")


def _text(text: str) -> str:
    """Return a text that means nothing to Sphinx."""
    return _MARKUP.sub(r"\\\1", text)

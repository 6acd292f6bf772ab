# SPDX-License-Identifier: Apache-2.0
"""The page about a run of Tempest: each test with what came of it."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Sequence

from lab.tempest.conf import CANNOT, UNSET
from lab.tempest.results import Summary, TestResult

TITLE = "Tempest's compute tests on containers"
_MARKUP = re.compile(r"([\\*`_|<>\[\]])")
# What Tempest adds to some reasons: objects of this one cloud, as Python writes them.
_OBJECTS = re.compile(r":? \[\{.*", re.DOTALL)
_REASON_LENGTH = 600


def page(summary: Summary, machine: str, took_s: float) -> str:
    """Return the page as reStructuredText.

    :param machine: what the figures depend on
    :param took_s: from the first test to the last one's end
    """
    parts = [
        ":orphan:",
        f"{'=' * len(TITLE)}\n{TITLE}\n{'=' * len(TITLE)}",
        "``tools/proofs/tempest_compute_passes`` has written this page: all of"
        " ``tempest.api.compute`` and of Tempest's scenarios, in the lab with converted hosts.",
        f"{_text(summary.figures)}.",
        f"It took {took_s / 60:.0f} minutes on {_text(machine)}.",
        "Upstream's gate is the expression by which the retired community driver chose its tests;"
        " what is skipped or left out counts there as not passed.",
        "Where Tempest logs in to an instance, it is Debian's busybox with dropbear"
        " (``lab/tempest/guest.py``). Its ``blkid`` and ``mount`` find the config drive, which a"
        " container has as a directory; its ``sudo`` runs what it is given, as root logs in.",
        _section("What containers cannot do"),
        "In Tempest's words (``[compute-feature-enabled]``), each of them off:",
        _table(("Feature", "Why"), ((f"``{name}``", _text(why)) for name, why in CANNOT.items())),
        "And options that are empty:",
        _table(("Option", "Why"), ((f"``{name}``", _text(why)) for name, why in UNSET.items())),
    ]
    results = sorted(summary.results, key=lambda result: result.test)
    failed = [result for result in results if result.outcome == "FAILED"]
    if failed:
        parts += [_section("Failed"), _results(failed)]
    if summary.left_out:
        rows = ((f"``{_short(test)}``", _text(why)) for test, why in sorted(summary.left_out))
        parts += [_section("Left out"), _table(("Test", "Why"), rows)]
    skipped = [result for result in results if result.outcome == "SKIPPED"]
    counts = collections.Counter(_text(result.reason or "-") for result in skipped)
    by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = ((reason, str(count)) for reason, count in by_count)
    parts += [_section("Why tests are skipped"), _table(("Reason", "Tests"), rows)]
    parts += [_section("Skipped"), _results(skipped)]
    passed = [result for result in results if result.outcome == "ok"]
    listed = "\n".join(f"* ``{_short(result.test)}``" for result in passed)
    parts += [_section("Passed"), listed or "None."]
    return "\n\n".join(parts) + "\n"


def _section(title: str) -> str:
    return f"{title}\n{'-' * len(title)}"


def _results(results: Sequence[TestResult]) -> str:
    rows = ((f"``{_short(result.test)}``", _text(result.reason or "-")) for result in results)
    return _table(("Test", "Reason"), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    body = [header, *rows]
    if len(body) == 1:
        return "None."
    for row in body:
        first, *others = row
        lines.append(f"   * - {first}")
        lines += [f"     - {cell}" for cell in others]
    return "\n".join(lines)


def _short(test: str) -> str:
    return test.replace("tempest.", "", 1)


def _text(text: str) -> str:
    """Return a text as one line that means nothing to Sphinx."""
    one_line = " ".join(_OBJECTS.sub("", text).split())
    if len(one_line) > _REASON_LENGTH:
        one_line = one_line[:_REASON_LENGTH].rstrip("\\") + " ..."
    return _MARKUP.sub(r"\\\1", one_line)

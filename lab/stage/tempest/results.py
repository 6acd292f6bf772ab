# SPDX-License-Identifier: Apache-2.0
"""What came of each test: read from what Tempest prints, and compared with what is expected."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

# What the retired project's gate kept of Tempest (DEVSTACK_GATE_TEMPEST_REGEX).
UPSTREAM_GATE = re.compile(
    r"^(?!.*?(boto|volume|resize|suspend|rescue|cinder|migrate|object_storage)).*"
)
NOT_RUN = "it was selected and has no result"

_RESULT = re.compile(
    r"^(?:\{\d+\} )?(?P<test>[\w.]+(?:\[[^\]]*\])?|setUpClass \([\w.]+\)|tearDownClass \([\w.]+\))"
    r"(?: \[[\d.]+s\])? \.\.\. (?P<outcome>ok|FAILED|SKIPPED)(?:: (?P<reason>.*))?$"
)
_LISTED = re.compile(r"^tempest\w*\.[\w.]+(\[[^\]]*\])?$")
# The last line of a traceback: the fault, with the text that Tempest has given it.
_FAULT = re.compile(r"^ {0,8}(?P<fault>[\w.]+(?:Exception|Error|[A-Z]\w+): .+)$")


@dataclasses.dataclass(frozen=True)
class TestResult:
    """The outcome of one test.

    :param outcome: ``ok``, ``FAILED`` or ``SKIPPED``
    :param reason: why it was skipped, or what its last traceback ends with
    """

    test: str
    outcome: str
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Rule:
    """A line of a committed list: which tests, and why."""

    regex: str
    reason: str

    def matches(self, test: str) -> bool:
        """Return whether it is about a test."""
        return re.search(self.regex, test) is not None


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run came to.

    :param results: one of each selected test, then those of setting up and tearing down that failed
    :param left_out: tests that were not run, each with the reason
    :param unexpected: failures that are not known
    :param gate: how many tests upstream's gate kept, how many of them passed, and were skipped
    """

    results: tuple[TestResult, ...]
    left_out: tuple[tuple[str, str], ...]
    unexpected: tuple[TestResult, ...]
    gate: tuple[int, int, int]

    def count(self, outcome: str) -> int:
        """Count the results of one outcome."""
        return sum(result.outcome == outcome for result in self.results)

    @property
    def figures(self) -> str:
        """Return the figures in one line."""
        kept, passed, skipped = self.gate
        failed = self.count("FAILED")
        known = f" ({failed - len(self.unexpected)} of them known)" if failed else ""
        return (
            f"{self.count('ok')} passed, {failed} failed{known}, {self.count('SKIPPED')} skipped,"
            f" {len(self.left_out)} left out; of the {kept} tests that upstream's gate kept"
            f" {passed} passed ({100 * passed / kept if kept else 0:.1f} %) and {skipped} were"
            " skipped"
        )


def parse_results(lines: Iterable[str]) -> list[TestResult]:
    """Return the outcomes that `tempest run` has printed."""
    results: list[TestResult] = []
    for line in lines:
        match = _RESULT.match(line)
        if match:
            results.append(TestResult(match["test"], match["outcome"], match["reason"] or ""))
            continue
        # What follows a failure, up to the next result, is about it.
        if results and results[-1].outcome == "FAILED":
            results[-1] = dataclasses.replace(results[-1], reason=_reason(results[-1].reason, line))
    return results


def _reason(known: str, line: str) -> str:
    """Return why a test has failed, by what was known and one more line about it."""
    fault = _FAULT.match(line)
    if fault:
        return fault["fault"]
    # Tempest puts what the cloud says of it into a second line.
    return f"{known} {line.strip()}" if known and line.strip().startswith("Details: ") else known


def parse_listed(lines: Iterable[str]) -> list[str]:
    """Return the tests that `tempest run --list-tests` has printed, with their tags."""
    return [line for line in map(str.strip, lines) if _LISTED.match(line)]


def parse_rules(text: str) -> list[Rule]:
    """Read a committed list: a regular expression, ``#`` and the reason in each line.

    :raises ValueError: a line has no reason
    """
    rules = []
    for line in text.splitlines():
        regex, _, reason = (part.strip() for part in line.partition("#"))
        if regex and not reason:
            raise ValueError(f"{regex} has no reason")
        if regex:
            rules.append(Rule(regex, reason))
    return rules


def plain_name(test: str) -> str:
    """Return the name of a test without its tags."""
    return test.partition("[")[0]


def complete(listed: Iterable[str], results: Sequence[TestResult]) -> list[TestResult]:
    """Give each listed test a result of its own.

    A class that skips or fails as a whole has one line for all of its tests.

    :return: as many as there are tests, then faults of setting up and tearing down
    """
    own = {plain_name(result.test): result for result in results}
    completed = []
    for test in listed:
        name = plain_name(test)
        of_class = f"setUpClass ({name.rpartition('.')[0]})"
        result = own.get(name) or own.get(of_class) or TestResult(name, "FAILED", NOT_RUN)
        completed.append(dataclasses.replace(result, test=name))
    down = [
        result
        for result in results
        if result.test.startswith("tearDownClass") and result.outcome == "FAILED"
    ]
    return completed + down


def summarise(
    listed: Sequence[str],
    results: Sequence[TestResult],
    left_out: Sequence[Rule],
    known_failures: Sequence[Rule],
) -> Summary:
    """Return how the outcomes of the tests compare with what is expected.

    :param listed: all tests of the selection, with their tags, those left out too
    """
    out = {
        test: rule.reason for rule in reversed(left_out) for test in listed if rule.matches(test)
    }
    whole = complete([test for test in listed if test not in out], results)
    outcomes = {result.test: result.outcome for result in whole}
    kept = [outcomes.get(plain_name(test)) for test in listed if UPSTREAM_GATE.match(test)]
    return Summary(
        results=tuple(whole),
        left_out=tuple((plain_name(test), out[test]) for test in listed if test in out),
        unexpected=tuple(
            result
            for result in whole
            if result.outcome == "FAILED"
            and not any(rule.matches(result.test) for rule in known_failures)
        ),
        gate=(len(kept), kept.count("ok"), kept.count("SKIPPED")),
    )

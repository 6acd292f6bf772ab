# SPDX-License-Identifier: Apache-2.0
"""Whoever sees, hears or types their way through the pages can use them.

axe-core looks at each page as a browser has it. ``tools/proofs/pages_for_all`` brings the browser,
axe-core and the environment with Horizon.
"""

from __future__ import annotations

import collections
import json
import os
import pathlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.browser import Browser

pytestmark = pytest.mark.proof

TOP = pathlib.Path(__file__).parents[3]
SERVER = ("-m", "django", "test", "--settings=tests.styled", "tests.serving")
POLICY = "Content-Security-Policy"
# What axe-core calls what keeps somebody from using a page.
SERIOUS = frozenset({"serious", "critical"})
AUDIT = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ['violations']}).then(
  result => done({
    passed: result.passes.length,
    findings: result.violations.map(rule => ({
      rule: rule.id, impact: rule.impact, help: rule.help,
      places: rule.nodes.map(node => node.target.join(' ') + ': ' + node.failureSummary),
    })),
  }),
  error => done({error: String(error)}));
"""


@dataclass(frozen=True)
class Site:
    """Pages that are served.

    :param pages: paths, by what they show
    """

    url: str
    pages: dict[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Horizon with the pages, in its own environment's process."""
    static = tmp_path_factory.mktemp("static")
    env = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        [sys.executable, *SERVER],
        cwd=TOP / "dashboard",
        env={**env, "NOVADOCKER_STATIC": str(static)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            told = next(line for line in server.stdout or () if line.startswith("{"))
            yield Site(**json.loads(told))
        finally:
            server.kill()


@pytest.fixture(scope="module")
def browser(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser with what it needs."""
    with Browser(site.url, tmp_path_factory.mktemp("pictures")) as opened:
        yield opened


@dataclass(frozen=True)
class Look:
    """A page as a browser had it.

    :param said: what was in the browser's console
    :param passed: how many of axe's rules it keeps
    :param findings: those of axe's rules that it does not
    """

    said: list[str]
    passed: int
    findings: list[dict[str, Any]]


def look(browser: Browser, axe: str) -> Look:
    """Look at the page that the browser has."""
    # axe-core itself is put in by the driver, which no policy of a page's stops.
    said = browser.said()
    browser.do(axe)
    told = browser.promised(AUDIT)
    assert "error" not in told, told
    # What axe-core does to measure a page is not the page's.
    browser.said()
    for rule in told["findings"]:
        print(f"{browser.address}: {rule['impact']}: {rule['rule']}: {rule['places']}")
    return Look(said, told["passed"], told["findings"])


@pytest.fixture(scope="module")
def looks(site: Site, browser: Browser) -> dict[str, Look]:
    """Each page, and the one that a form leads to."""
    axe = pathlib.Path(os.environ["NOVADOCKER_AXE"]).read_text()
    seen = {}
    for what, path in site.pages.items():
        browser.open(path)
        seen[what] = look(browser, axe)
    browser.open(site.pages["docker hosts: start"])
    browser.fill("hosts", "vm-1")
    browser.press("Plan")
    browser.read("Plan has begun.")
    seen["a run that has just begun"] = look(browser, axe)
    return seen


def test_no_page_has_a_serious_finding(looks: dict[str, Look]) -> None:
    serious = {
        what: [rule for rule in page.findings if rule["impact"] in SERIOUS]
        for what, page in looks.items()
    }
    assert {what: findings for what, findings in serious.items() if findings} == {}


def test_no_page_does_what_its_policy_forbids(site: Site, looks: dict[str, Look]) -> None:
    # A browser says it too where a page itself is not there.
    missing = f"{site.url}{site.pages['what is not there']} - Failed to load resource"
    said = {
        what: [line for line in page.said if not line.startswith(missing)]
        for what, page in looks.items()
    }
    assert {what: lines for what, lines in said.items() if lines} == {}


def test_each_page_has_a_policy_without_exceptions(site: Site) -> None:
    for what, path in site.pages.items():
        try:
            with urllib.request.urlopen(f"{site.url}{path}") as answer:
                policy = answer.headers[POLICY]
        except urllib.error.HTTPError as err:
            assert err.code == 404, what
            policy = err.headers[POLICY]
        assert "default-src 'none';" in policy, what
        assert "unsafe" not in policy, what


def test_figures(looks: dict[str, Look]) -> None:
    findings = [rule for page in looks.values() for rule in page.findings]
    impacts = collections.Counter(rule["impact"] for rule in findings)
    names = sorted({rule["rule"] for rule in findings})
    print(
        f"\nfigures: {len(looks)} pages, {sum(page.passed for page in looks.values())} rules kept,"
        f" {sum(impacts[kind] for kind in SERIOUS)} serious findings, {dict(impacts)} in all"
        f" {names}; nothing in the console"
    )

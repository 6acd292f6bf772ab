# SPDX-License-Identifier: Apache-2.0
"""What the page of a run over a thousand hosts takes of the dashboard's server.

    python -m benchmarks.run_page [--results FILE]

It is measured beside the page of a run over ten hosts and beside a page of Horizon's own that asks
no service for anything, a round of each after another. The seconds are of the processor, so that it
does not matter what else the machine does; those of the clock are written down as well. Services
are a double in the server's process, whose share is in the figures.

It needs no lab, but the environment of the dashboard's tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks import machine
from benchmarks.figures import options_of, write

PROGRAM = ("-m", "django", "test", "--settings=tests.settings", "tests.timing")
FEW, MANY = 10, 1000
FIRST_AT_MOST_S, REFRESH_AT_MOST_S = 1.0, 0.3
TIMEOUT_S = 1800


@dataclass(frozen=True)
class Page:
    """A page as it was measured.

    :param processor_s: what it took of the processor, the median of all rounds
    :param clock_s: what it took in all, likewise
    :param requests: how many it made to the services
    """

    processor_s: float
    clock_s: float
    requests: int
    sent_bytes: int


Pages = Mapping[str, Page]


def read(text: str) -> Pages:
    """Return the pages from what the measuring program has printed.

    :raises ValueError: when it has printed no figures
    """
    for line in text.splitlines():
        if line.startswith("{"):
            return {name: _page(told) for name, told in json.loads(line).items()}
    raise ValueError(f"there are no figures in: {text}")


def _page(told: Mapping[str, Any]) -> Page:
    return Page(
        median(told["processor_s"]), median(told["clock_s"]), told["requests"], told["sent_bytes"]
    )


def ratios(pages: Pages) -> dict[str, float]:
    """Return what a thousand hosts take beside ten, and beside Horizon's own page."""
    seconds = {name: page.processor_s for name, page in pages.items()}
    first, refresh = seconds[f"first_{MANY}"], seconds[f"refresh_{MANY}"]
    return {
        "first_beside_few": first / seconds[f"first_{FEW}"],
        "first_beside_horizon": first / seconds["horizon"],
        "refresh_beside_few": refresh / seconds[f"refresh_{FEW}"],
        "refresh_beside_horizon": refresh / seconds["horizon"],
    }


def missed(pages: Pages) -> list[str]:
    """Return the bars that are missed."""
    bars = {
        "first view": (pages[f"first_{MANY}"].processor_s, FIRST_AT_MOST_S),
        "first view when it has ended": (pages[f"ended_{MANY}"].processor_s, FIRST_AT_MOST_S),
        "refresh": (pages[f"refresh_{MANY}"].processor_s, REFRESH_AT_MOST_S),
    }
    bad = [f"{name} {took:.2f} s" for name, (took, bar) in bars.items() if took >= bar]
    for kind in ("first", "refresh"):
        few, many = (pages[f"{kind}_{hosts}"].requests for hosts in (FEW, MANY))
        if few != many:
            bad.append(f"requests of {kind}: {few} with {FEW} hosts, {many} with {MANY}")
    return bad


def figures(pages: Pages) -> str:
    """Return the figures in a line."""
    beside = ratios(pages)
    first, refresh = pages[f"first_{MANY}"], pages[f"refresh_{MANY}"]
    text = (
        f"{MANY} hosts: first view {first.processor_s:.2f} s, with its report at its end"
        f" {pages[f'ended_{MANY}'].processor_s:.2f} s (under {FIRST_AT_MOST_S:g}),"
        f" {beside['first_beside_few']:.1f} times that of {FEW} hosts and"
        f" {beside['first_beside_horizon']:.2f} times Horizon's own empty page;"
        f" refresh {refresh.processor_s:.2f} s (under {REFRESH_AT_MOST_S:g}),"
        f" {beside['refresh_beside_few']:.1f} and {beside['refresh_beside_horizon']:.2f} times;"
        f" {first.requests} requests and {refresh.requests} a refresh, with {FEW} hosts"
        f" {pages[f'first_{FEW}'].requests} and {pages[f'refresh_{FEW}'].requests};"
        f" {refresh.sent_bytes // 1024} KB are sent for a refresh"
    )
    bad = missed(pages)
    return text + (f"; MISSED: {', '.join(bad)}" if bad else "")


def table(pages: Pages) -> str:
    """Return the pages side by side."""
    lines = [f"{'page':<14} {'processor s':>11} {'clock s':>8} {'requests':>8} {'bytes':>8}"]
    for name, page in pages.items():
        lines.append(
            f"{name:<14} {page.processor_s:11.3f} {page.clock_s:8.3f} {page.requests:8d}"
            f" {page.sent_bytes:8d}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, show and write the figures; exit with 1 when a bar is missed."""
    args = options_of("run_page", __doc__).parse_args()
    done = subprocess.run(
        [sys.executable, *PROGRAM],
        cwd=machine.CHECKOUT / "dashboard",
        env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    if done.returncode:
        sys.exit(f"FAILED: the pages could not be measured: {done.stdout[-400:]}")
    pages = read(done.stdout)
    print(table(pages))
    record = {
        "machine": machine.describe(),
        "pages": {name: vars(page) for name, page in pages.items()},
        "ratios": ratios(pages),
    }
    write(record, args.results)
    print(f"figures: {figures(pages)}")
    sys.exit(1 if missed(pages) else 0)


if __name__ == "__main__":
    main()

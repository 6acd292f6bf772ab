# SPDX-License-Identifier: Apache-2.0
"""What a run's page takes of the server, for ``benchmarks.run_page``.

    python -m django test --settings=tests.settings tests.timing

It prints the figures as JSON: by page the seconds of each round, of the processor and of the clock,
and what was asked and sent. The services are a double in the same process: its share is in them.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time

from django.core.cache import cache
from django.urls import reverse

from tests import large
from tests.cases import HOSTS, AdminPageTests

ROUNDS = 15
FEW, MANY = 10, 1000
BATCHES = 10
# A page of Horizon's own that asks no service for anything.
EMPTY = "horizon:settings:user:index"


@dataclasses.dataclass
class Looked:
    """A page that is looked at again and again.

    :param part: ask for what changes in it
    :param anew: nothing is known of what it shows
    """

    address: str
    part: bool = False
    anew: bool = False
    processor_s: list[float] = dataclasses.field(default_factory=list)
    clock_s: list[float] = dataclasses.field(default_factory=list)
    requests: int = 0
    sent_bytes: int = 0


class Timing(AdminPageTests):
    """Pages side by side, so that what else the machine does is the same for each."""

    def test_pages_take_what_they_take(self) -> None:
        """What it may be is the benchmark's to judge."""
        looked = {"horizon": Looked(reverse(EMPTY))}
        for hosts in (FEW, MANY):
            run = large.add_run(self.fake, hosts, BATCHES)
            address = reverse(f"{HOSTS}run", args=[run])
            looked[f"first_{hosts}"] = Looked(address, anew=True)
            looked[f"refresh_{hosts}"] = Looked(address, part=True)
        ended = large.add_run(self.fake, MANY, BATCHES)
        large.end(self.fake, ended)
        looked[f"ended_{MANY}"] = Looked(reverse(f"{HOSTS}run", args=[ended]), anew=True)
        # The first round loads the templates.
        for number in range(ROUNDS + 1):
            for page in looked.values():
                self._look(page, counted=number > 0)
        told = {name: dataclasses.asdict(page) for name, page in looked.items()}
        # The program that runs it has lines of its own.
        sys.stdout.write(f"{json.dumps(told)}\n")

    def _look(self, page: Looked, *, counted: bool) -> None:
        if page.anew:
            cache.clear()
        self.fake.requests.clear()
        began, began_s = time.process_time(), time.perf_counter()
        answer = self.client.get(page.address, {"part": "yes"} if page.part else {})
        took, took_s = time.process_time() - began, time.perf_counter() - began_s
        self.assertEqual(200, answer.status_code)
        page.requests, page.sent_bytes = len(self.fake.requests), len(answer.content)
        if counted:
            page.processor_s.append(took)
            page.clock_s.append(took_s)

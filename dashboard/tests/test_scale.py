# SPDX-License-Identifier: Apache-2.0
"""A thousand hosts: the pages are readable, and cost no more requests than with one."""

from __future__ import annotations

import sys
import time
from typing import Any

from tests.cases import HOSTS, AdminPageTests

# Steps of a batch, as a deploy has them.
STEPS = ("install_docker", "install_driver", "configure_compute", "verify_host", "enable_compute")
# Of a processor, so that it does not matter what else the machine does; the fake's share is in it.
# A first view loads the templates as well.
FIRST_S, REFRESH_S = 3.0, 1.0


class ScaleTests(AdminPageTests):
    """The pages of a cloud of this many hosts."""

    def run_of(self, hosts: int, batches: int = 20) -> str:
        """Add a run whose last batch is under way; return its id."""
        names = [f"host-{number:04}" for number in range(hosts)]
        run = self.fake.add_run("deploy", input={"hosts": names})
        size = max(hosts // batches, 1)
        for number in range(batches):
            last = number == batches - 1
            rows = [{"host": name, "state": "ok"} for name in names[number * size :][:size]]
            if number == 3 and rows:
                rows[0].update(state="failed", reason="no package")
            below = self.fake.add_below(
                run,
                run,
                f"batch_{number}",
                "_batch",
                "RUNNING" if last else "SUCCESS",
                input={"rows": rows},
            )
            for step in STEPS[: 2 if last else None]:
                self.fake.add_task(below, step, rows=rows)
            if last:
                self.fake.add_task(below, STEPS[2], "RUNNING")
        return run

    def timed(self, name: str, *args: Any, **query: Any) -> tuple[float, int, str]:
        """Return a page with the seconds and the requests that it took."""
        self.fake.requests.clear()
        began = time.process_time()
        page = self.look(name, *args, **query)
        took = time.process_time() - began
        self.assertEqual(200, page.status_code)
        return took, len(self.fake.requests), page.content.decode()

    def test_a_refresh_costs_as_many_requests_for_a_thousand_hosts_as_for_twenty(self) -> None:
        """Batches that have ended are not asked for again."""
        asked = {}
        for hosts in (20, 1000):
            run = self.run_of(hosts)
            first, first_requests, page = self.timed(HOSTS + "run", run)
            again, requests, _ = self.timed(HOSTS + "run", run, part="yes")
            self.assertIn(f"{hosts} hosts", page)
            self.assertLess(first, FIRST_S)
            self.assertLess(again, REFRESH_S)
            asked[hosts] = (first_requests, requests)
            sys.stderr.write(
                f"run page, {hosts} hosts: {first:.2f} s and {first_requests} requests,"
                f" refresh: {again:.2f} s and {requests} requests\n"
            )
        self.assertEqual(asked[20], asked[1000])
        # The run, what it runs, twice, its own tasks and those of the batch under way.
        self.assertEqual(5, asked[1000][1])

    def test_a_thousand_hosts_are_read_a_page_at_a_time_the_failed_one_first(self) -> None:
        """Grouped by their state, with how many there are of each."""
        run = self.run_of(1000)
        _, _, page = self.timed(HOSTS + "run", run)
        rows = page.count('<th scope="row">host-')
        self.assertEqual(20, rows)
        self.assertLess(page.index("host-0150"), page.index("host-0950"))
        for state, count in (("failed", 1), ("running", 50), ("ok", 949)):
            self.assertIn(f'{state} <span class="badge">{count}</span>', page)
        self.assertIn("1 to 20 of 1000", page)
        self.assertLess(len(page), 200_000)

    def test_the_list_of_a_thousand_hosts_costs_as_many_requests_as_of_one(self) -> None:
        """Of each service the same, however many hosts there are."""
        self.fake.add_host("one")
        self.fake.enrol("rack-1", "one")
        _, before, _ = self.timed(HOSTS + "index")
        names = [f"host-{number:04}" for number in range(999)]
        for name in names:
            self.fake.add_host(name)
        self.fake.enrol("rack-1", "one", *names)
        took, after, page = self.timed(HOSTS + "index")
        sys.stderr.write(f"list of 1000 hosts: {took:.2f} s and {after} requests\n")
        self.assertEqual(before, after)
        self.assertIn("1000 of 1000 hosts", page)
        self.assertLess(took, FIRST_S)

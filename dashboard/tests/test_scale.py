# SPDX-License-Identifier: Apache-2.0
"""A thousand hosts: the pages are readable, and cost no more requests than with one.

How long they take is measured by ``benchmarks.run_page``.
"""

from __future__ import annotations

from typing import Any

from tests import large
from tests.cases import HOSTS, AdminPageTests

# What a browser is sent at most, however many hosts there are.
LARGEST_CHARACTERS = 200_000


class ScaleTests(AdminPageTests):
    """The pages of a cloud of this many hosts."""

    def asked(self, name: str, *args: Any, **query: Any) -> tuple[int, str]:
        """Return how many requests a page made, and the page."""
        self.fake.requests.clear()
        page = self.look(name, *args, **query)
        self.assertEqual(200, page.status_code)
        return len(self.fake.requests), page.content.decode()

    def test_a_refresh_costs_as_many_requests_for_a_thousand_hosts_as_for_twenty(self) -> None:
        """Batches that have ended are not asked for again."""
        asked = {}
        for hosts in (20, 1000):
            run = large.add_run(self.fake, hosts)
            first_requests, page = self.asked(HOSTS + "run", run)
            requests, _ = self.asked(HOSTS + "run", run, part="yes")
            self.assertIn(f"{hosts} hosts", page)
            asked[hosts] = (first_requests, requests)
        self.assertEqual(asked[20], asked[1000])
        # The run, what it runs, twice, its own tasks and those of the batch under way.
        self.assertEqual(5, asked[1000][1])

    def test_requests_and_what_a_browser_is_sent_do_not_grow_with_the_hosts(self) -> None:
        """A page shows as many hosts as the user wants, whatever there are."""
        asked, sent = {}, {}
        for hosts in (10, 100, 1000):
            run = large.add_run(self.fake, hosts, batches=10)
            first_requests, page = self.asked(HOSTS + "run", run)
            requests, part = self.asked(HOSTS + "run", run, part="yes")
            asked[hosts] = (first_requests, requests)
            sent[hosts] = (len(page), len(part))
        self.assertEqual(1, len(set(asked.values())), asked)
        for hosts, lengths in sent.items():
            self.assertLess(max(lengths), LARGEST_CHARACTERS, hosts)
        # The inputs name all hosts, and are cut.
        for few, many in zip(sent[100], sent[1000], strict=True):
            self.assertLess(many, 1.2 * few, sent)

    def test_a_thousand_hosts_are_read_a_page_at_a_time_the_failed_one_first(self) -> None:
        """Grouped by their state, with how many there are of each."""
        run = large.add_run(self.fake, 1000)
        _, page = self.asked(HOSTS + "run", run)
        rows = page.count('<th scope="row">host-')
        self.assertEqual(20, rows)
        self.assertLess(page.index("host-0150"), page.index("host-0950"))
        for state, count in (("failed", 1), ("running", 50), ("ok", 949)):
            self.assertIn(f'{state} <span class="badge">{count}</span>', page)
        self.assertIn("1 to 20 of 1000", page)
        self.assertLess(len(page), LARGEST_CHARACTERS)

    def test_the_list_of_a_thousand_hosts_costs_as_many_requests_as_of_one(self) -> None:
        """Of each service the same, however many hosts there are."""
        self.fake.add_host("one")
        self.fake.enrol("rack-1", "one")
        before, _ = self.asked(HOSTS + "index")
        names = large.host_names(999)
        for name in names:
            self.fake.add_host(name)
        self.fake.enrol("rack-1", "one", *names)
        after, page = self.asked(HOSTS + "index")
        self.assertEqual(before, after)
        self.assertIn("1000 of 1000 hosts", page)

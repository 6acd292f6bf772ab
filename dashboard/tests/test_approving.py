# SPDX-License-Identifier: Apache-2.0
"""Batches are approved."""

from __future__ import annotations

from typing import Any

from tests.cases import HOSTS, AdminPageTests

HOLD: dict[str, Any] = {
    "kind": "approval",
    "batch": 2,
    "left": 3,
    "hosts": 1,
    "since": 0,
    "until": 2_000_000_000,
}


class ApproveTests(AdminPageTests):
    """A run waits between two batches."""

    def waiting(self) -> str:
        """Add a run that waits; return its id."""
        run = self.fake.add_run()
        self.fake.add_below(run, run, "hold", "_hold", "RUNNING", input={"hold": HOLD})
        return run

    def test_a_run_that_waits_says_for_what_and_has_a_button_that_approves(self) -> None:
        """One that does not has none."""
        run, other = self.waiting(), self.fake.add_run()
        page = self.look(HOSTS + "run", run).content.decode()
        self.assertIn("It waits for an approval of batch 2 of 4, 1 host", page)
        self.assertIn(f"runs/{run}/approve/", page)
        self.assertIn("waiting", self.look(HOSTS + "runs").content.decode())
        self.assertNotIn("/approve/", self.look(HOSTS + "run", other).content.decode())
        page = self.look(HOSTS + "approve", other).content.decode()
        self.assertIn("It waits for nothing now.", page)

    def test_a_batch_is_approved_after_asking(self) -> None:
        """That one alone."""
        run = self.waiting()
        page = self.look(HOSTS + "approve", run).content.decode()
        self.assertIn('name="batch" value="2"', page)
        self.assertEqual({}, self.fake.environments)
        page = self.send(HOSTS + "approve", run, batch="2").content.decode()
        self.assertEqual([f"novadocker-approve-{run}-2"], [*self.fake.environments])
        self.assertIn("Batch 2 is approved.", page)

    def test_another_batch_than_was_looked_at_is_not_approved(self) -> None:
        """Somebody else has approved that one meanwhile."""
        run = self.waiting()
        for sent in ({"batch": "1"}, {"batch": "two"}, {}):
            page = self.send(HOSTS + "approve", run, **sent).content.decode()
            self.assertIn("waits before batch 2", page)
        self.assertEqual({}, self.fake.environments)

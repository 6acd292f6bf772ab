# SPDX-License-Identifier: Apache-2.0
"""The list of runs, and the page of one."""

from __future__ import annotations

import json
import uuid
import xml.etree.ElementTree as ET
from typing import Any

from tests.cases import HOSTS, AdminPageTests

REPORT = {
    "state": "failed",
    "totals": {"ok": 1, "failed": 1},
    "rows": [
        {"host": "vm-1", "role": "compute", "state": "ok", "changed": True},
        {
            "host": "vm-2",
            "role": "compute",
            "state": "failed",
            "step": "install_docker",
            "reason": "no package",
            "log": "/var/log/novadocker/step.log",
            "rolled_back": True,
        },
    ],
}


class RunListTests(AdminPageTests):
    """The list."""

    def test_runs_are_listed_with_outcome_and_message(self) -> None:
        """The newest first; what a run runs within itself is none."""
        ended = self.fake.add_run(
            "deploy", "ERROR", output={"report": REPORT, "message": "vm-2 failed"}
        )
        running = self.fake.add_run("verify", description="each night")
        self.fake.add_below(running, running, "batch", "_batch", "RUNNING")
        text = self.look(HOSTS + "runs").content.decode()
        self.assertLess(text.index(running), text.index(ended))
        for told in ("vm-2 failed", "novadocker-failed", "novadocker-running", "each night"):
            self.assertIn(told, text)
        self.assertNotIn("_batch", text)

    def test_the_list_is_refreshed_without_its_reports(self) -> None:
        """They are large: they are asked for at first, and when another run has ended."""
        self.fake.add_run("deploy", "ERROR", output={"report": REPORT, "message": "vm-2 failed"})
        running = self.fake.add_run("deploy")

        def asked() -> list[bool]:
            self.fake.requests.clear()
            page = self.look(HOSTS + "runs", part="yes").content.decode()
            self.assertIn("vm-2 failed", page)
            queries = self.fake.asked("/mistral/v2/executions")
            # What runs wait for is asked for as well, in one of its own.
            waits = [query for query in queries if query["workflow_name"].endswith("._hold")]
            self.assertLessEqual(len(waits), 1)
            self.assertNotIn("output", "".join(query["fields"] for query in waits))
            lists = [query for query in queries if query not in waits]
            return ["output" in query["fields"].split(",") for query in lists]

        self.assertEqual([False, True], asked())
        self.assertEqual([False], asked())
        self.fake.executions[running].update(state="SUCCESS", output='{"message": "it is done"}')
        self.assertEqual([False, True], asked())
        self.assertEqual([False], asked())
        self.assertIn("it is done", self.look(HOSTS + "runs").content.decode())

    def test_older_runs_are_a_page_further(self) -> None:
        """As many a page as the user wants."""
        runs = [self.fake.add_run("verify", "SUCCESS") for _ in range(25)]
        first = self.look(HOSTS + "runs").content.decode()
        self.assertIn(f"?marker={runs[5]}", first)
        second = self.look(HOSTS + "runs", marker=runs[5]).content.decode()
        self.assertIn(runs[0], second)
        self.assertNotIn(runs[6], second)
        self.assertIn("Newest", second)


class RunPageTests(AdminPageTests):
    """The page of a run."""

    def running(self) -> str:
        """Add a run whose second host is worked on; return its id."""
        run = self.fake.add_run("deploy", input={"hosts": ["vm-1", "vm-2"]})
        self.fake.add_task(run, "select_hosts")
        below = self.fake.add_below(
            run, run, "batches", "_batch", "RUNNING", input={"rows": [{"host": "vm-1"}]}
        )
        rows = [
            {"host": "vm-1", "state": "ok"},
            {"host": "vm-2", "state": "failed", "reason": "no package"},
        ]
        self.fake.add_task(below, "install_docker", rows=rows)
        self.fake.add_below(
            run,
            below,
            "configure_compute",
            "_step",
            "RUNNING",
            input={"rows": [{"host": "vm-1", "state": "ok"}]},
        )
        return run

    def test_a_run_is_shown_while_it_goes_on(self) -> None:
        """Its phases, each host at each step, the failed one first."""
        run = self.running()
        page = self.look(HOSTS + "run", run).content.decode()
        self.assertLess(page.index('<th scope="row">vm-2'), page.index('<th scope="row">vm-1'))
        for told in ("Install Docker Engine", "Configure nova-compute", "Select hosts"):
            self.assertIn(told, page)
        self.assertIn("no package", page)
        self.assertIn(f"runs/{run}/stop/", page)
        self.assertNotIn("data-ended", page)

    def test_the_part_that_changes_has_no_frame_and_says_when_it_has_ended(self) -> None:
        """The script asks for it with the same choice of hosts."""
        run = self.running()
        page = self.look(HOSTS + "run", run, state="failed", name="vm").content.decode()
        self.assertIn('data-refresh="?state=failed&amp;name=vm&amp;part=yes"', page)
        part = self.look(HOSTS + "run", run, state="failed", part="yes").content.decode()
        self.assertNotIn("<html", part)
        self.assertIn('<th scope="row">vm-2', part)
        self.assertNotIn('<th scope="row">vm-1', part)
        self.fake.executions[run]["state"] = "CANCELLED"
        self.assertIn(
            'data-ended="yes"', self.look(HOSTS + "run", run, part="yes").content.decode()
        )

    def test_a_run_that_has_ended_shows_what_its_report_says(self) -> None:
        """Reason, log and that the host was put back."""
        told = {"report": REPORT, "message": "vm-2 failed at install_docker"}
        run = self.fake.add_run("deploy", "ERROR", output=told)
        page = self.look(HOSTS + "run", run).content.decode()
        for word in ("no package", "/var/log/novadocker/step.log", "put back as it was"):
            self.assertIn(word, page)
        self.assertIn("vm-2 failed at install_docker", page)
        self.assertNotIn(f"runs/{run}/stop/", page)

    def test_the_report_is_had_as_files(self) -> None:
        """JSON, JUnit's XML and a page, none of which a browser shows beside Horizon's pages."""
        run = self.fake.add_run("deploy", "ERROR", output={"report": REPORT, "message": "failed"})
        got: dict[str, Any] = {}
        for form in ("json", "junit", "html"):
            got[form] = self.look(HOSTS + "report", run, form)
            self.assertTrue(got[form]["Content-Disposition"].startswith("attachment"))
            self.assertEqual("nosniff", got[form]["X-Content-Type-Options"])
        self.assertEqual(REPORT, json.loads(got["json"].content))
        self.assertEqual("1", ET.fromstring(got["junit"].content).get("failures"))
        self.assertIn(b"no package", got["html"].content)
        self.assertEqual(404, self.look(HOSTS + "report", run, "pdf").status_code)

    def test_a_run_without_a_report_has_no_file(self) -> None:
        """It leads back, and says why."""
        run = self.fake.add_run()
        page = self.client.get(f"/admin/docker_hosts/runs/{run}/report/json/", follow=True)
        self.assertIn("It has no report", page.content.decode())

    def test_the_address_that_a_runs_message_ends_with_is_its_page(self) -> None:
        """It is told by the actions, which know no Django."""
        run = self.fake.add_run()
        self.assertEqual(200, self.client.get(f"/admin/docker_hosts/runs/{run}/").status_code)

    def test_a_run_that_vanished_is_told_with_the_way_back(self) -> None:
        """Mistral deletes what is old; a page that was open says so and stops asking."""
        for query in ({}, {"part": "yes"}):
            response = self.look(HOSTS + "run", str(uuid.uuid4()), **query)
            self.assertEqual(404, response.status_code)
            self.assertIn("/admin/docker_hosts/runs/", response.content.decode())
            self.assertIn('data-ended="yes"', response.content.decode())

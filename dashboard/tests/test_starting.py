# SPDX-License-Identifier: Apache-2.0
"""Runs are begun: from chosen hosts, and from a plan."""

from __future__ import annotations

import re
import uuid
from typing import Any

from tests.cases import HOSTS, AdminPageTests

DIGEST = "d1g35t"


class StartTests(AdminPageTests):
    """From chosen hosts."""

    def test_hosts_that_were_ticked_stand_in_the_form(self) -> None:
        """And no others."""
        page = self.send(HOSTS + "start", "plan", host=["vm-1", "vm-2"], all_names="vm-1 vm-2 vm-3")
        self.assertIn("vm-1\nvm-2</textarea>", page.content.decode())
        self.assertEqual([], self.started())

    def test_all_hosts_that_were_found_can_be_chosen(self) -> None:
        """More than Django takes as fields of a form, and more than a page shows."""
        names = [f"vm-{number}" for number in range(2500)]
        page = self.send(HOSTS + "start", "plan", all="on", all_names="\n".join(names))
        self.assertIn("\n".join(names) + "</textarea>", page.content.decode())

    def test_a_plan_is_begun_with_these_hosts_and_leads_to_its_page(self) -> None:
        """Inputs that are as they would be without are not sent."""
        once = self.once(self.look(HOSTS + "start", "plan"))
        response = self.send(
            HOSTS + "start",
            "plan",
            once=once,
            hosts="vm-1, vm-2",
            description="before the maintenance",
            images="busybox",
            aggregate="docker-hosts",
            driver_url="",
            driver_index="",
            docker="{}",
            drain="skip",
            max_failed="0",
            step_timeout_s="900",
            agent_timeout_s="60",
        )
        (run,) = self.started()
        self.assertEqual("novadocker.plan", run["workflow_name"])
        self.assertEqual({"hosts": ["vm-1", "vm-2"], "drain": "skip"}, run["input"])
        self.assertEqual("before the maintenance", run["description"])
        self.assertEqual(f"/admin/docker_hosts/runs/{run['id']}/", response.redirect_chain[0][0])

    def test_how_many_may_fail_is_a_number_or_a_percentage(self) -> None:
        """What is neither begins nothing."""
        given = {"hosts": "vm-1", "drain": "refuse", "docker": "{}"}
        for told, sent in (("3", 3), ("5%", "5%")):
            once = self.once(self.look(HOSTS + "start", "plan"))
            self.send(HOSTS + "start", "plan", once=once, max_failed=told, **given)
            self.assertIn(sent, [run["input"].get("max_failed") for run in self.started()])
        for neither in ("some", "-3", "500%", "%"):
            page = self.send(HOSTS + "start", "plan", once="1", max_failed=neither, **given)
            self.assertIn("Give a number, or a percentage such as 5%.", page.content.decode())
        self.assertEqual(2, len(self.started()))

    def test_a_form_without_hosts_begins_nothing_and_says_so(self) -> None:
        """No hosts are never all hosts."""
        page = self.send(HOSTS + "start", "undeploy", once="1", hosts=" , ", drain="skip")
        self.assertEqual(400, page.status_code)
        self.assertIn("This field is required", page.content.decode())
        self.assertEqual([], self.started())

    def test_two_clicks_begin_one_run(self) -> None:
        """The second leads to the run of the first."""
        form = {"once": "c0ffee", "hosts": "vm-1", "drain": "skip"}
        self.send(HOSTS + "start", "undeploy", **form)
        second = self.send(HOSTS + "start", "undeploy", **form)
        (run,) = self.started()
        self.assertIn(run["id"], second.redirect_chain[0][0])
        self.assertIn("sent already", second.content.decode())

    def test_what_was_refused_can_be_sent_again(self) -> None:
        """The inputs are still there, and the same form begins the run."""
        form = {"once": "c0ffee", "hosts": "vm-1", "drain": "skip"}
        self.fake.faults["/mistral"] = (500, 1)
        page = self.send(HOSTS + "start", "undeploy", **form)
        self.assertEqual(409, page.status_code)
        self.assertIn("Mistral does not start undeploy", page.content.decode())
        self.assertIn("vm-1</textarea>", page.content.decode())
        self.send(HOSTS + "start", "undeploy", **form)
        self.assertEqual(1, len(self.started()))

    def test_deploy_is_not_begun_without_a_plan(self) -> None:
        """Nor is a workflow that is not there."""
        for workflow in ("deploy", "nothing"):
            page = self.send(HOSTS + "start", workflow, once="1", hosts="vm-1")
            self.assertEqual(404, page.status_code)
        self.assertEqual([], self.started())


class DeployTests(AdminPageTests):
    """From a plan."""

    def plan(self, **more: Any) -> str:
        """Add a plan that was made; return its id."""
        report = {
            "state": "planned",
            "plan_digest": DIGEST,
            "rows": [{"host": "vm-1", "state": "planned", "step": "install_docker"}],
        }
        given = {"hosts": ["vm-1"], "images": ["busybox"], "batch_size": 2}
        told = {"report": report, "message": "1 of 1 hosts would be converted"}
        return self.fake.add_run(
            "plan", "SUCCESS", **{"input": given, "output": told, "state_info": None, **more}
        )

    def test_a_plan_is_deployed_with_its_inputs_and_its_digest(self) -> None:
        """What is sent is what the page showed."""
        plan = self.plan()
        self.assertIn(f"runs/{plan}/deploy/", self.look(HOSTS + "run", plan).content.decode())
        page = self.look(HOSTS + "deploy", plan).content.decode()
        self.assertIn("vm-1", page)
        digest = re.search('name="digest" value="([^"]+)"', page).group(1)
        self.send(HOSTS + "deploy", plan, digest=digest)
        (run,) = self.started()
        self.assertEqual("novadocker.deploy", run["workflow_name"])
        self.assertEqual(
            {"hosts": ["vm-1"], "images": ["busybox"], "batch_size": 2, "plan_digest": DIGEST},
            run["input"],
        )

    def test_a_digest_that_is_not_the_plans_begins_nothing(self) -> None:
        """An old tab, or a form that somebody wrote."""
        page = self.send(HOSTS + "deploy", self.plan(), digest="another")
        self.assertEqual(409, page.status_code)
        self.assertIn("not the one that you looked at", page.content.decode())
        self.assertEqual([], self.started())

    def test_what_is_no_plan_is_not_deployed(self) -> None:
        """A plan that failed, or a run of another workflow."""
        for run in (self.fake.add_run("plan", "ERROR"), self.fake.add_run("verify", "SUCCESS")):
            page = self.send(HOSTS + "deploy", run, digest=DIGEST)
            self.assertEqual(409, page.status_code)
            self.assertNotIn(f"runs/{run}/deploy/", self.look(HOSTS + "run", run).content.decode())
        self.assertEqual([], self.started())

    def test_a_plan_that_became_stale_is_told_and_made_again_with_its_inputs(self) -> None:
        """The workflow finds it out; the page shows the way on."""
        refused = {
            "report": {
                "state": "refused",
                "errors": [{"task": "make_plan", "error": "The plan is another by now."}],
            },
            "message": "Refused, nothing was changed: The plan is another by now.",
        }
        run = self.fake.add_run(
            "deploy", "ERROR", input={"hosts": ["vm-1"], "plan_digest": DIGEST}, output=refused
        )
        page = self.look(HOSTS + "run", run).content.decode()
        self.assertIn("The plan is another by now.", page)
        self.assertIn(f"/admin/docker_hosts/start/plan/?like={run}", page)
        form = self.look(HOSTS + "start", "plan", like=run).content.decode()
        self.assertIn("vm-1</textarea>", form)
        self.assertNotIn(DIGEST, form)

    def test_two_operators_who_click_at_once_begin_one_deploy(self) -> None:
        """The second click arrives while the first is asking Mistral."""
        plan = self.plan()
        second: list[Any] = []

        def click(method: str, path: str) -> None:
            if method == "POST" and path.endswith("/executions") and not second:
                second.append(None)
                second[0] = self.send(HOSTS + "deploy", plan, digest=DIGEST)

        self.fake.on_request = click
        self.send(HOSTS + "deploy", plan, digest=DIGEST)
        self.assertEqual(1, len(self.started()))
        self.assertIn("sent already", second[0].content.decode())

    def test_a_plan_that_is_being_deployed_leads_to_that_run(self) -> None:
        """Begun by a command, or before Horizon's cache was emptied."""
        running = self.fake.add_run("deploy", "RUNNING", input={"plan_digest": DIGEST})
        page = self.send(HOSTS + "deploy", self.plan(), digest=DIGEST)
        self.assertIn(running, page.redirect_chain[0][0])
        self.assertEqual([], self.started())

    def test_a_plan_that_vanished_is_told(self) -> None:
        """With the way back."""
        page = self.send(HOSTS + "deploy", str(uuid.uuid4()), digest=DIGEST)
        self.assertEqual(404, page.status_code)
        self.assertIn("Back to the list", page.content.decode())


class StopTests(AdminPageTests):
    """Runs are stopped."""

    def test_a_run_is_stopped_after_asking(self) -> None:
        """The page says which hosts it leaves out of service."""
        run = self.fake.add_run()
        self.fake.add_host("vm-1", status="disabled", disabled_reason=f"novadocker: {run}")
        page = self.look(HOSTS + "stop", run).content.decode()
        self.assertIn("Out of service now: vm-1", page)
        self.assertEqual("RUNNING", self.fake.executions[run]["state"])
        self.assertEqual({}, self.fake.environments)
        page = self.send(HOSTS + "stop", run).content.decode()
        # It is asked, and not cut off.
        self.assertEqual("RUNNING", self.fake.executions[run]["state"])
        self.assertEqual([f"novadocker-stop-{run}"], [*self.fake.environments])
        self.assertIn("The run ends with what is under way.", page)

    def test_a_run_is_cut_off_where_it_is_by_a_button_of_its_own(self) -> None:
        """Beside which the page says what that leaves."""
        run = self.fake.add_run()
        page = self.look(HOSTS + "stop", run).content.decode()
        warned, button = page.index("Its hosts stay as they are"), page.index('name="now"')
        self.assertLess(warned, button)
        page = self.send(HOSTS + "stop", run, now="yes").content.decode()
        self.assertEqual("CANCELLED", self.fake.executions[run]["state"])
        self.assertEqual({}, self.fake.environments)
        self.assertIn("The run is stopped where it was.", page)

    def test_the_second_of_two_clicks_is_told_that_it_has_ended(self) -> None:
        """Nothing more happens to it."""
        run = self.fake.add_run()
        self.send(HOSTS + "stop", run, now="yes")
        page = self.send(HOSTS + "stop", run)
        self.assertEqual(200, page.status_code)
        self.assertIn("has ended already", page.content.decode())

# SPDX-License-Identifier: Apache-2.0
"""The card of Docker hosts on Horizon's own Admin > Overview."""

from __future__ import annotations

from typing import Any
from unittest import mock

from django.http import HttpResponse
from django.test import RequestFactory
from openstack_dashboard import api

from novadocker_dashboard import cloud
from novadocker_dashboard.content.docker_hosts import card
from tests.cases import MARKUP, AdminPageTests, PageTests
from tests.markup import Page

OVERVIEW = "horizon:admin:overview:index"
# What Horizon's own page has, with the card or without it.
HORIZONS = "Usage Summary"


class CardTests(AdminPageTests):
    """What it shows, to an administrator."""

    def setUp(self) -> None:
        """Have what Horizon asks for its own part of the page."""
        super().setUp()
        for asked, answer in (("nova.usage_list", []), ("keystone.tenant_list", ([], False))):
            service, name = asked.split(".")
            patch = mock.patch.object(getattr(api, service), name, return_value=answer)
            patch.start()
            self.addCleanup(patch.stop)

    def overview(self, **query: Any) -> str:
        """Return the page, which has all of Horizon's own."""
        response = self.look(OVERVIEW, **query)
        self.assertEqual(200, response.status_code)
        text: str = response.content.decode()
        self.assertIn(HORIZONS, text)
        return text

    def card(self) -> str:
        """Return the card."""
        before, section, rest = self.overview().partition("<section")
        self.assertNotIn(HORIZONS, before)
        return section + rest.partition("</section>")[0]

    def test_the_last_run_and_hypervisors_by_type_are_shown_with_their_pages(self) -> None:
        """The operator has ended a run, and looks there first."""
        self.fake.add_run("plan", "SUCCESS", output={"report": {"state": "planned"}})
        run = self.fake.add_run(
            "deploy", "ERROR", output={"message": "vm-2 failed.", "report": {"state": "failed"}}
        )
        self.fake.add_host("vm-1")
        self.fake.add_host("vm-2")
        self.fake.add_host("docker-1", hypervisor_type="docker")
        text = self.card()
        self.assertIn(f'href="/admin/docker_hosts/runs/{run}/">deploy, ', text)
        self.assertIn('<span class="label label-danger">failed</span>', text)
        self.assertIn("vm-2 failed.", text)
        self.assertRegex(text, r'\?type=docker">docker</a> <span class="badge">1</span>')
        self.assertRegex(text, r'\?type=QEMU">QEMU</a> <span class="badge">2</span>')
        self.assertIn('href="/admin/docker_hosts/runs/"', text)

    def test_a_run_that_goes_on_is_told_as_such(self) -> None:
        """It has no message yet."""
        self.fake.add_run("deploy", "RUNNING")
        self.assertIn(">running</span>", self.card())

    def test_a_cloud_without_runs_says_so(self) -> None:
        """And has its hypervisors all the same."""
        self.fake.add_host("vm-1")
        text = self.card()
        self.assertIn("There is no run.", text)
        self.assertIn(">QEMU</a>", text)

    def test_what_is_away_is_told_and_all_else_is_there(self) -> None:
        """Whether a service answers with a fault, not at all, or wants another login."""
        run = self.fake.add_run("deploy", "SUCCESS", output={"report": {"state": "done"}})
        self.fake.add_host("vm-1")
        parts = {"/mistral": ("Mistral does not list runs", "QEMU"), "/nova": ("Nova does", run)}
        for status in (503, 500, 403, 401, 0):
            for path, (told, left) in parts.items():
                self.fake.faults = {path: (status, None)}
                text = self.card()
                self.assertIn(told, text, status)
                self.assertIn(left, text, status)
            self.fake.faults = dict.fromkeys(parts, (status, None))
            text = self.card()
            for told, _ in parts.values():
                self.assertIn(told, text, status)

    def test_an_error_of_our_own_leaves_horizons_page_whole(self) -> None:
        """The log has it."""
        for broken in ("_is_for", "_told"):
            with (
                mock.patch.object(card, broken, side_effect=RecursionError),
                self.assertLogs(card.LOG, "ERROR"),
            ):
                self.assertIn("Docker hosts cannot be shown", self.card())

    def test_nobody_waits_long_for_it(self) -> None:
        """A service that hangs keeps Horizon's page for some seconds and no longer."""
        with mock.patch.object(cloud, "Session", wraps=cloud.Session) as made:
            self.overview()
        self.assertEqual([card.TIMEOUT_S], [call.kwargs["timeout"] for call in made.mock_calls])

    def test_it_asks_no_more_for_more_hosts_and_more_runs(self) -> None:
        """What it costs Horizon's page does not grow with the cloud."""
        counts = []
        for _ in range(2):
            for number in range(20):
                self.fake.add_host(f"vm-{len(self.fake.executions)}-{number}")
                self.fake.add_run("verify", "SUCCESS")
            self.fake.requests.clear()
            self.overview()
            counts.append(len(self.fake.requests))
        self.assertEqual(counts[0], counts[1])

    def test_what_hosts_and_runs_tell_is_neither_markup_nor_an_expression(self) -> None:
        """Horizon's page has AngularJS on it, which looks for expressions wherever it may."""
        told = f"{MARKUP} {{$ constructor.constructor('alert(1)')() $}}"
        output = {"message": told, "report": {"state": told}}
        self.fake.add_run("deploy", "SUCCESS", output=output)
        self.fake.add_host("vm-1", hypervisor_type=told)
        text = self.card()
        self.assertNotIn(MARKUP, text)
        self.assertIn("&lt;script&gt;alert(1)", text)
        self.assertRegex(text, "^<section [^>]*ng-non-bindable")

    def test_a_run_that_has_no_page_is_shown_without_a_link(self) -> None:
        """Who begins an execution may choose its id."""
        (run,) = (self.fake.executions[self.fake.add_run("deploy", "SUCCESS")],)
        run["id"] = "no-uuid"
        self.fake.executions = {"no-uuid": run}
        text = self.card()
        self.assertIn("deploy, ", text)
        self.assertNotIn("runs/no-uuid", text)
        page = self.look("horizon:admin:docker_hosts:runs").content.decode()
        self.assertIn("<code>no-uuid</code>", page)

    def test_what_is_no_text_is_shown_as_far_as_it_is(self) -> None:
        """A host may say anything in its JSON."""
        output = {"message": "half \ud800 a pair", "report": {"state": "failed"}}
        self.fake.add_run("deploy", "ERROR", output=output)
        self.assertIn("half ? a pair", self.card())

    def test_a_card_that_cannot_be_drawn_or_sent_leaves_horizons_page_whole(self) -> None:
        """The log has it."""
        for told in ({"types": 5}, {"faults": ["\ud800"]}):
            with (
                mock.patch.object(card, "_told", return_value=told),
                self.assertLogs(card.LOG, "ERROR"),
            ):
                self.assertIn("Docker hosts cannot be shown", self.card())

    def test_it_has_no_script_no_style_and_nothing_from_outside(self) -> None:
        """As all pages of ours."""
        self.fake.add_run("deploy", "SUCCESS", output={"message": "well"})
        page = Page(self.card())
        self.assertEqual(([], []), (page.inline, page.loaded))
        self.assertTrue(all(str(link["href"]).startswith("/admin/") for link in page.links))

    def test_who_may_not_see_the_panel_has_horizons_page_alone(self) -> None:
        """By the policy of a service, or as the cloud has no Mistral."""
        with mock.patch.object(card.horizon, "get_dashboard") as dashboard:
            dashboard().get_panel().can_access.return_value = False
            dashboard().get_panel().permissions = ()
            self.assertNotIn("<section", self.overview())
        self.service_catalog[:] = [
            service for service in self.service_catalog if service["type"] != "workflowv2"
        ]
        self.assertNotIn("<section", self.overview())
        self.assertEqual([], self.fake.asked("/mistral"))

    def test_a_panel_that_is_switched_off_has_no_card(self) -> None:
        """An operator may have the tenants' panel alone."""
        gone = card.horizon.base.NotRegistered("no such panel")
        with mock.patch.object(card.horizon, "get_dashboard", side_effect=gone):
            self.assertNotIn("<section", self.overview())

    def test_usage_as_a_file_is_horizons_own(self) -> None:
        """There is no card in it."""
        response = self.look(OVERVIEW, format="csv")
        self.assertEqual("text/csv", response["Content-Type"])
        self.assertEqual([], self.fake.requests)


class TenantCardTests(PageTests):
    """A tenant."""

    def test_a_tenant_has_no_card(self) -> None:
        """Whatever page asks for it."""
        request = RequestFactory().get("/")
        request.user = self.request.user
        self.assertEqual("", card.html(request))
        self.assertEqual([], self.fake.requests)
        response: HttpResponse = self.look(OVERVIEW)
        self.assertEqual(403, response.status_code)

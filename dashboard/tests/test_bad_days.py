# SPDX-License-Identifier: Apache-2.0
"""Services that are away, sessions that have expired, users without rights, names with markup."""

from __future__ import annotations

from typing import Any
from unittest import mock

from django.urls import reverse

from novadocker_dashboard import rights
from tests.cases import CONTAINERS, HOSTS, MARKUP, AdminPageTests, PageTests

UUID = "01234567-89ab-cdef-0123-456789abcdef"


class ServiceAwayTests(AdminPageTests):
    """The page stays and says which."""

    def test_each_page_stays_and_says_which_service_is_away(self) -> None:
        """Whether it answers with a fault or not at all."""
        run = self.fake.add_run()
        server = self.fake.add_server("web-1")
        pages: list[tuple[str, tuple[Any, ...], str, str]] = [
            (HOSTS + "index", (), "/nova", "Nova does not list"),
            (HOSTS + "index", (), "/heat", "Heat does not list"),
            (HOSTS + "runs", (), "/mistral", "Mistral does not list runs"),
            (HOSTS + "run", (run,), "/mistral", "Mistral does not show the run"),
            (HOSTS + "stop", (run,), "/nova", "Nova does not list"),
            (HOSTS + "approve", (run,), "/mistral", "Mistral does not show the run"),
            (HOSTS + "deploy", (run,), "/mistral", "Mistral does not show the run"),
            (CONTAINERS + "index", (), "/glance", "Glance does not list docker images"),
            (CONTAINERS + "index", (), "/nova", "Nova does not list servers"),
            (CONTAINERS + "log", (server,), "/nova", "Nova does not show the console log"),
            (CONTAINERS + "boot", (), "/neutron", "Neutron does not list networks"),
        ]
        for name, args, path, told in pages:
            for status in (503, 0):
                self.fake.faults = {path: (status, None)}
                response = self.look(name, *args)
                self.assertEqual(200, response.status_code, (name, path))
                self.assertIn(told, response.content.decode(), (name, path, status))

    def test_a_run_is_shown_without_its_steps(self) -> None:
        """Mistral answers for the run, and not for what it runs."""
        run = self.fake.add_run("deploy", "ERROR", output={"message": "vm-2 failed"})
        self.fake.faults[f"/mistral/v2/executions/{run}/tasks"] = (500, None)
        page = self.look(HOSTS + "run", run).content.decode()
        self.assertIn("vm-2 failed", page)
        self.assertIn("Mistral does not show the tasks", page)

    def test_a_service_that_refuses_is_told_with_what_to_do(self) -> None:
        """Its policy is stricter than the one that Horizon has."""
        self.fake.faults["/mistral"] = (403, None)
        page = self.send(HOSTS + "start", "plan", once="1", hosts="vm-1", drain="skip")
        self.assertEqual(409, page.status_code)
        self.assertIn("Use a user that the service&#x27;s policy allows it", page.content.decode())

    def test_a_cloud_without_mistral_has_no_such_panel(self) -> None:
        """It would have nothing to show."""
        self.service_catalog[:] = [
            service for service in self.service_catalog if service["type"] != "workflowv2"
        ]
        self.assertEqual(403, self.look(HOSTS + "index").status_code)

    def test_there_is_no_report_from_a_service_that_is_away(self) -> None:
        """The way leads back to the run's page."""
        run = self.fake.add_run()
        self.fake.faults["/mistral"] = (503, None)
        page = self.client.get(reverse(HOSTS + "report", args=[run, "json"]), follow=True)
        self.assertIn("Mistral does not show the run", page.content.decode())


class ExpiredSessionTests(AdminPageTests):
    """The token is not taken any more."""

    def test_a_page_leads_to_the_login_and_from_there_back(self) -> None:
        """The session is ended, else the login would lead straight back."""
        self.fake.faults["/mistral"] = (401, None)
        self.client.session["kept"] = "yes"
        response = self.look(HOSTS + "runs")
        self.assertEqual(302, response.status_code)
        self.assertIn("/auth/login/?next=/admin/docker_hosts/runs/", response["location"])
        self.assertNotIn("kept", self.client.session)

    def test_what_asks_for_a_part_is_told_where_to_log_in(self) -> None:
        """A script is not sent the login page in place of what it asked for."""
        self.fake.faults["/mistral"] = (401, None)
        response = self.client.get(
            reverse(HOSTS + "runs"), {"part": "yes"}, headers={"X-Requested-With": "XMLHttpRequest"}
        )
        self.assertEqual(401, response.status_code)
        self.assertIn("/auth/login/", response["X-Horizon-Location"])

    def test_a_form_is_not_carried_out(self) -> None:
        """And can be sent again after logging in."""
        self.fake.faults["/mistral"] = (401, 1)
        form = {"once": "1", "hosts": "vm-1", "drain": "skip"}
        response = self.client.post(reverse(HOSTS + "start", args=["plan"]), form)
        self.assertIn("/auth/login/", response["location"])
        self.send(HOSTS + "start", "plan", **form)
        self.assertEqual(1, len(self.started()))


class TenantTests(PageTests):
    """A user without an administrator's rights."""

    def test_no_page_of_the_administrators_is_shown(self) -> None:
        """Nor is anything asked of the cloud, or begun."""
        for name, args in (
            ("index", ()),
            ("runs", ()),
            ("run", (UUID,)),
            ("report", (UUID, "json")),
            ("start", ("plan",)),
            ("deploy", (UUID,)),
            ("stop", (UUID,)),
            ("approve", (UUID,)),
        ):
            posted = ("start", "deploy", "stop", "approve")
            ask = self.client.post if name in posted else self.client.get
            self.assertEqual(403, ask(reverse(HOSTS + name, args=args)).status_code, name)
        self.assertEqual([], self.fake.requests)

    def test_the_panel_is_not_in_the_sidebar(self) -> None:
        """The tenant's own is."""
        page = self.look(CONTAINERS + "index").content.decode()
        self.assertNotIn("/admin/docker_hosts/", page)
        self.assertIn('href="/project/docker_containers/"', page)


class ReaderTests(PageTests):
    """A user who may look at servers and change none.

    What a reader may is another thing in each release of Nova's policy: it is said here.
    """

    def setUp(self) -> None:
        """Have a policy that allows to look."""
        super().setUp()
        look = {*rights.LIST, *rights.LOG}
        patch = mock.patch.object(rights, "policy", autospec=True)
        policy = patch.start()
        policy.check.side_effect = lambda rules, *_: look.issuperset(rules)
        self.addCleanup(patch.stop)

    def test_buttons_without_the_right_to_press_them_are_not_there(self) -> None:
        """Each is asked for by the policy of its service."""
        server = self.fake.add_server("web-1")
        page = self.look(CONTAINERS + "index").content.decode()
        self.assertIn("web-1", page)
        for address in ("boot/", f"{server}/stop/", f"{server}/reboot/"):
            self.assertNotIn(f"/project/docker_containers/{address}", page)

    def test_pressing_them_all_the_same_does_nothing(self) -> None:
        """A form that somebody wrote."""
        server = self.fake.add_server("web-1")
        self.assertEqual(403, self.send(CONTAINERS + "act", server, "stop").status_code)
        self.assertEqual(403, self.send(CONTAINERS + "boot", name="x").status_code)
        self.assertEqual(([], []), (self.fake.acts, self.fake.booted))


class MarkupTests(AdminPageTests):
    """Hosts and tenants choose names, and what is told of them."""

    def test_markup_in_what_hosts_and_tenants_say_is_text(self) -> None:
        """On each page that shows it, in attributes as well."""
        attribute = '"><img src=x onerror=alert(1)>'
        name = MARKUP + attribute
        self.fake.add_host(name, hypervisor_type=name, status="disabled", disabled_reason=name)
        self.fake.enrol(name, name)
        row = {"host": name, "state": "failed", "step": name, "reason": name, "log": name}
        report = {
            "state": "planned",
            "plan_digest": name,
            "rows": [row],
            "notes": [name],
            "errors": [{"task": name, "error": name}],
            "images": [{"reference": name, "reason": name}],
        }
        run = self.fake.add_run(
            "plan",
            "SUCCESS",
            input={"hosts": [name], name: name},
            output={"report": report, "message": name},
            description=name,
            state_info=name,
        )
        self.fake.add_task(run, name, rows=[row])
        image = self.fake.add_image(name)
        server = self.fake.add_server(name, image=image, status=name, fault={"message": name})
        self.fake.servers[0]["image"]["properties"]["os_command_line"] = name
        self.fake.servers[0]["addresses"] = {name: [{"addr": name}]}
        self.fake.logs[server] = name
        self.fake.networks = [{"id": name, "name": name, "project_id": self.tenant.id}]
        self.fake.flavors[0]["name"] = name
        shown = [
            self.look(HOSTS + "index", name=MARKUP),
            self.send(HOSTS + "start", "plan", host=[name]),
            self.look(HOSTS + "runs"),
            self.look(HOSTS + "run", run),
            self.look(HOSTS + "deploy", run),
            self.look(CONTAINERS + "index"),
            self.look(CONTAINERS + "log", server),
            self.look(CONTAINERS + "boot"),
        ]
        for response in shown:
            page, where = response.content.decode(), response.request["PATH_INFO"]
            self.assertEqual(200, response.status_code, where)
            self.assertNotIn(MARKUP, page, where)
            self.assertNotIn("<img src=x", page, where)
            self.assertIn("&lt;script&gt;alert(1)", page, where)

# SPDX-License-Identifier: Apache-2.0
"""What a browser is allowed and asked to do by our pages."""

from __future__ import annotations

import pathlib
import re
from urllib.parse import urlsplit

from django.http import HttpResponse
from django.test import override_settings
from django.urls import reverse

import novadocker_dashboard
from novadocker_dashboard import pages
from novadocker_dashboard.content.containers import urls as containers_urls
from novadocker_dashboard.content.docker_hosts import urls as hosts_urls
from tests.cases import CONTAINERS, HOSTS, AdminPageTests
from tests.markup import Page

FILES = pathlib.Path(novadocker_dashboard.__file__).parent


class FrameTests(AdminPageTests):
    """The frame of all pages."""

    def shown(self) -> list[tuple[str, str]]:
        """Return each page's address and text."""
        texts = []
        for name, *args in self.all_pages():
            response = self.look(name, *args)
            self.keeps_the_policy(response)
            texts.append((name, response.content.decode()))
        return texts

    def keeps_the_policy(self, response: HttpResponse) -> None:
        """Require that a browser is told to take nothing but our own files."""
        policy = response["Content-Security-Policy"]
        self.assertIn("default-src 'none';", policy)
        self.assertIn("script-src 'self';", policy)
        self.assertIn("style-src 'self';", policy)
        self.assertNotIn("unsafe", policy)

    def test_all_pages_of_both_panels_are_looked_at_here(self) -> None:
        """But for what gives no page: files of a report, and what is done to a container."""
        known = {
            f"{panel}{address.name}"
            for panel, addresses in ((HOSTS, hosts_urls), (CONTAINERS, containers_urls))
            for address in addresses.urlpatterns
        }
        pages_of_panels = known - {HOSTS + "report", CONTAINERS + "act"}
        self.assertEqual(pages_of_panels, {name for name, _ in self.shown()})

    def test_what_is_no_page_has_the_policy_too(self) -> None:
        """A report as HTML is what a browser may show, and what is done leads to a page."""
        run = self.fake.add_run("deploy", "SUCCESS", output={"report": {"state": "done"}})
        for form in ("json", "junit", "html"):
            self.keeps_the_policy(self.look(HOSTS + "report", run, form))
        server = self.fake.add_server("web-1")
        self.keeps_the_policy(self.client.post(reverse(CONTAINERS + "act", args=[server, "stop"])))

    def test_no_page_has_what_its_policy_forbids(self) -> None:
        """Scripts, styles and handlers within it: Horizon's own frame has some."""
        for name, text in self.shown():
            self.assertEqual([], Page(text).inline, name)
            self.assertNotIn("ng-app", text, name)

    def test_all_that_leads_somewhere_is_reached_by_the_tab_key_in_its_order(self) -> None:
        """A link without an address is not, and one with a number of its own comes before all."""
        for name, text in self.shown():
            page = Page(text)
            self.assertTrue(page.links, name)
            for link in page.links:
                # What is chosen already leads nowhere.
                if "disabled" not in str(link.get("class")):
                    self.assertTrue(link.get("href"), (name, link))
                self.assertNotIn("tabindex", link, name)

    def test_a_message_says_what_its_button_does(self) -> None:
        """It has a cross on it, which nobody hears."""
        page = self.send(HOSTS + "start", "verify", once="1", hosts="vm-1").content.decode()
        self.assertIn("Verify has begun.", page)
        self.assertRegex(page, 'data-dismiss="alert" aria-label="Close"')
        self.assertNotIn('data-dismiss="alert" href', page)

    def test_each_page_says_where_it_is(self) -> None:
        """With the way to the panel's first page."""
        for name, text in self.shown():
            trail = text.partition('<ol class="breadcrumb">')[2].partition("</ol>")[0]
            panel = "docker_hosts" if name.startswith(HOSTS) else "docker_containers"
            self.assertIn(f"/{panel}/", trail, name)
            self.assertNotIn("None", trail, name)

    def test_no_page_loads_anything_from_outside(self) -> None:
        """Nor sends a form there."""
        for name, text in self.shown():
            for address in Page(text).loaded:
                self.assertEqual("", urlsplit(address).netloc, (name, address))

    def test_every_field_has_a_label(self) -> None:
        """By its label, around it or by its id, or by what a screen reader says."""
        for name, text in self.shown():
            page = Page(text)
            for field in page.fields:
                known = field.get("aria-label") or field.get("id") in page.labelled
                self.assertTrue(known, (name, field))

    def test_what_has_a_name_says_what_it_is(self) -> None:
        """Screen readers leave out the name of an element that has no role."""
        for name, text in self.shown():
            self.assertEqual([], Page(text).unheard, name)

    def test_scripts_and_styles_load_nothing_either(self) -> None:
        """They ask only for the address that the page names, which is its own."""
        for path in (FILES / "static").rglob("*.*"):
            self.assertEqual([], re.findall(r"https?://|url\(|@import|eval\(", path.read_text()))

    def test_static_files_of_another_host_are_allowed_by_name(self) -> None:
        """And nothing else of it."""
        with override_settings(STATIC_URL="https://static.example.com/horizon/"):
            policy = pages.content_security_policy()
        self.assertIn("script-src 'self' https://static.example.com;", policy)
        self.assertIn("connect-src 'self';", policy)

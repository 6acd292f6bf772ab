# SPDX-License-Identifier: Apache-2.0
"""A user who is logged in to Horizon and looks at pages of the fake cloud."""

from __future__ import annotations

import functools
import json
import re
from typing import Any
from unittest import mock

import requests
from django.core.cache import cache
from django.http import HttpResponse
from django.urls import reverse
from horizon.middleware import base
from keystoneauth1.session import Session
from openstack_dashboard.test import helpers
from openstack_dashboard.test.test_data import keystone_data
from openstack_dashboard.test.test_data.utils import TestData

from novadocker_dashboard import cloud
from tests.dashboard_cloud import DashboardCloud

HOSTS = "horizon:admin:docker_hosts:"
CONTAINERS = "horizon:project:docker_containers:"
MARKUP = "<script>alert(1)</script>"


class PageTests(helpers.TestCase):
    """A tenant."""

    def setUp(self) -> None:
        """Log in."""
        cache.clear()
        self.fake = DashboardCloud()
        transport = requests.Session()
        transport.mount("http://", self.fake)
        # Horizon's own page for what is not allowed takes a second to make.
        refused = HttpResponse("You are not authorized", status=403)
        for patch in (
            mock.patch.object(cloud, "Session", functools.partial(Session, session=transport)),
            mock.patch.object(base, "shortcuts", mock.Mock(render=lambda *_, **__: refused)),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        super().setUp()

    def _setup_test_data(self) -> None:
        # Users and projects alone: other data puts classes of exceptions out of order for good.
        vars(self).update(vars(TestData(keystone_data.data)))
        self.context = {"authorized_tenants": self.tenants.list(), "JS_CATALOG": ""}
        self.service_catalog = self.fake.catalog()

    def look(self, name: str, /, *args: Any, **query: Any) -> HttpResponse:
        """Return the page of this address."""
        return self.client.get(reverse(name, args=args), query)

    def send(self, name: str, /, *args: Any, **form: Any) -> HttpResponse:
        """Send a form to this address; return the page that it leads to."""
        return self.client.post(reverse(name, args=args), form, follow=True)

    def started(self) -> list[dict[str, Any]]:
        """Return the runs that were begun through the API, with their inputs."""
        return [
            {**run, "input": json.loads(run["input"])}
            for run in self.fake.executions.values()
            if run["id"] in self.fake.created
        ]

    def once(self, response: HttpResponse) -> str:
        """Return what tells a form from each other one."""
        return re.search('name="once" value="([0-9a-f]+)"', response.content.decode()).group(1)


class AdminPageTests(PageTests, helpers.BaseAdminViewTests):
    """An administrator."""

    def all_pages(self) -> list[tuple[str, *tuple[str, ...]]]:
        """Fill the cloud; return the name of each page that there is, and what it is about."""
        self.fake.add_host("vm-1")
        run = self.fake.add_run(
            "plan", "SUCCESS", output={"report": {"state": "planned", "plan_digest": "d"}}
        )
        server = self.fake.add_server("web-1")
        return [
            (HOSTS + "index",),
            (HOSTS + "start", "plan"),
            (HOSTS + "images",),
            (HOSTS + "publish",),
            (HOSTS + "runs",),
            (HOSTS + "run", run),
            (HOSTS + "deploy", run),
            (HOSTS + "stop", run),
            (HOSTS + "approve", run),
            (CONTAINERS + "index",),
            (CONTAINERS + "log", server),
            (CONTAINERS + "boot",),
            (CONTAINERS + "upload",),
        ]

# SPDX-License-Identifier: Apache-2.0
"""The list of docker images, from which some are published and preloaded."""

from __future__ import annotations

import re
from typing import Any
from unittest import mock

from novadocker_dashboard import rights
from tests.cases import HOSTS, MARKUP, AdminPageTests, PageTests


class ImageListTests(AdminPageTests):
    """What an administrator sees of images, and does with them."""

    def published(self, name: str, **more: Any) -> str:
        """Add an image that a run has published for the user's project; return its id."""
        key = self.fake.add_image(name, owner=self.tenant.id, **more)
        self.fake.images[-1]["tags"] = [f"novadocker-published-{key}"]
        return key

    def test_images_are_listed_and_those_that_a_run_has_published_can_be_preloaded(self) -> None:
        """Of others it is not known where they come from."""
        self.published(
            "busybox", docker_reference="busybox:latest", docker_digest="sha256:" + "a" * 64
        )
        self.fake.add_image("by hand")
        page = self.look(HOSTS + "images").content.decode()
        self.assertIn("by hand", page)
        self.assertIn("sha256:aaaaaaaaaaaa", page)
        self.assertEqual(["busybox:latest"], re.findall('name="image" value="([^"]+)"', page))

    def test_images_that_were_ticked_are_preloaded_onto_all_docker_hypervisors(self) -> None:
        """Both stand in the form, and can be changed there."""
        self.fake.add_host("vm-1")
        self.fake.add_host("docker-1", hypervisor_type="docker")
        self.fake.add_host("docker-2", hypervisor_type="docker")
        given = ["busybox:latest", "nginx:1.27"]
        page = self.send(HOSTS + "start", "preload_images", image=given).content.decode()
        self.assertIn("docker-1\ndocker-2</textarea>", page)
        self.assertIn("busybox:latest\nnginx:1.27</textarea>", page)
        self.assertEqual([], self.started())
        self.send(
            HOSTS + "start", "preload_images", once="1", hosts="docker-1", images="nginx:1.27"
        )
        (run,) = self.started()
        self.assertEqual("novadocker.preload_images", run["workflow_name"])
        self.assertEqual({"hosts": ["docker-1"], "images": ["nginx:1.27"]}, run["input"])

    def test_images_are_published_and_no_host_is_asked_for(self) -> None:
        """Two clicks publish them once."""
        page = self.look(HOSTS + "publish")
        text = page.content.decode()
        self.assertIn("Publish images", text)
        for name in ("hosts", "exclude", "aggregate", "preload"):
            self.assertNotIn(f'name="{name}"', text)
        form = {"once": self.once(page), "images": "nginx:1.27, redis", "description": "for today"}
        first = self.send(HOSTS + "publish", **form)
        self.assertIn("Publish images has begun.", first.content.decode())
        second = self.send(HOSTS + "publish", **form)
        self.assertIn("sent already", second.content.decode())
        (run,) = self.started()
        self.assertEqual({"images": ["nginx:1.27", "redis"], "preload": False}, run["input"])
        self.assertEqual("for today", run["description"])

    def test_what_mistral_refuses_is_told_and_can_be_sent_again(self) -> None:
        """What was filled in is still there."""
        self.fake.faults["/mistral"] = (500, 1)
        page = self.send(HOSTS + "publish", once="1", images="nginx:1.27")
        self.assertEqual(409, page.status_code)
        self.assertIn("nginx:1.27</textarea>", page.content.decode())
        self.assertIn("Mistral does not start preload_images", page.content.decode())
        self.send(HOSTS + "publish", once="1", images="nginx:1.27")
        self.assertEqual(1, len(self.started()))

    def test_a_glance_that_is_away_is_told_and_publishing_is_not_kept_from_anybody(self) -> None:
        """The page stays."""
        self.fake.faults["/glance"] = (503, None)
        response = self.look(HOSTS + "images")
        self.assertEqual(200, response.status_code)
        self.assertIn("Glance does not list docker images", response.content.decode())
        self.assertIn("/admin/docker_hosts/images/publish/", response.content.decode())

    def test_who_may_not_change_hosts_sees_images_and_no_button(self) -> None:
        """By the policies, which are asked again for what is sent."""
        may = rights.may

        def less(request: Any, rules: rights.Rules, target: Any = None) -> bool:
            return rules != rights.CHANGE and may(request, rules, target)

        with mock.patch.object(rights, "may", less):
            page = self.look(HOSTS + "images")
            self.assertEqual(200, page.status_code)
            self.assertNotIn("/images/publish/", page.content.decode())
            self.assertEqual(403, self.look(HOSTS + "publish").status_code)
            self.assertEqual(403, self.send(HOSTS + "publish", once="1", images="x").status_code)
        self.assertEqual([], self.started())

    def test_names_of_images_are_text(self) -> None:
        """Whoever has given them."""
        self.published(MARKUP, docker_reference=MARKUP, docker_digest=MARKUP)
        page = self.look(HOSTS + "images").content.decode()
        self.assertNotIn(MARKUP, page)
        self.assertIn("&lt;script&gt;alert(1)", page)


class TenantImageListTests(PageTests):
    """A tenant."""

    def test_a_tenant_sees_neither(self) -> None:
        """They are the administrator's."""
        for name in ("images", "publish"):
            self.assertEqual(403, self.look(HOSTS + name).status_code)
        self.assertEqual([], self.fake.requests)

# SPDX-License-Identifier: Apache-2.0
"""A tenant's containers."""

from __future__ import annotations

import io
import tarfile

from django.core.files.uploadedfile import SimpleUploadedFile

from tests.cases import CONTAINERS, PageTests


def archive() -> bytes:
    """Return a tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("manifest.json"))
    return file.getvalue()


class ContainerListTests(PageTests):
    """The list, and what is done from it."""

    def test_containers_are_listed_and_virtual_machines_are_not(self) -> None:
        """With image, command, state and addresses."""
        image = self.fake.add_image("nginx")
        self.fake.add_server("web-1", image=image)
        self.fake.servers[0]["image"]["properties"]["os_command_line"] = "nginx -g daemon"
        self.fake.add_server("vm-1", docker=False, image="another")
        page = self.look(CONTAINERS + "index").content.decode()
        for told in ("web-1", "nginx", "nginx -g daemon", "ACTIVE", "net: 10.0.0.5"):
            self.assertIn(told, page)
        self.assertNotIn("vm-1", page)

    def test_a_container_is_known_when_its_image_is_deleted(self) -> None:
        """And a server without an image, which boots from a volume, is none."""
        self.fake.add_server("web-1", image="deleted")
        self.fake.add_server("volume-1")
        self.fake.servers[1]["image"] = ""
        page = self.look(CONTAINERS + "index").content.decode()
        self.assertIn("web-1", page)
        self.assertNotIn("volume-1", page)

    def test_the_buttons_are_those_that_fit_the_state(self) -> None:
        """What runs is not started."""
        running, ended = self.fake.add_server("a"), self.fake.add_server("b", status="SHUTOFF")
        page = self.look(CONTAINERS + "index").content.decode()
        for server, act, there in (
            (running, "start", False),
            (running, "stop", True),
            (running, "reboot", True),
            (ended, "start", True),
            (ended, "stop", False),
        ):
            address = f"/project/docker_containers/{server}/{act}/"
            self.assertEqual(there, address in page, address)

    def test_a_container_is_started_stopped_and_rebooted(self) -> None:
        """By Nova, which is asked as the user."""
        server = self.fake.add_server("web-1")
        for act, asked in (("stop", "os-stop"), ("start", "os-start"), ("reboot", "reboot")):
            page = self.send(CONTAINERS + "act", server, act)
            self.assertIn(f"Nova has been asked to {act} it.", page.content.decode())
            self.assertIn(asked, self.fake.acts[-1][1])

    def test_nothing_is_done_by_a_link_or_by_another_word(self) -> None:
        """Only a form does something, and only what a button does."""
        server = self.fake.add_server("web-1")
        self.assertEqual(405, self.look(CONTAINERS + "act", server, "stop").status_code)
        self.assertEqual(404, self.send(CONTAINERS + "act", server, "delete").status_code)
        self.assertEqual([], self.fake.acts)

    def test_the_log_is_shown_as_text(self) -> None:
        """Whatever the container has printed."""
        server = self.fake.add_server("web-1")
        self.fake.logs[server] = "<b>ready</b>"
        page = self.look(CONTAINERS + "log", server).content.decode()
        self.assertIn("&lt;b&gt;ready&lt;/b&gt;", page)

    def test_a_container_that_vanished_is_told(self) -> None:
        """Its log, and a button that was pressed too late."""
        gone = self.fake.add_server("web-1")
        self.fake.servers.clear()
        self.assertEqual(404, self.look(CONTAINERS + "log", gone).status_code)
        self.assertEqual(404, self.send(CONTAINERS + "act", gone, "stop").status_code)


class BootTests(PageTests):
    """The form that boots a container."""

    def setUp(self) -> None:
        """Have an image and networks."""
        super().setUp()
        self.image = self.fake.add_image("nginx")
        self.fake.networks = [
            {"id": "own", "name": "web", "project_id": self.tenant.id, "shared": False},
            {"id": "ext", "name": "public", "project_id": "p2", "router:external": True},
        ]
        self.form = {
            "once": "1",
            "name": "web-1",
            "image": self.image,
            "flavor": "f1",
            "network": "own",
            "environment": "GREETING=hello=you\n",
        }

    def test_a_container_is_booted_from_a_docker_image(self) -> None:
        """On a network of the project's, with an environment."""
        page = self.look(CONTAINERS + "boot").content.decode()
        self.assertIn("m1.nano: 1 VCPU, 64 MB", page)
        self.assertNotIn("public", page)
        self.send(CONTAINERS + "boot", **self.form)
        (server,) = self.fake.booted
        self.assertEqual("web-1", server["name"])
        self.assertEqual(self.image, server["imageRef"])
        self.assertEqual([{"uuid": "own"}], server["networks"])
        self.assertEqual({"GREETING": "hello=you"}, server["metadata"])

    def test_two_clicks_boot_one_container(self) -> None:
        """The second is told so."""
        self.send(CONTAINERS + "boot", **self.form)
        page = self.send(CONTAINERS + "boot", **self.form)
        self.assertIn("sent already", page.content.decode())
        self.assertEqual(1, len(self.fake.booted))

    def test_what_is_filled_in_wrong_is_said_at_its_field(self) -> None:
        """And nothing is booted."""
        wrong = {"environment": "A=1\nno equals", "image": "another", "network": "ext"}
        page = self.send(CONTAINERS + "boot", **{**self.form, **wrong})
        self.assertEqual(400, page.status_code)
        for told in ("Line 2 is not NAME=value.", "another is not one", "ext is not one"):
            self.assertIn(told, page.content.decode())
        self.assertEqual([], self.fake.booted)


class UploadTests(PageTests):
    """The form that makes an image of an archive."""

    def upload(self, content: bytes, command: str = "") -> str:
        """Send the form; return the page that it leads to."""
        file = SimpleUploadedFile("app.tar", content)
        page = self.send(
            CONTAINERS + "upload", once="1", name="app-1", archive=file, command=command
        )
        return page.content.decode()

    def test_an_archive_becomes_a_docker_image(self) -> None:
        """As the hypervisors want it."""
        content = archive()
        self.assertIn("The image app-1 is there.", self.upload(content))
        (image,) = self.fake.images
        self.assertEqual(
            ("docker", "raw", "docker"),
            (image["container_format"], image["disk_format"], image["img_hv_type"]),
        )
        self.assertEqual({image["id"]: content}, self.fake.uploads)
        self.assertNotIn("os_command_line", image)

    def test_the_image_says_which_command_its_containers_run(self) -> None:
        """Where it is another than the image's own."""
        self.assertIn("The image app-1 is there.", self.upload(archive(), "sh -c 'echo it is up'"))
        (image,) = self.fake.images
        self.assertEqual("sh -c 'echo it is up'", image["os_command_line"])

    def test_a_command_that_cannot_be_split_is_not_uploaded(self) -> None:
        """The hypervisor would refuse each container of it."""
        self.assertIn("Its quotes do not end", self.upload(archive(), "echo it's up"))
        self.assertEqual([], self.fake.images)

    def test_what_is_no_archive_is_not_uploaded(self) -> None:
        """A picture, or nothing."""
        self.assertIn("It is no tar archive", self.upload(b"GIF89a" * 100))
        self.assertEqual([], self.fake.images)

    def test_half_an_image_is_not_left_behind(self) -> None:
        """Glance takes the record, and not the archive: its store is full."""

        def fill(method: str, path: str) -> None:
            if method == "POST":
                self.fake.faults["/glance/v2/images"] = (413, 1)

        original = self.fake.send

        def send(request: object, **options: object) -> object:
            answer = original(request, **options)  # type: ignore[arg-type]
            fill(str(request.method), "")  # type: ignore[attr-defined]
            return answer

        self.fake.send = send  # type: ignore[method-assign, assignment]
        self.assertIn("Glance does not take the archive of app-1", self.upload(archive()))
        self.assertEqual([], self.fake.images)

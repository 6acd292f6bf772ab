# SPDX-License-Identifier: Apache-2.0
"""Containers for the scenario tests: made with the server API, watched through their console."""

from __future__ import annotations

import time
from typing import Any

from tempest import config
from tempest.common import waiters
from tempest.lib import exceptions as lib_exc
from tempest.lib.common.utils import test_utils

from tempest_plugin.tests import base

CONF = config.CONF

CONSOLE_LINES = 200


class ContainerScenarioTest(base.DockerImageUserTest):
    """A scenario with containers as instances.

    A container has no SSH server, so nobody logs in. What it is to do is its command, given by
    the image property os_command_line, and what came of it is read from the console log.
    """

    credentials = ["primary", "admin"]

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.novadocker_feature_enabled.command_line:
            raise cls.skipException("[novadocker-feature-enabled] command_line is off")
        if not CONF.compute_feature_enabled.console_output:
            raise cls.skipException("[compute-feature-enabled] console_output is off")

    @classmethod
    def setup_credentials(cls) -> None:
        cls.set_network_resources(network=True, subnet=True, router=False, dhcp=True)
        super().setup_credentials()

    @classmethod
    def setup_clients(cls) -> None:
        super().setup_clients()
        cls.servers_client = cls.os_primary.servers_client
        cls.snapshots_client = cls.os_primary.compute_images_client
        cls.server_groups_client = cls.os_primary.server_groups_client
        cls.ports_client = cls.os_primary.ports_client
        cls.admin_servers_client = cls.os_admin.servers_client

    @classmethod
    def resource_setup(cls) -> None:
        super().resource_setup()
        cls.network = cls.get_tenant_network()
        image_ref = CONF.novadocker.image_ref or CONF.compute.image_ref
        cls.archive: bytes = cls.images_client.show_image_file(image_ref).data

    def create_command_image(self, script: str) -> str:
        """Make an image whose containers run a shell script and then wait to be stopped.

        :param script: commands of the image's shell, without single quotes
        :return: the image's ID
        """
        endless = f'trap "exit 0" TERM; {script}; while :; do sleep 1; done'
        image = self.create_docker_image(self.archive, os_command_line=f"sh -c '{endless}'")
        image_id: str = image["id"]
        return image_id

    def create_port(self) -> tuple[str, str]:
        """Make a port on the test's network.

        :return: its ID and its address
        """
        port = self.ports_client.create_port(
            network_id=self.network["id"], name=self.resource_name("port")
        )["port"]
        self.addCleanup(
            test_utils.call_and_ignore_notfound_exc, self.ports_client.delete_port, port["id"]
        )
        return port["id"], port["fixed_ips"][0]["ip_address"]

    def create_spread_group(self) -> dict[str, str]:
        """Make a server group whose members run on different hosts, where there are enough.

        :return: scheduler hints for its members
        """
        if CONF.novadocker.min_hypervisors < 2:
            return {}
        group = self.server_groups_client.create_server_group(
            name=self.resource_name("group"), policies=["anti-affinity"]
        )["server_group"]
        self.addCleanup(
            test_utils.call_and_ignore_notfound_exc,
            self.server_groups_client.delete_server_group,
            group["id"],
        )
        return {"group": group["id"]}

    def create_container(
        self, image_id: str, port_id: str, hints: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Boot a container and wait until it is active.

        :param image_id: its image
        :param port_id: its port
        :param hints: scheduler hints
        :return: the server as its administrator sees it
        """
        request: dict[str, Any] = {
            "name": self.resource_name("container"),
            "imageRef": image_id,
            "flavorRef": CONF.compute.flavor_ref,
            "networks": [{"port": port_id}],
        }
        if hints:
            request["scheduler_hints"] = hints
        server_id = self.servers_client.create_server(**request)["server"]["id"]
        self.addCleanup(waiters.wait_for_server_termination, self.servers_client, server_id)
        self.addCleanup(
            test_utils.call_and_ignore_notfound_exc, self.servers_client.delete_server, server_id
        )
        waiters.wait_for_server_status(self.servers_client, server_id, "ACTIVE")
        server: dict[str, Any] = self.admin_servers_client.show_server(server_id)["server"]
        return server

    def create_snapshot(self, server_id: str) -> dict[str, Any]:
        """Take a snapshot of a container and wait until it is active.

        :param server_id: the container
        :return: the snapshot's image
        """
        created = self.snapshots_client.create_image(server_id, name=self.resource_name("snapshot"))
        image_id = created.response["location"].rsplit("/", 1)[-1]
        self.addCleanup(
            test_utils.call_and_ignore_notfound_exc, self.images_client.delete_image, image_id
        )
        waiters.wait_for_image_status(self.images_client, image_id, "active")
        waiters.wait_for_server_status(self.servers_client, server_id, "ACTIVE")
        image: dict[str, Any] = self.images_client.show_image(image_id)
        return image

    def console(self, server_id: str) -> str:
        """Read the end of a container's console log.

        :param server_id: the container
        """
        output: str = self.servers_client.get_console_output(server_id, length=CONSOLE_LINES)[
            "output"
        ]
        return output

    def wait_for_console(self, server_id: str, text: str, times: int = 1) -> str:
        """Wait until a container has written something.

        :param server_id: the container
        :param text: what it is to write
        :param times: how often
        :return: its console log
        :raises TimeoutException: when it has not after [novadocker] build_timeout
        """
        deadline = time.monotonic() + CONF.novadocker.build_timeout
        while True:
            output = self.console(server_id)
            if output.count(text) >= times:
                return output
            if time.monotonic() > deadline:
                raise lib_exc.TimeoutException(
                    f"The console of {server_id} does not show {text!r} {times} time(s) within "
                    f"{CONF.novadocker.build_timeout} s. It shows:\n{output}"
                )
            time.sleep(CONF.novadocker.build_interval)

# SPDX-License-Identifier: Apache-2.0
"""Containers booted with the server API live as instances do."""

from __future__ import annotations

import time

import testtools
from tempest import config
from tempest.common import waiters
from tempest.lib import decorators

from tempest_plugin.tests.scenario import base

CONF = config.CONF

# One reply of the ping of busybox, iputils or inetutils from an address.
REPLY = "bytes from %s:"
TICK_S = 1


def ping_script(address: str) -> str:
    """Write a script that pings until three replies came in a row.

    :param address: whom to ping
    """
    return f"until ping -c 3 {address}; do sleep 1; done"


class ContainersTest(base.ContainerScenarioTest):
    """Two containers on a network, one container through its life, and its snapshot."""

    @decorators.attr(type="smoke")
    @decorators.idempotent_id("e8e41c0e-f05c-415a-a8dd-4f2428a61921")
    def test_containers_ping_each_other_and_a_snapshot_boots(self) -> None:
        (left_port, left_ip), (right_port, right_ip) = self.create_port(), self.create_port()
        spread = self.create_spread_group()
        # A second boot of the same file system finds what the first has written.
        script = f"cat /was-here; echo kept-in-snapshot > /was-here; {ping_script(right_ip)}"
        left = self.create_container(self.create_command_image(script), left_port, spread)
        right_image = self.create_command_image(ping_script(left_ip))
        right = self.create_container(right_image, right_port, spread)
        if spread:
            self.assertNotEqual(left["OS-EXT-SRV-ATTR:host"], right["OS-EXT-SRV-ATTR:host"])

        left_console = self.wait_for_console(left["id"], REPLY % right_ip, times=3)
        self.wait_for_console(right["id"], REPLY % left_ip, times=3)
        self.assertNotIn("kept-in-snapshot", left_console)

        if not CONF.compute_feature_enabled.snapshot:
            return
        snapshot = self.create_snapshot(left["id"])
        self.assertEqual("docker", snapshot["container_format"])
        self.assertEqual("raw", snapshot["disk_format"])
        port, _ = self.create_port()
        restored = self.create_container(snapshot["id"], port)
        self.wait_for_console(restored["id"], "kept-in-snapshot")
        self.wait_for_console(restored["id"], REPLY % right_ip, times=3)

    @decorators.idempotent_id("ee43f015-0a53-4eef-93d4-eee9f8ca88ce")
    def test_container_keeps_its_network_over_stop_start_and_reboot(self) -> None:
        (peer_port, peer_ip), (port, _) = self.create_port(), self.create_port()
        self.create_container(self.create_command_image("echo up"), peer_port)
        image = self.create_command_image(f"echo booted; {ping_script(peer_ip)}; echo reached")
        container = self.create_container(image, port)["id"]
        self.wait_for_console(container, "reached")

        self.servers_client.stop_server(container)
        waiters.wait_for_server_status(self.servers_client, container, "SHUTOFF")
        self.servers_client.start_server(container)
        waiters.wait_for_server_status(self.servers_client, container, "ACTIVE")
        self.wait_for_console(container, "reached", times=2)

        self.servers_client.reboot_server(container, type="HARD")
        waiters.wait_for_server_status(self.servers_client, container, "ACTIVE")
        self.wait_for_console(container, "reached", times=3)

    @decorators.idempotent_id("938176ad-74ba-4b7e-9eb1-a6677de6dafd")
    @testtools.skipUnless(
        CONF.compute_feature_enabled.pause, "[compute-feature-enabled] pause is off"
    )
    def test_paused_container_stands_still(self) -> None:
        port, _ = self.create_port()
        image = self.create_command_image(f"while :; do echo tick; sleep {TICK_S}; done")
        container = self.create_container(image, port)["id"]
        self.wait_for_console(container, "tick")

        self.servers_client.pause_server(container)
        waiters.wait_for_server_status(self.servers_client, container, "PAUSED")
        paused = self.console(container)
        time.sleep(3 * TICK_S)
        self.assertEqual(paused, self.console(container))

        self.servers_client.unpause_server(container)
        waiters.wait_for_server_status(self.servers_client, container, "ACTIVE")
        self.wait_for_console(container, "tick", times=paused.count("tick") + 1)

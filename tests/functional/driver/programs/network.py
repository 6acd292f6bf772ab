# SPDX-License-Identifier: Apache-2.0
"""Instances on a real Open vSwitch, in user space. Run it in a network namespace of its own."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import unittest
import uuid
from collections.abc import Iterator
from http import server
from typing import Any
from unittest import mock

from tests.functional.driver import nova_process  # isort: skip - before anything of Nova's

import os_vif
from nova import context, exception, objects
from nova.compute import vm_states
from nova.network import model
from pyroute2 import IPRoute, NetNS
from pyroute2.netlink import rtnl

from tests.functional.driver import busybox, openvswitch, own_engine

HOST = "novadocker-test-network"
BRIDGE = "br-int"
switch: openvswitch.Switch


def setUpModule() -> None:
    global switch  # noqa: PLW0603
    with IPRoute() as ipr:
        ipr.link("set", index=ipr.link_lookup(ifname="lo")[0], state="up")
    entered = openvswitch.running(BRIDGE)
    switch = entered.__enter__()
    unittest.addModuleCleanup(entered.__exit__, None, None, None)
    nova_process.set_up(HOST)
    os_vif.initialize()
    nova_process.serve_image(busybox.image())
    unittest.addModuleCleanup(_forget_image)


def _forget_image() -> None:
    for image in own_engine.given().images.list(f"nova-glance/{nova_process.IMAGE_ID}"):
        own_engine.given().images.remove(image.id, force=True)


def port(number: int, *subnets: Any, hybrid: bool = False, **fields: Any) -> Any:
    """Make a port as Neutron describes it."""
    port_id = str(uuid.uuid4())
    network = model.Network(
        id=str(uuid.uuid4()), bridge=BRIDGE, label="net", subnets=list(subnets), mtu=1400
    )
    return model.VIF(
        **{
            "id": port_id,
            "address": f"fa:16:3e:00:00:{number:02x}",
            "network": network,
            "type": model.VIF_TYPE_OVS,
            "devname": f"tap{port_id}"[:14],
            "ovs_interfaceid": port_id,
            "vnic_type": model.VNIC_TYPE_NORMAL,
            "active": True,
            "details": {
                "ovs_hybrid_plug": hybrid,
                "ovs_create_tap": True,
                "datapath_type": "netdev",
            },
            **fields,
        }
    )


def subnet(address: str, cidr: str, gateway: str | None = None, routes: Any = ()) -> Any:
    """Make a subnet with one address of the port's."""
    return model.Subnet(
        cidr=cidr,
        ips=[model.IP(address)],
        gateway=model.IP(gateway) if gateway else None,
        dns=[model.IP("192.0.2.53")],
        routes=[model.Route(cidr=to, gateway=model.IP(via)) for to, via in routes],
        version=6 if ":" in cidr else 4,
    )


def v4(number: int, **more: Any) -> Any:
    return subnet(f"198.51.100.{number}", "198.51.100.0/24", "198.51.100.1", **more)


def v6(number: int) -> Any:
    return subnet(f"2001:db8::{number}", "2001:db8::/64", "2001:db8::ffff")


@contextlib.contextmanager
def metadata_agent(served: Any) -> Iterator[None]:
    """Answer as OVN's metadata agent does, by a port of the host's on the network."""

    class Handler(server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(served).encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's
            pass

    internal = ("--", "set", "Interface", "meta0", "type=internal")
    switch.vsctl("add-port", BRIDGE, "meta0", *internal)
    try:
        with IPRoute() as ipr:
            index = ipr.link_lookup(ifname="meta0")[0]
            ipr.link("set", index=index, state="up")
            for address, length in (("198.51.100.2", 24), ("169.254.169.254", 32)):
                ipr.addr("add", index=index, address=address, prefixlen=length)
        with server.HTTPServer(("169.254.169.254", 80), Handler) as listening:
            threading.Thread(target=listening.serve_forever, daemon=True).start()
            yield
            listening.shutdown()
    finally:
        switch.vsctl("del-port", BRIDGE, "meta0")


class NetworkTest(unittest.TestCase):
    """Ports of instances."""

    def setUp(self) -> None:
        self.docker = own_engine.given()
        self.context = context.get_admin_context()
        self.driver = nova_process.load_driver()
        self.driver.init_host(HOST)
        self.addCleanup(self.driver.cleanup_host, HOST)
        self.before = self._left()

    def _left(self) -> Any:
        with IPRoute() as ipr:
            links = {link.get_attr("IFLA_IFNAME") for link in ipr.get_links()}
        return links, switch.ports(BRIDGE), self.driver.list_instances()

    def spawn(self, *ports: Any, **fields: Any) -> Any:
        made = nova_process.instance(**fields)
        info = model.NetworkInfo(ports)
        self.driver.spawn(self.context, made, nova_process.image_meta(), [], None, {}, info)
        self.addCleanup(self.driver.destroy, self.context, made, info)
        return made, info

    def sh(self, instance: Any, command: str) -> str:
        """Run a command in an instance."""
        code, output = self.docker.containers.get(f"nova-{instance.uuid}").exec_run(
            ["sh", "-c", command]
        )
        self.assertEqual(0, code, output.decode())
        return output.decode()

    def test_instances_reach_each_other_by_ipv4_and_ipv6(self) -> None:
        instance, _ = self.spawn(port(1, v4(11), v6(11)))
        two, _ = self.spawn(port(2, v4(12), v6(12)))
        self.assertIn(" 0% packet loss", self.sh(instance, "ping -c 2 -W 3 198.51.100.12"))
        self.assertIn(" 0% packet loss", self.sh(two, "ping -6 -c 2 -W 3 2001:db8::11"))
        # Something with checksums of its own: the user-space datapath drops what is offered
        # incomplete.
        self.sh(two, "(echo hello | nc -l -p 80 >/dev/null &) ; sleep 0.2")
        self.assertEqual("hello\n", self.sh(instance, "nc -w 3 198.51.100.12 80 </dev/null"))

    def test_interface_is_as_neutron_says(self) -> None:
        instance, _ = self.spawn(
            port(1, v4(11, routes=[("203.0.113.0/24", "198.51.100.9")]), v6(11))
        )
        shown = self.sh(instance, "ip addr show eth0; ip route; ip -6 route; cat /etc/resolv.conf")
        for wanted in (
            "mtu 1400",
            "fa:16:3e:00:00:01",
            "198.51.100.11/24",
            "2001:db8::11/64",
            "default via 198.51.100.1 dev eth0",
            "203.0.113.0/24 via 198.51.100.9",
            "default via 2001:db8::ffff",
            "nameserver 192.0.2.53",
        ):
            self.assertIn(wanted, shown)
        # Newer engines name what they have set in a comment.
        searched = {line for line in shown.splitlines() if line.startswith("search")}
        self.assertLessEqual(searched, {"search ."})
        hosts = self.sh(instance, "cat /etc/hosts; ping -c 1 -W 3 $(hostname)")
        self.assertIn("198.51.100.11\tweb", hosts)
        self.assertIn("2001:db8::11\tweb", hosts)
        self.assertIn(" 0% packet loss", hosts)
        address = next(line for line in shown.splitlines() if "2001:db8::11" in line)
        self.assertNotIn("tentative", address)

    def test_who_has_no_name_server_asks_none_of_the_hosts(self) -> None:
        without = {**subnet("192.0.2.5", "192.0.2.0/24"), "dns": []}
        instance, _ = self.spawn(port(1, model.Subnet(**without)))
        lines = self.sh(instance, "grep -v ^# /etc/resolv.conf").split()
        self.assertEqual(["nameserver", "127.0.0.1"], [x for x in lines if x[0] in "n1"][:2])
        self.assertEqual(1, lines.count("nameserver"))

    def test_limits_of_processes_and_of_what_they_share(self) -> None:
        instance, _ = self.spawn(port(1, v4(11)))
        told = self.sh(instance, "ulimit -c; ulimit -n; df -k /dev/shm | tail -1; tty || true")
        self.assertEqual(["0", "16384"], told.split()[:2])
        self.assertEqual("65536", told.split()[3])

    def test_a_long_name_is_no_obstacle(self) -> None:
        instance, _ = self.spawn(port(1, v4(11)), hostname=f"web.{'long.' * 20}example.org")
        self.assertEqual("web\n", self.sh(instance, "hostname"))

    def test_port_is_known_to_neutrons_agent(self) -> None:
        instance, info = self.spawn(port(1, v4(11)))
        ids = switch.vsctl("get", "interface", info[0]["devname"], "external_ids")
        self.assertIn(f'iface-id="{info[0]["id"]}"', ids)
        self.assertIn(f'vm-uuid="{instance.uuid}"', ids)
        self.assertIn('attached-mac="fa:16:3e:00:00:01"', ids)

    def test_network_without_gateway_and_several_ports(self) -> None:
        instance, _ = self.spawn(
            port(1, subnet("192.0.2.5", "192.0.2.0/25")), port(2, v4(11)), port(3, v4(13))
        )
        routes = self.sh(instance, "ip route")
        self.assertIn("default via 198.51.100.1 dev eth1", routes)
        self.assertEqual(1, routes.count("default"))
        self.assertIn("192.0.2.5/25", self.sh(instance, "ip addr show eth0"))
        self.assertIn("198.51.100.13/24", self.sh(instance, "ip addr show eth2"))

    def test_hybrid_port_goes_through_its_bridge(self) -> None:
        instance, _ = self.spawn(port(1, v4(11), hybrid=True))
        self.spawn(port(2, v4(12)))
        self.assertIn(" 0% packet loss", self.sh(instance, "ping -c 2 -W 3 198.51.100.12"))

    def test_network_survives_stop_start_reboot_and_death(self) -> None:
        instance, info = self.spawn(port(1, v4(11)))
        self.spawn(port(2, v4(12)))
        self.driver.power_off(instance)
        self.driver.power_on(self.context, instance, info)
        self.assertIn(" 0% packet loss", self.sh(instance, "ping -c 1 -W 3 198.51.100.12"))
        self.docker.containers.get(f"nova-{instance.uuid}").kill()
        self.driver.reboot(self.context, instance, info, "HARD")
        self.assertIn(" 0% packet loss", self.sh(instance, "ping -c 1 -W 3 198.51.100.12"))

    def test_who_is_stopped_or_paused_does_not_answer(self) -> None:
        instance, info = self.spawn(port(1, v4(11), v6(11)))
        two, _ = self.spawn(port(2, v4(12), v6(12)))

        def answers() -> bool:
            heard = [
                " 0% packet loss" in self.sh(two, f"ping {ask} || true")
                for ask in ("-c 1 -W 1 198.51.100.11", "-6 -c 1 -W 1 2001:db8::11")
            ]
            self.assertEqual(heard[0], heard[1])
            return heard[0]

        def plugged() -> list[str]:
            """Do as nova-compute does at its start, and return the states that the port had."""
            with IPRoute() as ipr:
                (index,) = ipr.link_lookup(ifname=info[0]["devname"])
                with IPRoute() as heard:
                    heard.bind(rtnl.RTMGRP_LINK)
                    self.driver.plug_vifs(instance, info)
                    # Something to hear in any case, after all else.
                    ipr.link("add", kind="veth", ifname="heard", peer="unheard")
                    ipr.link("del", index=ipr.link_lookup(ifname="heard")[0])
                    states = []
                    while True:
                        for link in heard.get():
                            if link.get_attr("IFLA_IFNAME") == "heard":
                                return states
                            if link.get("index") == index:
                                states.append(link["state"])

        self.assertTrue(answers())
        self.driver.pause(instance)
        instance.vm_state = vm_states.PAUSED
        self.assertFalse(answers())
        self.assertNotIn("up", plugged())
        self.assertFalse(answers())
        self.driver.unpause(instance)
        instance.vm_state = vm_states.ACTIVE
        self.assertTrue(answers())
        self.driver.power_off(instance)
        instance.vm_state = vm_states.STOPPED
        self.assertNotIn("up", plugged())
        self.assertFalse(answers())
        self.driver.power_on(self.context, instance, info)
        self.assertTrue(answers())

    def test_an_images_health_check_is_run_and_told(self) -> None:
        check = {"Test": ["CMD-SHELL", "test ! -e /ill"], "Interval": 1_000_000, "Retries": 1}
        config = {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Healthcheck": check}
        _forget_image()
        self.addCleanup(nova_process.serve_image, busybox.image())
        self.addCleanup(_forget_image)
        nova_process.serve_image(busybox.image(config=config))
        nova_process.CONF.set_override("health_check_interval", 1, group="docker")
        self.addCleanup(nova_process.CONF.clear_override, "health_check_interval", group="docker")
        self.driver, usual = nova_process.load_driver(), self.driver
        self.addCleanup(setattr, self, "driver", usual)
        instance, _ = self.spawn(port(1, v4(11)))

        def until(health: str) -> None:
            deadline = time.monotonic() + 60
            while self.driver.get_diagnostics(instance)["health"] != health:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.2)

        until("healthy")
        self.sh(instance, "touch /ill")
        until("unhealthy")

    def test_a_hard_reboot_brings_new_options_and_keeps_files_and_ports(self) -> None:
        instance, info = self.spawn(port(1, v4(11)))
        self.spawn(port(2, v4(12)))
        self.sh(instance, "echo kept > /kept")
        nova_process.CONF.set_override("default_capabilities", ["NET_RAW"], group="docker")
        self.addCleanup(nova_process.CONF.clear_override, "default_capabilities", group="docker")
        later = nova_process.load_driver()
        self.assertEqual(1, later.get_diagnostics(instance)["options_outdated"])
        later.reboot(self.context, instance, info, "HARD")
        self.assertEqual(0, later.get_diagnostics(instance)["options_outdated"])
        self.assertEqual("kept\n", self.sh(instance, "cat /kept"))
        self.assertIn("0000000000002000", self.sh(instance, "grep CapBnd /proc/1/status"))
        self.assertIn(" 0% packet loss", self.sh(instance, "ping -c 1 -W 3 198.51.100.12"))

    def test_network_is_made_again_after_a_reboot_of_the_host(self) -> None:
        instance, info = self.spawn(port(1, v4(11)))
        self.spawn(port(2, v4(12)))
        for name in (f"nova-{instance.uuid}", f"nova-sandbox-{instance.uuid}"):
            self.docker.containers.get(name).kill()
        self.driver.plug_vifs(instance, info)
        self.driver.resume_state_on_host_boot(self.context, instance, info, None)
        self.assertIn(" 0% packet loss", self.sh(instance, "ping -c 1 -W 3 198.51.100.12"))

    def test_network_is_made_again_where_the_sandbox_was_removed(self) -> None:
        instance, info = self.spawn(port(1, v4(11)))
        self.spawn(port(2, v4(12)))
        self.driver.power_off(instance)
        self.docker.containers.get(f"nova-sandbox-{instance.uuid}").remove(force=True)
        self.driver.power_on(self.context, instance, info)
        self.assertIn(" 0% packet loss", self.sh(instance, "ping -c 1 -W 3 198.51.100.12"))

    def test_plug_vifs_leaves_a_running_instance_alone(self) -> None:
        instance, info = self.spawn(port(1, v4(11)))
        before = self.sh(instance, "ip addr")
        self.driver.plug_vifs(instance, info)
        self.assertEqual(before, self.sh(instance, "ip addr"))

    def test_addresses_routes_and_gateways_are_those_that_neutron_has(self) -> None:
        instance, info = self.spawn(
            port(1, v4(11, routes=[("203.0.113.0/24", "198.51.100.9")]), v6(11))
        )
        changed = subnet("198.51.100.21", "198.51.100.0/24", "198.51.100.254")
        info[0]["network"]["subnets"] = [changed, v6(21)]
        for again in (
            lambda: self.driver.inject_network_info(instance, info),
            lambda: self.driver.reboot(self.context, instance, info, "HARD"),
        ):
            again()
            shown = self.sh(instance, "ip addr; ip route; ip -6 route; ip route get 198.51.100.77")
            for wanted in (
                "198.51.100.21/24",
                "2001:db8::21/64",
                "default via 198.51.100.254",
                "src 198.51.100.21",
            ):
                self.assertIn(wanted, shown)
            for gone in ("198.51.100.11", "2001:db8::11", "198.51.100.1 ", "203.0.113.0"):
                self.assertNotIn(gone, shown)

    def test_the_name_of_an_instance_has_the_addresses_of_its_ports(self) -> None:
        instance, info = self.spawn(port(1, subnet("192.0.2.5", "192.0.2.0/24")))
        instance.info_cache = objects.InstanceInfoCache(network_info=info)
        self.sh(instance, "echo 10.0.0.8 db >> /etc/hosts; echo 10.0.0.9 web own >> /etc/hosts")

        def named() -> list[str]:
            hosts = [line.split() for line in self.sh(instance, "cat /etc/hosts").splitlines()]
            self.assertIn(["10.0.0.8", "db"], hosts)
            self.assertIn(["10.0.0.9", "web", "own"], hosts)
            return [words[0] for words in hosts if words[1:] == ["web"]]

        self.assertEqual(["192.0.2.5"], named())
        extra = port(3, v6(11))
        self.driver.attach_interface(self.context, instance, None, extra)
        self.assertEqual(["192.0.2.5", "2001:db8::11"], named())
        both = model.NetworkInfo([*info, extra])
        instance.info_cache = objects.InstanceInfoCache(network_info=both)
        self.driver.detach_interface(self.context, instance, info[0])
        self.assertEqual(["2001:db8::11"], named())
        changed = model.NetworkInfo([port(3, v6(21))])
        self.driver.reboot(self.context, instance, changed, "HARD")
        self.assertEqual(["2001:db8::21"], named())

    def test_the_gateway_of_a_port_that_goes_is_the_next_ones(self) -> None:
        second = subnet("192.0.2.5", "192.0.2.0/24", "192.0.2.1")
        instance, info = self.spawn(port(1, v4(11)), port(2, second))
        instance.info_cache = objects.InstanceInfoCache(network_info=info)
        self.assertIn("default via 198.51.100.1", self.sh(instance, "ip route"))
        self.driver.detach_interface(self.context, instance, info[0])
        self.assertIn("default via 192.0.2.1", self.sh(instance, "ip route"))

    def test_the_metadata_service_answers_on_the_link_as_ovns_does(self) -> None:
        served = {"uuid": str(uuid.uuid4())}
        with metadata_agent(served):
            of_ovn = {"details": {"datapath_type": "netdev", "bound_drivers": {"0": "ovn"}}}
            alone = subnet("198.51.100.11", "198.51.100.0/24")
            instance, info = self.spawn(port(1, alone, **of_ovn))
            asked = "GET /openstack/latest/meta_data.json HTTP/1.0\\r\\n\\r\\n"
            told = self.sh(instance, f"printf '{asked}' | nc -w 5 169.254.169.254 80")
            self.assertEqual(served, json.loads(told.splitlines()[-1]))
            # Another port leaves it where it is, and has it when the first one goes.
            extra = port(3, subnet("192.0.2.5", "192.0.2.0/24"), **of_ovn)
            self.driver.attach_interface(self.context, instance, None, extra)
            self.assertIn("169.254.169.254 dev eth0", self.sh(instance, "ip route"))
            both = model.NetworkInfo([*info, extra])
            instance.info_cache = objects.InstanceInfoCache(network_info=both)
            self.driver.detach_interface(self.context, instance, info[0])
            self.assertIn("169.254.169.254 dev eth1", self.sh(instance, "ip route"))
            self.driver.detach_interface(self.context, instance, extra)

    def test_interfaces_come_and_go(self) -> None:
        instance, info = self.spawn(port(1, v4(11)))
        self.spawn(port(9, subnet("192.0.2.9", "192.0.2.0/24")))
        extra = port(3, subnet("192.0.2.5", "192.0.2.0/24"))
        self.driver.attach_interface(self.context, instance, None, extra)
        self.assertIn(" 0% packet loss", self.sh(instance, "ping -c 1 -W 3 192.0.2.9"))
        self.driver.detach_interface(self.context, instance, extra)
        self.assertNotIn("eth1", self.sh(instance, "ip addr"))
        self.driver.power_off(instance)
        self.driver.attach_interface(self.context, instance, None, extra)
        self.driver.power_on(self.context, instance, model.NetworkInfo([*info, extra]))
        self.assertIn(" 0% packet loss", self.sh(instance, "ping -c 1 -W 3 192.0.2.9"))
        self.driver.detach_interface(self.context, instance, extra)
        self.assertNotIn(extra["devname"], switch.ports(BRIDGE))

    def test_ports_with_one_address_on_two_networks(self) -> None:
        instance, _ = self.spawn(port(1, v4(11)), port(1, subnet("192.0.2.5", "192.0.2.0/24")))
        self.assertIn("198.51.100.11/24", self.sh(instance, "ip addr show eth0"))
        self.assertIn("192.0.2.5/24", self.sh(instance, "ip addr show eth1"))

    def test_a_route_by_a_gateway_that_is_elsewhere(self) -> None:
        instance, info = self.spawn(
            port(1, v4(11, routes=[("203.0.113.0/24", "192.0.2.77"), ("10.9.0.0/16", "0.0.0.0")])),
        )
        self.assertIn("203.0.113.0/24 via 192.0.2.77", self.sh(instance, "ip route"))
        self.driver.reboot(self.context, instance, info, "HARD")

    def test_nothing_is_left_of_an_interface_that_is_not_attached(self) -> None:
        instance, _ = self.spawn(port(1, v4(11)))
        before = self._left()
        extra = port(3, subnet("192.0.2.5", "192.0.2.0/24"))
        for fails in (
            "novadocker.privsep.net.ns_attach",
            "novadocker.virt.docker.network.tags.of_interfaces",
        ):
            with self.subTest(fails=fails), mock.patch(fails, side_effect=OSError("no")):
                with self.assertRaises(exception.InterfaceAttachFailed):
                    self.driver.attach_interface(self.context, instance, None, extra)
                self.assertEqual(before, self._left())
        self.assertNotIn("eth1", self.sh(instance, "ip addr"))

    def test_counters_of_interfaces(self) -> None:
        instance, _ = self.spawn(port(1, v4(11)))
        self.spawn(port(2, v4(12)))
        self.sh(instance, "ping -c 2 -W 3 198.51.100.12")
        self.assertGreater(self.driver.get_diagnostics(instance)["eth0_rx_packets"], 1)
        nic = self.driver.get_instance_diagnostics(instance).nic_details[0]
        self.assertEqual("fa:16:3e:00:00:01", nic.mac_address)

    def test_devices_that_are_no_ports_have_no_counters(self) -> None:
        instance, _ = self.spawn(port(1, v4(11)))
        box = self.docker.containers.get(f"nova-sandbox-{instance.uuid}")
        with NetNS(box.attrs["NetworkSettings"]["SandboxKey"], flags=0) as ns:
            ns.link("add", kind="veth", ifname="other", peer="another")
        self.assertEqual(1, len(self.driver.get_instance_diagnostics(instance).nic_details))
        self.assertNotIn("other_rx", self.driver.get_diagnostics(instance))

    def test_nothing_is_left_of_a_failure(self) -> None:
        bad = port(2, v4(12), type=model.VIF_TYPE_BINDING_FAILED)
        made = nova_process.instance()
        with self.assertRaises(Exception) as caught:
            self.driver.spawn(
                self.context,
                made,
                nova_process.image_meta(),
                [],
                None,
                {},
                model.NetworkInfo([port(1, v4(11)), bad]),
            )
        self.assertEqual("VirtualInterfaceCreateException", type(caught.exception).__name__)
        self.assertEqual(self.before, self._left())

    def test_nothing_is_left_after_destroy(self) -> None:
        for hybrid in (False, True):
            with self.subTest(hybrid=hybrid):
                instance, info = self.spawn(port(1, v4(11), hybrid=hybrid), port(2, v6(11)))
                self.driver.destroy(self.context, instance, info)
                self.assertEqual(self.before, self._left())


if __name__ == "__main__":
    unittest.main(verbosity=2)

# SPDX-License-Identifier: Apache-2.0
"""Ports of instances."""

from __future__ import annotations

from typing import Any

import pytest
from nova import exception, objects
from nova.network import model

from novadocker import compat, exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import workload
from novadocker.tests.make import port
from novadocker.virt.docker.network import dns


def with_address(address: str, number: str) -> model.VIF:
    """Make a port with an address."""
    subnet = model.Subnet(ips=[model.FixedIP(address=address)])
    network = model.Network(id="n", bridge="br-int", label="net", subnets=[subnet])
    return model.VIF(**{**port(), "id": number, "network": network})


class TestPorts:
    def test_inactive_ports_are_waited_for(self, spawn: Any, virtapi: Any) -> None:
        spawn(make.instance(), network_info=[port(active=False)])
        assert virtapi.waited == [([("network-vif-plugged", port()["id"])], 300)]

    @pytest.mark.parametrize("more", [{"power_on": False}, {"network_info": [port()]}])
    def test_nothing_is_waited_for_without_need(self, more: Any, spawn: Any, virtapi: Any) -> None:
        spawn(make.instance(), **{"network_info": [port(active=False)], **more})
        assert virtapi.waited[0][0] == []

    def test_time_that_is_up_fails_it_where_that_is_fatal(
        self, spawn: Any, virtapi: Any, engine: Any
    ) -> None:
        virtapi.raising = compat.EVENT_TIMEOUT()
        with pytest.raises(exception.VirtualInterfaceCreateException):
            spawn(make.instance(), network_info=[port(active=False)])
        assert engine.names() == set()

    def test_a_failure_that_neutron_reports_fails_it(
        self, spawn: Any, virtapi: Any, engine: Any
    ) -> None:
        virtapi.failing = True
        with pytest.raises(exception.VirtualInterfaceCreateException):
            spawn(make.instance(), network_info=[port(active=False)])
        assert engine.names() == set()

    def test_neither_fails_it_where_it_is_not_fatal(
        self, spawn: Any, virtapi: Any, engine: Any, option: Any
    ) -> None:
        option("vif_plugging_is_fatal", False, None)
        virtapi.failing = True
        spawn(make.instance(), network_info=[port(active=False)])

    def test_plug_vifs_wires_running_sandboxes_only(
        self, docker_driver: Any, spawn: Any, wiring: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        wiring.plug.reset_mock()
        docker_driver.plug_vifs(instance, [port()])
        wiring.plug.assert_called_once()
        engine.call("kill", f"nova-sandbox-{instance.uuid}")
        docker_driver.plug_vifs(instance, [port()])
        docker_driver.plug_vifs(make.instance(), [port()])
        wiring.plug.assert_called_once()

    @pytest.mark.parametrize(
        ("method", "call", "expected"),
        [
            ("plug_vifs", "plug", exception.VirtualInterfacePlugException),
            ("unplug_vifs", "unplug", exception.VirtualInterfaceUnplugException),
        ],
    )
    def test_faults_are_those_that_nova_can_bear(
        self, method: str, call: str, expected: Any, docker_driver: Any, spawn: Any, wiring: Any
    ) -> None:
        instance = spawn(make.instance())
        getattr(wiring, call).side_effect = exceptions.NetworkError("no")
        with pytest.raises(expected):
            getattr(docker_driver, method)(instance, [port()])

    def test_tagged_interfaces_are_in_the_metadata(
        self, docker_driver: Any, spawn: Any, interfaces: Any
    ) -> None:
        interfaces += [
            objects.VirtualInterface(address="fa:16:3e:00:00:01", tag="web"),
            objects.VirtualInterface(address="fa:16:3e:00:00:02", tag=None),
        ]
        instance = spawn(make.instance())
        assert instance.device_metadata is None
        instance = spawn(make.instance(), network_info=[port()])
        (device,) = instance.device_metadata.devices
        assert (device.mac, device.tags) == ("fa:16:3e:00:00:01", ["web"])
        interfaces.append(objects.VirtualInterface(address="fa:16:3e:00:00:03", tag="db"))
        docker_driver.attach_interface(None, instance, None, port())
        assert [device.tags for device in instance.device_metadata.devices] == [["web"], ["db"]]
        instance.save.assert_called_once_with()

    def test_what_neutron_has_changed_arrives(
        self, docker_driver: Any, spawn: Any, wiring: Any
    ) -> None:
        instance = spawn(make.instance())
        docker_driver.inject_network_info(instance, [port()])
        assert wiring.plug.call_args[0][1] == [port()]
        wiring.plug.side_effect = exceptions.NetworkError("no")
        with pytest.raises(exception.VirtualInterfacePlugException):
            docker_driver.inject_network_info(instance, [port()])

    def test_the_gateway_of_a_port_that_goes_is_another_ports(
        self, docker_driver: Any, spawn: Any, wiring: Any
    ) -> None:
        instance = spawn(make.instance())
        other = model.VIF(**{**port(), "id": "another"})
        info = model.NetworkInfo([port(), other])
        instance.info_cache = objects.InstanceInfoCache(network_info=info)
        docker_driver.detach_interface(None, instance, port())
        assert wiring.plug.call_args[0][1] == [other]
        # The port is gone, whatever becomes of the others.
        wiring.plug.side_effect = exceptions.NetworkError("no")
        docker_driver.detach_interface(None, instance, port())

    def test_an_instance_s_own_name_has_the_addresses_of_its_ports(
        self, docker_driver: Any, spawn: Any, engine: Any, own_addresses: Any
    ) -> None:
        def named() -> tuple[str, list[str]]:
            path, name, addresses = own_addresses.call_args[0]
            assert path == workload(engine, instance)["HostsPath"]
            return name, addresses

        first, second = with_address("192.0.2.5", "1"), with_address("2001:db8::5", "2")
        instance = spawn(make.instance(hostname="web.example.org" + "g" * 60), network_info=[first])
        instance.info_cache = objects.InstanceInfoCache(network_info=model.NetworkInfo([first]))
        # The engine has written them.
        own_addresses.assert_not_called()
        docker_driver.attach_interface(None, instance, None, second)
        assert named() == ("web", ["192.0.2.5", "2001:db8::5"])
        instance.info_cache.network_info = model.NetworkInfo([first, second])
        docker_driver.detach_interface(None, instance, first)
        assert named() == ("web", ["2001:db8::5"])
        docker_driver.inject_network_info(instance, [with_address("192.0.2.6", "1")])
        assert named() == ("web", ["192.0.2.6"])
        docker_driver.power_off(instance)
        docker_driver.power_on(None, instance, [with_address("192.0.2.7", "1")])
        assert named() == ("web", ["192.0.2.7"])
        # A file that the instance has spoilt is its own affair.
        own_addresses.side_effect = OSError("it has more than 65536 bytes")
        docker_driver.reboot(None, instance, [], "HARD")
        assert named() == ("web", [dns.NO_ADDRESS])

    def test_who_has_lost_its_sandbox_cannot_have_a_port(
        self, docker_driver: Any, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        instance = spawn(make.instance())
        engine.call("kill", f"nova-sandbox-{instance.uuid}")
        with pytest.raises(exception.InterfaceAttachFailed) as refused:
            docker_driver.attach_interface(None, instance, None, port())
        assert "reboot" in str(refused.value.__cause__)
        # It is plugged as it starts.
        docker_driver.power_off(instance)
        docker_driver.attach_interface(None, instance, None, port())
        wiring.plug_new.assert_not_called()

    def test_interfaces_come_and_go(self, docker_driver: Any, spawn: Any, wiring: Any) -> None:
        instance = spawn(make.instance())
        docker_driver.attach_interface(None, instance, None, port())
        wiring.plug_new.assert_called_once()
        docker_driver.detach_interface(None, instance, port())
        wiring.unplug.assert_called_with(instance, [port()])
        wiring.plug_new.side_effect = wiring.unplug.side_effect = exceptions.NetworkError("no")
        with pytest.raises(exception.InterfaceAttachFailed):
            docker_driver.attach_interface(None, instance, None, port())
        with pytest.raises(exception.InterfaceDetachFailed):
            docker_driver.detach_interface(None, instance, port())

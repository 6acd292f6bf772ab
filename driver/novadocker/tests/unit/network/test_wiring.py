# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import errno
from typing import Any, ClassVar
from unittest import mock

import os_vif
import pytest
from nova.network import model
from os_vif import objects as osv_objects
from oslo_privsep import daemon
from pyroute2.netlink.exceptions import NetlinkError

from novadocker import exceptions
from novadocker.tests import make
from novadocker.virt.docker.network import wiring
from novadocker.virt.docker.network.wiring import Wiring

PORT = "33333333-2222-4333-8444-555555555555"
NETNS = "/var/run/docker/netns/x"


def subnet(
    cidr: str, *addresses: str, gateway: str | None = None, routes: Any = (), dns: Any = ()
) -> Any:
    return model.Subnet(
        cidr=cidr,
        ips=[model.IP(address) for address in addresses],
        gateway=model.IP(gateway) if gateway else None,
        routes=[model.Route(cidr=to, gateway=model.IP(via)) for to, via in routes],
        dns=[model.IP(address) for address in dns],
    )


def port(*subnets: Any, mtu: int | None = None, **fields: Any) -> Any:
    more = {"mtu": mtu} if mtu else {}
    return model.VIF(
        **{
            "id": PORT,
            "address": "FA:16:3E:00:00:01",
            "network": model.Network(
                id=PORT, bridge="br-int", label="net", subnets=list(subnets), **more
            ),
            "type": "ovs",
            "devname": "tap33333333-22",
            "vnic_type": "normal",
            "active": False,
            "details": {},
            **fields,
        }
    )


class TestPlan:
    def test_all_addresses_of_all_subnets(self) -> None:
        (nic,) = wiring.plan(
            [
                port(
                    subnet("10.0.0.0/24", "10.0.0.5", "10.0.0.6"),
                    subnet("fd00::/64", "fd00::5"),
                    mtu=1400,
                )
            ]
        )
        assert nic.addresses == ("10.0.0.5/24", "10.0.0.6/24", "fd00::5/64")
        assert (nic.mac, nic.mtu) == ("fa:16:3e:00:00:01", 1400)

    def test_one_default_route_for_each_family(self) -> None:
        first, two = wiring.plan(
            [
                port(subnet("10.0.0.0/24", "10.0.0.5")),
                port(
                    subnet("10.1.0.0/24", "10.1.0.5", gateway="10.1.0.1"),
                    subnet("10.2.0.0/24", "10.2.0.5", gateway="10.2.0.1"),
                    subnet("fd00::/64", "fd00::5", gateway="fd00::1"),
                ),
            ]
        )
        assert first.gateways == ()
        assert two.gateways == (("10.1.0.1", False), ("fd00::1", False))

    def test_a_gateway_outside_its_subnet_is_said_to_be(self) -> None:
        (nic,) = wiring.plan([port(subnet("10.0.0.0/24", "10.0.0.5", gateway="192.0.2.1"))])
        assert nic.gateways == (("192.0.2.1", True),)

    def test_a_subnet_without_an_address_of_ours_is_none(self) -> None:
        (nic,) = wiring.plan([port(subnet("fd00::/64", gateway="fd00::1"))])
        assert nic == wiring.Nic("fa:16:3e:00:00:01", wiring.DEFAULT_MTU)
        (nic,) = wiring.plan(
            [port(subnet("fd00::/64", gateway="fd00::1"), subnet("10.0.0.9/24", "10.0.0.5"))]
        )
        assert nic.addresses == ("10.0.0.5/24",)

    def test_routes_on_the_link_have_no_gateway(self) -> None:
        routes = [("192.0.2.0/24", "10.0.0.9"), ("198.51.100.0/24", "0.0.0.0")]
        (nic,) = wiring.plan([port(subnet("10.0.0.0/24", "10.0.0.5", routes=routes))])
        assert nic.routes == (("192.0.2.0/24", "10.0.0.9"), ("198.51.100.0/24", None))
        routes = [("fd01::/64", "::")]
        (nic,) = wiring.plan(
            [
                port(
                    subnet("10.0.0.0/24", "10.0.0.5", routes=[("192.0.2.0/24", "10.0.0.9")]),
                    subnet("fd00::/64", "fd00::5", routes=routes),
                )
            ]
        )
        assert nic.routes == (("192.0.2.0/24", "10.0.0.9"), ("fd01::/64", None))

    OF_OVN: ClassVar = {"bound_drivers": {"0": "ovn"}}

    def test_ovn_answers_for_the_metadata_service_on_the_link(self) -> None:
        first = port(subnet("fd00::/64", "fd00::5"), details=self.OF_OVN)
        second = port(subnet("10.0.0.0/24", "10.0.0.5", gateway="10.0.0.1"), details=self.OF_OVN)
        third = port(subnet("10.1.0.0/24", "10.1.0.5"), details=self.OF_OVN)
        planned = [nic.metadata for nic in wiring.plan([first, second, third])]
        assert planned == [None, (wiring.METADATA, None), None]

    def test_neutrons_dhcp_agent_answers_where_there_is_no_router(self) -> None:
        alone = subnet("10.0.0.0/24", "10.0.0.5")
        alone["meta"]["dhcp_server"] = "10.0.0.2"
        assert wiring.plan([port(alone)])[0].metadata == (wiring.METADATA, "10.0.0.2")
        routed = subnet("10.0.0.0/24", "10.0.0.5", gateway="10.0.0.1")
        routed["meta"]["dhcp_server"] = "10.0.0.2"
        assert wiring.plan([port(routed)])[0].metadata is None
        assert wiring.plan([port(subnet("10.0.0.0/24", "10.0.0.5"))])[0].metadata is None
        assert wiring.plan([port()])[0].metadata is None

    def test_a_route_of_the_subnets_own_to_the_metadata_service_is_the_one(self) -> None:
        told = subnet("10.0.0.0/24", "10.0.0.5", routes=[(wiring.METADATA, "10.0.0.9")])
        (nic,) = wiring.plan([port(told, details=self.OF_OVN)])
        assert nic.metadata is None
        assert nic.routes == ((wiring.METADATA, "10.0.0.9"),)

    def test_inactive_ports_are_waited_for(self) -> None:
        other = PORT.replace("3", "4")
        ports = [port(), port(id=other, active=True), port(id=other, vnic_type="direct")]
        assert wiring.to_wait_for(ports) == [("network-vif-plugged", PORT)]
        plain = port()
        del plain["vnic_type"]
        assert wiring.to_wait_for([plain]) == [("network-vif-plugged", PORT)]

    def test_names_fit_the_kernel(self) -> None:
        assert len(wiring.peer_name(PORT)) <= 15


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> mock.MagicMock:
    fake = mock.create_autospec(wiring.net)
    monkeypatch.setattr(wiring, "net", fake)
    return fake


@pytest.fixture
def vif(monkeypatch: pytest.MonkeyPatch) -> mock.MagicMock:
    osv_objects.register_all()
    fake = mock.MagicMock()
    monkeypatch.setattr(os_vif, "plug", fake.plug)
    monkeypatch.setattr(os_vif, "unplug", fake.unplug)
    return fake


class TestWiring:
    def test_the_pair_is_made_then_plugged_then_moved(self, net: Any, vif: Any) -> None:
        order = mock.Mock()
        order.attach_mock(net.veth_create, "veth")
        order.attach_mock(vif.plug, "plug")
        order.attach_mock(net.ns_attach, "move")
        instance = make.instance()
        Wiring().plug(instance, [port()], NETNS)
        assert [call[0] for call in order.mock_calls] == ["veth", "plug", "move"]
        assert vif.plug.call_args[0][1].uuid == instance.uuid
        net.veth_create.assert_called_once_with(
            "tap33333333-22", "nd33333333-222", "fa:16:3e:00:00:01", 1500, True, True
        )
        (nic,) = wiring.plan([port()])
        net.ns_attach.assert_called_once_with(NETNS, "nd33333333-222", dataclasses.asdict(nic))
        net.bridge_add.assert_not_called()

    def test_the_hosts_ends_of_all_come_before_the_instance_gets_its_own(
        self, net: Any, vif: Any
    ) -> None:
        ports = [port(), port(id=PORT.replace("3", "4"))]
        wiring = Wiring()
        wiring.plug_host(make.instance(), ports)
        assert (net.veth_create.call_count, vif.plug.call_count) == (2, 2)
        net.ns_attach.assert_not_called()
        vif.unplug.assert_not_called()
        wiring.attach(ports, NETNS)
        assert [call[0][1] for call in net.ns_attach.call_args_list] == [
            "nd33333333-222",
            "nd44444444-222",
        ]

    def test_a_new_instance_gets_a_pair_of_its_own(self, net: Any, vif: Any) -> None:
        order = mock.Mock()
        order.attach_mock(net.veth_create, "veth")
        order.attach_mock(vif.unplug, "unplug")
        order.attach_mock(net.device_delete, "delete")
        net.veth_create.side_effect = [False, True]
        Wiring().plug_host(make.instance(), [port()])
        assert [call[0] for call in order.mock_calls] == ["veth", "unplug", "delete", "veth"]

    def test_a_pair_whose_other_end_is_nowhere_is_made_again(self, net: Any, vif: Any) -> None:
        order = mock.Mock()
        order.attach_mock(net.veth_create, "veth")
        order.attach_mock(vif.unplug, "unplug")
        order.attach_mock(net.ns_attach, "move")
        net.veth_create.side_effect = [False, True]
        net.ns_attach.side_effect = [OSError(errno.ENODEV, "no device"), "eth0"]
        Wiring().plug(make.instance(), [port()], NETNS, connected=False)
        assert [call[0] for call in order.mock_calls] == ["veth", "move", "unplug", "veth", "move"]
        assert [call[0][5] for call in net.veth_create.call_args_list] == [False, False]

    @pytest.mark.parametrize(("made", "code"), [(True, errno.ENODEV), (False, errno.EPERM)])
    def test_any_other_fault_is_one(self, made: bool, code: int, net: Any, vif: Any) -> None:
        net.veth_create.return_value = made
        net.ns_attach.side_effect = OSError(code, "no")
        with pytest.raises(exceptions.NetworkError):
            Wiring().plug(make.instance(), [port()], NETNS)
        vif.unplug.assert_not_called()

    def test_os_vif_makes_the_port_and_no_tap(self, net: Any, vif: Any) -> None:
        Wiring().plug(make.instance(), [port(details={"ovs_create_tap": True})], NETNS)
        profile = vif.plug.call_args[0][0].port_profile
        assert profile.create_port
        assert not profile.create_tap

    def test_a_hybrid_port_joins_its_bridge(self, net: Any, vif: Any) -> None:
        Wiring().plug_new(make.instance(), port(details={"ovs_hybrid_plug": True}), NETNS)
        assert net.ns_attach.call_args[0][2]["replaces"] is False
        net.bridge_add.assert_called_once_with("qbr33333333-22", "tap33333333-22")
        assert net.ns_attach.call_args[0][0] == NETNS

    def test_a_port_that_says_little_is_a_plain_one(self, net: Any, vif: Any) -> None:
        plain = port()
        del plain["vnic_type"]
        Wiring().plug(make.instance(), [plain], NETNS)
        net.veth_create.assert_called_once()

    def test_dead_ports_are_unplugged_as_the_instances(self, net: Any, vif: Any) -> None:
        instance = make.instance()
        Wiring().unplug_dead(instance, [port()])
        unplugged, whose = vif.unplug.call_args[0]
        assert (unplugged.vif_name, whose.uuid) == ("tap33333333-22", instance.uuid)

    def test_the_helpers_are_started_by_requests_for_nothing(
        self, net: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = mock.create_autospec(wiring.linux_net)
        monkeypatch.setattr(wiring, "linux_net", other)
        Wiring().prepare()
        net.device_delete.assert_called_once_with("")
        other.delete_net_dev.assert_called_once_with("nd")
        other.delete_net_dev.side_effect = daemon.FailedToDropPrivileges("no")
        with pytest.raises(exceptions.NetworkError, match="vif_plug_ovs_privileged"):
            Wiring().prepare()

    @pytest.mark.parametrize(
        ("option", "datapath", "offload"),
        [
            ("auto", "system", True),
            ("auto", None, True),
            ("auto", "netdev", False),
            ("on", "netdev", True),
            ("off", "system", False),
        ],
    )
    def test_checksums_are_left_to_those_who_can(
        self, option: str, datapath: str | None, offload: bool, net: Any, vif: Any
    ) -> None:
        details = {"datapath_type": datapath} if datapath else {}
        Wiring(option).plug(make.instance(), [port(details=details)], NETNS)
        assert net.veth_create.call_args[0][4] is offload

    @pytest.mark.parametrize(
        "fields",
        [
            {"type": "binding_failed"},
            {"type": "vhostuser"},
            {"vnic_type": "direct"},
            {"type": "bridge"},
        ],
    )
    def test_ports_of_other_kinds_are_refused(self, fields: Any, net: Any, vif: Any) -> None:
        with pytest.raises(exceptions.NetworkError, match="vif_type ovs"):
            Wiring().plug(make.instance(), [port(**fields)], NETNS)
        Wiring().unplug(make.instance(), [port(**fields)])
        # What is not bound any more may have been plugged before.
        assert vif.unplug.called is (fields == {"type": "binding_failed"})
        vif.unplug.reset_mock()
        Wiring().unplug(make.instance(), [port(type="unbound")])
        assert vif.unplug.call_args[0][0].vif_name == "tap33333333-22"
        net.device_delete.assert_called_with("tap33333333-22")

    @pytest.mark.parametrize(
        "fault",
        [
            OSError("no"),
            os_vif.exception.PlugException(vif="v", err="no"),
            NetlinkError(113, "No route to host"),
            daemon.FailedToDropPrivileges("no"),
        ],
    )
    def test_faults_are_one_kind(self, fault: Exception, net: Any, vif: Any) -> None:
        vif.plug.side_effect = vif.unplug.side_effect = fault
        net.device_delete.side_effect = fault
        wiring = Wiring()
        with pytest.raises(exceptions.NetworkError, match=PORT):
            wiring.plug(make.instance(), [port()], NETNS)
        with pytest.raises(exceptions.NetworkError, match=PORT):
            wiring.unplug(make.instance(), [port()])
        wiring.unplug_dead(make.instance(), [port()])
        if not isinstance(fault, os_vif.exception.PlugException):
            with pytest.raises(exceptions.NetworkError, match="helper"):
                wiring.prepare()

    def test_the_device_goes_even_if_the_port_stays(self, net: Any, vif: Any) -> None:
        vif.unplug.side_effect = OSError("no ovsdb")
        with pytest.raises(exceptions.NetworkError):
            Wiring().unplug(make.instance(), [port()])
        net.device_delete.assert_called_once_with("tap33333333-22")

    def test_all_ports_are_tried(self, net: Any, vif: Any) -> None:
        vif.unplug.side_effect = OSError("no ovsdb")
        with pytest.raises(exceptions.NetworkError):
            Wiring().unplug(make.instance(), [port(), port(id=PORT.replace("3", "4"))])
        assert vif.unplug.call_count == 2

    def test_devices_of_no_namespace_are_none(self, net: Any) -> None:
        assert Wiring().devices(None) == []
        Wiring().devices(NETNS)
        net.ns_devices.assert_called_once_with(NETNS)

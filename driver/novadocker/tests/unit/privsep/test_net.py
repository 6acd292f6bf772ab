# SPDX-License-Identifier: Apache-2.0
"""Network devices, on a kernel in memory; the real one is asked in the functional tests."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from novadocker import privsep
from novadocker.privsep import net

MAC = "fa:16:3e:00:00:01"
NOWHERE = "10.0.0.255"


class Link(dict[str, Any]):
    """A device, with attributes as netlink tells them."""

    def get_attr(self, name: str) -> Any:
        return self.get(name)


class Kernel:
    """The devices of the host and of one namespace."""

    def __init__(self) -> None:
        self.host: list[Link] = []
        self.inside: list[Link] = [self.link("lo", None)]
        self.done: list[tuple[Any, ...]] = []
        self.failing: dict[str, Exception] = {}
        self.unreachable: set[str] = set()
        self.addresses: list[Link] = []
        self.routes: list[Link] = []

    def link(self, name: str, mac: str | None, kind: str | None = None) -> Link:
        info = Link(IFLA_INFO_KIND=kind) if kind else None
        told = Link(index=id(name) % 99991, IFLA_IFNAME=name, IFLA_ADDRESS=mac, IFLA_LINKINFO=info)
        told["state"] = "down"
        return told


class Socket:
    """What both IPRoute and NetNS do."""

    def __init__(self, kernel: Kernel, inside: bool) -> None:
        self.kernel = kernel
        self.links = kernel.inside if inside else kernel.host
        self.inside = inside

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_exc: Any) -> None:
        return None

    def link_lookup(self, ifname: str) -> tuple[int, ...]:
        return tuple(link["index"] for link in self.links if link["IFLA_IFNAME"] == ifname)

    def get_links(self, index: int | None = None) -> list[Link]:
        return [link for link in self.links if index in (None, link["index"])]

    def link(self, verb: str, **more: Any) -> None:
        self.kernel.done.append((verb, self.inside, more))
        if verb == "add":
            peer = more["peer"]
            self.links.append(self.kernel.link(more["ifname"], "02:00:00:00:00:01", "veth"))
            self.links.append(self.kernel.link(peer["ifname"], peer["address"], "veth"))
            return
        if "link" in self.kernel.failing:
            raise self.kernel.failing["link"]
        (link,) = self.get_links(more["index"])
        if verb == "del":
            self.links.remove(link)
        if "net_ns_fd" in more:
            self.links.remove(link)
            self.kernel.inside.append(link)
        if "ifalias" in more:
            link["IFLA_IFALIAS"] = more["ifalias"]
        if "ifname" in more:
            if link["state"] == "up":
                raise NetlinkError(errno.EBUSY, "Device or resource busy")
            link["IFLA_IFNAME"] = more["ifname"]
        link["state"] = more.get("state", link["state"])

    def get_addr(self, index: int) -> list[Link]:
        return list(self.kernel.addresses)

    def get_routes(self, oif: int, table: int) -> list[Link]:
        assert table == 254, "the kernel's own tables are none of ours"
        return list(self.kernel.routes)

    def addr(self, verb: str, **more: Any) -> None:
        self.kernel.done.append(("addr", verb, more))

    def route(self, verb: str, **more: Any) -> None:
        self.kernel.done.append(("route", verb, more))
        if more.get("gateway") in self.kernel.unreachable and (
            more["gateway"] == NOWHERE or "flags" not in more
        ):
            raise NetlinkError(errno.ENETUNREACH, "Network is unreachable")
        if "route" in self.kernel.failing and verb == "add":
            raise self.kernel.failing["route"]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    kernel = Kernel()
    monkeypatch.setattr(net, "IPRoute", lambda: Socket(kernel, False))
    monkeypatch.setattr(net, "NetNS", lambda _path, flags: Socket(kernel, True))
    monkeypatch.setattr(
        net, "_checksums_off", lambda device: kernel.done.append(("tx off", device))
    )
    privsep.ctx.set_client_mode(False)
    yield kernel
    privsep.ctx.set_client_mode(True)


def names(links: list[Link]) -> list[str]:
    return [link["IFLA_IFNAME"] for link in links]


def nic(**more: Any) -> dict[str, Any]:
    empty = {"addresses": (), "routes": (), "gateways": (), "metadata": None, "replaces": True}
    return {"mac": MAC, "mtu": 1400, **empty, **more}


def address(ip: str, prefixlen: int, scope: int = 0) -> Link:
    """Make an address as the kernel tells it."""
    return Link(IFA_ADDRESS=ip, prefixlen=prefixlen, scope=scope)


def route(to: str | None, gateway: str | None, proto: int = 4, v6: bool = False) -> Link:
    """Make a route as the kernel tells it; without a destination, the default."""
    dst, _, length = (to or "/0").partition("/")
    return Link(
        RTA_DST=dst or None,
        RTA_GATEWAY=gateway,
        dst_len=int(length),
        proto=proto,
        family=socket.AF_INET6 if v6 else socket.AF_INET,
    )


def gone_once(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next device of the host that is set go at that moment."""
    link = Socket.link

    def goes(self: Socket, verb: str, **more: Any) -> None:
        if self.inside:
            return link(self, verb, **more)
        monkeypatch.setattr(Socket, "link", link)
        kernel.host[:] = [other for other in kernel.host if other["index"] != more["index"]]
        raise NetlinkError(errno.ENODEV, "No such device")

    monkeypatch.setattr(Socket, "link", goes)


class TestHost:
    def test_one_that_is_detached_meanwhile_leaves_no_other_as_it_was(
        self, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in ("1", "2"):
            net.veth_create(f"tap{number}", f"nd{number}", MAC, 1400, True)
            tap, peer = kernel.host[-2:]
            tap["IFLA_LINK"], peer["IFLA_LINK"] = peer["index"], tap["index"]
            kernel.host.remove(peer)
            kernel.inside.append(peer)
        kernel.done.clear()
        gone_once(kernel, monkeypatch)
        net.ns_peers_set("/run/netns/x", "down")
        (left,) = kernel.host
        assert kernel.done == [("set", False, {"index": left["index"], "state": "down"})]

    def test_only_the_ends_of_a_namespace_are_switched(self, kernel: Kernel) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        tap, peer = kernel.host
        tap["IFLA_LINK"], peer["IFLA_LINK"] = peer["index"], tap["index"]
        other = kernel.link("eth0", "02:00:00:00:00:09")
        other["index"], other["IFLA_LINK"] = 4711, peer["index"]
        kernel.host.append(other)
        kernel.host.remove(peer)
        kernel.inside.append(peer)
        kernel.done.clear()
        net.ns_peers_set("/run/netns/x", "down")
        assert kernel.done == [("set", False, {"index": tap["index"], "state": "down"})]

    @pytest.mark.parametrize(("up", "state"), [(True, "up"), (False, "down")])
    def test_one_that_is_to_be_down_is_never_up(self, up: bool, state: str, kernel: Kernel) -> None:
        for _ in range(2):
            net.veth_create("tap1", "nd1", MAC, 1400, True, up)
        states = [more["state"] for verb, _, more in kernel.done if verb == "set"]
        assert states == [state, state]

    def test_a_pair_is_made_once(self, kernel: Kernel) -> None:
        assert net.veth_create("tap1", "nd1", MAC, 1400, True) is True
        assert net.veth_create("tap1", "nd1", MAC, 1400, True) is False
        assert names(kernel.host) == ["tap1", "nd1"]
        assert kernel.done[0][2]["peer"] == {"ifname": "nd1", "address": MAC, "mtu": 1400}
        assert kernel.done[-1][2]["state"] == "up"

    @pytest.mark.parametrize(
        ("when", "told"), [("get_links", "nothing"), ("get_links", "ENODEV"), ("link", "ENODEV")]
    )
    def test_a_pair_that_goes_with_its_namespace_at_that_moment_is_made_anew(
        self, when: str, told: str, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        as_it_was = getattr(Socket, when)

        def goes(self: Socket, *arguments: Any, **more: Any) -> Any:
            monkeypatch.setattr(Socket, when, as_it_was)
            kernel.host.clear()
            if told == "ENODEV":
                raise NetlinkError(errno.ENODEV, "No such device")
            return as_it_was(self, *arguments, **more)

        monkeypatch.setattr(Socket, when, goes)
        assert net.veth_create("tap1", "nd1", MAC, 1400, True) is True
        assert names(kernel.host) == ["tap1", "nd1"]

    def test_a_pair_that_does_not_stay_is_an_error(
        self, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Socket, "link_lookup", lambda _self, ifname: ())
        with pytest.raises(OSError, match="tap1 has gone as soon as it was made"):
            net.veth_create("tap1", "nd1", MAC, 1400, True)

    def test_both_ends_leave_checksums_where_they_must(self, kernel: Kernel) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, False)
        assert [action for action in kernel.done if action[0] == "tx off"] == [
            ("tx off", "tap1"),
            ("tx off", "nd1"),
        ]

    @pytest.mark.parametrize("kind", ["tun", None])
    def test_a_tap_of_that_name_gives_way(self, kind: str | None, kernel: Kernel) -> None:
        kernel.host.append(kernel.link("tap1", MAC, kind))
        assert net.veth_create("tap1", "nd1", MAC, 1400, True) is True
        assert kernel.done[0][0] == "del"

    def test_a_device_is_deleted_if_it_is_there(self, kernel: Kernel) -> None:
        assert net.device_delete("tap1") is False
        assert net.device_delete("") is False
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        assert net.device_delete("tap1") is True
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        kernel.failing["link"] = NetlinkError(errno.ENODEV, "gone in between")
        assert net.device_delete("tap1") is False
        kernel.failing["link"] = NetlinkError(errno.EPERM, "no")
        with pytest.raises(NetlinkError):
            net.device_delete("tap1")

    def test_a_bridge_gets_a_port(self, kernel: Kernel) -> None:
        kernel.host += [kernel.link("qbr1", None), kernel.link("tap1", None)]
        net.bridge_add("qbr1", "tap1")
        assert kernel.done[-1][2]["master"] == kernel.host[0]["index"]
        with pytest.raises(OSError, match="qbr2"):
            net.bridge_add("qbr2", "tap1")

    def test_a_device_that_goes_before_it_is_a_port_is_named(
        self, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kernel.host += [kernel.link("qbr1", None), kernel.link("tap1", None)]
        gone_once(kernel, monkeypatch)
        with pytest.raises(OSError, match="no device tap1") as fault:
            net.bridge_add("qbr1", "tap1")
        assert fault.value.errno == errno.ENODEV


class TestNamespace:
    @pytest.fixture
    def netns(self, tmp_path: Path) -> str:
        (tmp_path / "netns").touch()
        return str(tmp_path / "netns")

    def test_a_device_moves_in_once_and_gets_a_name(self, kernel: Kernel, netns: str) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        for _ in range(2):
            assert net.ns_attach(netns, "nd1", nic()) == "eth0"
        assert names(kernel.inside) == ["lo", "eth0"]
        net.veth_create("tap2", "nd2", MAC.replace("01", "02"), 1400, True)
        assert net.ns_attach(netns, "nd2", nic(mac=MAC.replace("01", "02").upper())) == "eth1"

    def test_one_that_was_set_up_before_it_had_a_name_gets_it(
        self, kernel: Kernel, netns: str
    ) -> None:
        """Who moved it in has died, and a privileged instance did not wait."""
        left = kernel.link("nd1", MAC, "veth")
        left.update(IFLA_IFALIAS="nd1", state="up")
        kernel.inside.append(left)
        assert net.ns_attach(netns, "nd1", nic()) == "eth0"
        assert (names(kernel.inside), left["state"]) == (["lo", "eth0"], "up")

    def test_it_is_configured_as_planned(self, kernel: Kernel, netns: str) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        net.ns_attach(
            netns,
            "nd1",
            nic(
                addresses=["10.0.0.5/24", "fd00::5/64"],
                routes=[("192.0.2.0/24", "10.0.0.9"), ("198.51.100.0/24", None)],
                gateways=[("10.0.0.1", False), ("fd00::1", True)],
            ),
        )
        addresses = [action[2] for action in kernel.done if action[0] == "addr"]
        assert [
            (address["address"], address["prefixlen"], address.get("flags"))
            for address in addresses
        ] == [
            ("10.0.0.5", 24, None),
            ("fd00::5", 64, 0x02),
        ]
        routes = [action[2] for action in kernel.done if action[0] == "route"]
        assert [(route["dst"], route.get("gateway"), route.get("flags")) for route in routes] == [
            ("192.0.2.0/24", "10.0.0.9", None),
            ("198.51.100.0/24", None, None),
            ("0.0.0.0/0", "10.0.0.1", None),
            ("::/0", "fd00::1", ["onlink"]),
        ]

    def test_what_a_port_has_no_more_goes(self, kernel: Kernel, netns: str) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        net.ns_attach(netns, "nd1", nic())
        kernel.addresses = [
            address("10.0.0.5", 24),
            address("10.0.0.9", 24),
            address("10.0.0.9", 25),
            address("2001:db8::9", 64),
            address("2001:db8::5", 64),
            address("fe80::1", 64, scope=253),
        ]
        kernel.routes = [
            route(None, "10.0.0.1"),
            route(None, "10.0.0.254"),
            route(None, "2001:db8::1", v6=True),
            route("10.0.0.0/24", None, proto=2),
            route("192.0.2.0/24", "10.0.0.7"),
            route("192.0.2.0/24", "10.0.0.8"),
            route("198.51.100.0/24", None),
        ]
        wanted = nic(
            addresses=["10.0.0.9/24", "2001:db8:0:0::9/64"],
            routes=[("192.0.2.0/24", "10.0.0.8")],
            gateways=[("10.0.0.254", False)],
        )
        net.ns_attach(netns, "nd1", wanted)
        gone = [
            (action[2]["address"], action[2]["prefixlen"])
            for action in kernel.done
            if action[:2] == ("addr", "del")
        ]
        assert gone == [("10.0.0.5", 24), ("10.0.0.9", 25), ("2001:db8::5", 64)]
        assert [
            (action[2]["dst"], action[2].get("gateway"))
            for action in kernel.done
            if action[:2] == ("route", "del")
        ] == [
            ("0.0.0.0/0", "10.0.0.1"),
            ("::/0", "2001:db8::1"),
            ("192.0.2.0/24", "10.0.0.7"),
            ("198.51.100.0/24", None),
        ]

    def test_one_that_has_just_come_is_not_asked_what_it_had(
        self, kernel: Kernel, netns: str
    ) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        # The kernel takes these from a device that moves.
        kernel.addresses, kernel.routes = [address("10.0.0.5", 24)], [route(None, "10.0.0.1")]
        net.ns_attach(netns, "nd1", nic())
        assert [action for action in kernel.done if action[1] == "del"] == []

    @pytest.mark.parametrize(("replaces", "verb"), [(True, "replace"), (False, "add")])
    def test_one_more_port_leaves_the_default_gateway_to_the_others(
        self, replaces: bool, verb: str, kernel: Kernel, netns: str
    ) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        net.ns_attach(netns, "nd1", nic(gateways=[("10.0.0.1", False)], replaces=replaces))
        assert [action[1] for action in kernel.done if action[0] == "route"] == [verb]

    @pytest.mark.parametrize(
        ("replaces", "via", "asked"),
        [
            (True, None, ("replace", {"scope": "link"})),
            (True, "10.0.0.2", ("replace", {"gateway": "10.0.0.2"})),
            (False, None, ("add", {"scope": "link"})),
        ],
    )
    def test_one_port_has_the_route_to_the_metadata_service(
        self, replaces: bool, via: str | None, asked: Any, kernel: Kernel, netns: str
    ) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        net.ns_attach(netns, "nd1", nic())
        # The route that there is, of this one, stays.
        kernel.routes = [route("169.254.169.254/32", via)]
        wanted = nic(metadata=("169.254.169.254/32", via), replaces=replaces)
        # Another port's is there.
        kernel.failing["route"] = NetlinkError(errno.EEXIST, "File exists")
        net.ns_attach(netns, "nd1", wanted)
        (action,) = [action for action in kernel.done if action[0] == "route"]
        assert (action[1], action[2]["dst"]) == (asked[0], "169.254.169.254/32")
        assert action[2].items() >= asked[1].items()

    def test_two_ports_with_one_address_are_two_devices(self, kernel: Kernel, netns: str) -> None:
        for number in ("1", "2", "1"):
            net.veth_create(f"tap{number}", f"nd{number}", MAC, 1400, True)
            net.ns_attach(netns, f"nd{number}", nic())
        assert names(kernel.inside) == ["lo", "eth0", "eth1"]

    def test_a_route_that_the_kernel_refuses_keeps_no_instance_from_its_port(
        self, kernel: Kernel, netns: str
    ) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        kernel.unreachable = {NOWHERE, "192.0.2.77"}
        routes = [
            ("10.8.0.0/16", NOWHERE),
            ("10.9.0.0/16", "192.0.2.77"),
            ("10.7.0.0/16", "10.0.0.9"),
        ]
        assert net.ns_attach(netns, "nd1", nic(routes=routes)) == "eth0"
        asked = [action[2] for action in kernel.done if action[0] == "route"]
        assert [(route["gateway"], route.get("flags")) for route in asked] == [
            (NOWHERE, None),
            (NOWHERE, ["onlink"]),
            ("192.0.2.77", None),
            ("192.0.2.77", ["onlink"]),
            ("10.0.0.9", None),
        ]

    def test_a_default_route_that_is_there_stays(self, kernel: Kernel, netns: str) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        one_more = nic(gateways=[("10.0.0.1", False)], replaces=False)
        kernel.failing["route"] = NetlinkError(errno.EEXIST, "File exists")
        net.ns_attach(netns, "nd1", one_more)
        kernel.failing["route"] = NetlinkError(errno.EHOSTUNREACH, "No route to host")
        with pytest.raises(NetlinkError):
            net.ns_attach(netns, "nd1", one_more)

    def test_a_device_that_is_nowhere_is_a_fault(
        self, kernel: Kernel, netns: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(OSError, match="no device nd1"):
            net.ns_attach(netns, "nd1", nic())
        monkeypatch.setattr(net, "_move", lambda *_args: None)
        with pytest.raises(OSError, match="did not arrive"):
            net.ns_attach(netns, "nd1", nic())

    def test_a_device_that_goes_before_it_moves_is_wanted_anew(
        self, kernel: Kernel, netns: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        net.veth_create("tap1", "nd1", MAC, 1400, True)
        gone_once(kernel, monkeypatch)
        # By this number a port that is plugged again makes another pair.
        with pytest.raises(OSError, match="no device nd1") as fault:
            net.ns_attach(netns, "nd1", nic())
        assert fault.value.errno == errno.ENODEV

    def test_devices_are_listed_with_counters(self, kernel: Kernel, netns: str) -> None:
        eth0 = kernel.link("eth0", MAC)
        eth0.update(IFLA_STATS64={"rx_bytes": 5}, IFLA_IFALIAS="nd1")
        kernel.inside += [eth0, kernel.link("sit0", "00:00:00:00")]
        (device,) = net.ns_devices(netns)
        assert (device["name"], device["mac"]) == ("eth0", MAC)
        assert (device["stats"]["rx_bytes"], device["stats"]["tx_errors"]) == (5, 0)


def test_checksums_are_switched_off_by_ethtools_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(net.fcntl, "ioctl", lambda *args: asked.append(args[1:]))
    net._checksums_off("tap1")
    ((request, buffer),) = asked
    assert request == 0x8946
    assert buffer.startswith(b"tap1\0")

# SPDX-License-Identifier: Apache-2.0
"""Network devices of instances, on the host and in their namespaces.

Every function is idempotent, and takes plain data only, as it runs in the privsep daemon. No thread
of the daemon ever enters a namespace: pyroute2 opens its socket in a child process.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import itertools
import os
import socket
import struct
from collections.abc import Container, Iterable, Iterator
from typing import Any

from oslo_log import log as logging
from pyroute2 import IPRoute, NetNS
from pyroute2.netlink.exceptions import NetlinkError

from novadocker.privsep import ctx

LOG = logging.getLogger(__name__)

_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
# RT_SCOPE_UNIVERSE, RT_TABLE_MAIN and RTPROT_STATIC, which is pyroute2's default.
_GLOBAL, _MAIN_TABLE, _STATIC = 0, 254, 4
_DEFAULT = {int(socket.AF_INET): "0.0.0.0/0", int(socket.AF_INET6): "::/0"}


@ctx.entrypoint
def veth_create(
    host_device: str, peer: str, mac: str, mtu: int, tx_checksum: bool, up: bool = True
) -> bool:
    """Make a pair of devices, one end of which an instance will get.

    :param host_device: name of the end that stays on the host
    :param peer: name of the instance's end while it is on the host
    :param mac: address of the instance's end
    :param tx_checksum: whether transmit checksums are offloaded, as by the kernel's default
    :param up: whether the host's end is set up; otherwise down, without being up for a moment
    :return: False when the pair was there already
    """
    state = "up" if up else "down"
    with IPRoute() as ipr:
        if _kind_of(ipr, host_device) == "veth" and _set(ipr, host_device, state=state, mtu=mtu):
            return False
        # It is not there, or went a moment ago with a namespace that had its other end. Or it is
        # a tap that os-vif made for a virtual machine, under the name of the port.
        _delete(ipr, host_device)
        ipr.link(
            "add",
            kind="veth",
            ifname=host_device,
            mtu=mtu,
            peer={"ifname": peer, "address": mac, "mtu": mtu},
        )
        if not tx_checksum:
            # A device keeps the feature when it moves into a namespace.
            _checksums_off(host_device)
            _checksums_off(peer)
        if not _set(ipr, host_device, state=state, mtu=mtu):
            raise OSError(errno.ENODEV, f"{host_device} has gone as soon as it was made")
    return True


@ctx.entrypoint
def device_delete(device: str) -> bool:
    """Delete a device of the host, and with it its peer, wherever that is.

    :return: False when there was none
    """
    if not device:
        return False
    with IPRoute() as ipr:
        return _delete(ipr, device)


@ctx.entrypoint
def bridge_add(bridge: str, device: str) -> None:
    """Make a device of the host a port of a Linux bridge."""
    with IPRoute() as ipr:
        masters = ipr.link_lookup(ifname=bridge)
        if not masters or not _set(ipr, device, master=masters[0]):
            raise OSError(errno.ENODEV, f"no bridge {bridge} or no device {device}")


@ctx.entrypoint
def ns_attach(netns: str, peer: str, nic: dict[str, Any]) -> str:
    """Move the instance's end of a pair into its namespace, and configure it there.

    :param netns: path of the namespace (Docker's SandboxKey)
    :param peer: name of the device on the host, kept as its alias in the namespace: addresses are
        not unique there
    :param nic: ``mac``, ``mtu``, ``addresses`` (with prefix), ``routes`` (destination, gateway or
        None), ``gateways`` (address, whether it is outside its subnet), ``metadata`` (a route like
        the others, or None), and whether these two replace those of another device
        (``replaces``); other addresses and routes that the driver has set are removed
    :return: name of the device in the namespace
    """
    with NetNS(netns, flags=0) as ns:
        links = list(ns.get_links())
        link = _by_alias(links, peer)
        has_arrived = link is None
        if has_arrived:
            _move(peer, netns)
            links = list(ns.get_links())
            link = _by_alias(links, peer)
            if link is None:
                raise OSError(errno.ENODEV, f"{peer} did not arrive in {netns}")
        by_name = {other.get_attr("IFLA_IFNAME"): other["index"] for other in links}
        ns.link("set", index=by_name["lo"], state="up")
        index, name = int(link["index"]), link.get_attr("IFLA_IFNAME")
        settings = {"mtu": nic["mtu"], "state": "up"}
        if name == peer:
            # The kernel lets devices arrive down. Where it had no name yet when nova-compute died,
            # a privileged instance may have set it up, and one that is up keeps its name.
            if link["state"] == "up":
                ns.link("set", index=index, state="down")
            name = settings["ifname"] = _free_name(by_name)
        ns.link("set", index=index, **settings)
        if not has_arrived:
            _drop_others(ns, index, nic)
        _configure(ns, index, nic)
    return str(name)


@ctx.entrypoint
def ns_devices(netns: str) -> list[dict[str, Any]]:
    """Return the devices that were moved into a namespace, with their counters.

    Devices that the kernel or the instance made there are left out.
    """
    with NetNS(netns, flags=0) as ns:
        return [
            {
                "name": link.get_attr("IFLA_IFNAME"),
                "mac": link.get_attr("IFLA_ADDRESS"),
                "stats": _counters(link),
            }
            for link in ns.get_links()
            if link.get_attr("IFLA_IFALIAS")
        ]


@ctx.entrypoint
def ns_peers_set(netns: str, state: str) -> None:
    """Set the state of the host's ends of the pairs whose other ends are in a namespace.

    :param state: ``up`` or ``down``
    """
    with NetNS(netns, flags=0) as ns:
        ends = {link.get_attr("IFLA_LINK"): link["index"] for link in ns.get_links()}
    with IPRoute() as ipr:
        for link in ipr.get_links():
            # Each end has the other end's index as its link.
            if _kind(link) == "veth" and ends.get(link["index"]) == link.get_attr("IFLA_LINK"):
                # One that is detached meanwhile keeps none of the others as they were.
                with _unless(errno.ENODEV):
                    ipr.link("set", index=link["index"], state=state)


def _configure(ns: NetNS, index: int, nic: dict[str, Any]) -> None:
    for address in nic["addresses"]:
        ip, prefix = address.split("/")
        flags = {"flags": 0x02} if ":" in ip else {}  # IFA_F_NODAD: Neutron keeps addresses unique
        ns.addr("replace", index=index, address=ip, prefixlen=int(prefix), **flags)
    for destination, gateway in nic["routes"]:
        _set_route(ns, index, destination, gateway)
    if nic["metadata"] is not None:
        destination, gateway = nic["metadata"]
        _set_route(ns, index, destination, gateway, "replace" if nic["replaces"] else "add")
    for gateway, outside in nic["gateways"]:
        family = _family(gateway)
        onlink = {"flags": ["onlink"]} if outside else {}
        with _unless(errno.EEXIST):
            ns.route(
                "replace" if nic["replaces"] else "add",
                dst=_default(gateway),
                family=family,
                gateway=gateway,
                oif=index,
                **onlink,
            )


def _drop_others(ns: NetNS, index: int, nic: dict[str, Any]) -> None:
    """Remove addresses and routes that a port had, and does not have any more.

    An old address would stay the source of what the instance sends, which Neutron drops.
    """
    addresses = {ipaddress.ip_interface(address) for address in nic["addresses"]}
    for assigned in ns.get_addr(index=index):
        address = f"{assigned.get_attr('IFA_ADDRESS')}/{assigned['prefixlen']}"
        if assigned["scope"] == _GLOBAL and ipaddress.ip_interface(address) not in addresses:
            LOG.info("%s is not the port's any more", address)
            ip, prefix = address.split("/")
            ns.addr("del", index=index, address=ip, prefixlen=int(prefix))
    routes = {(ipaddress.ip_network(to, strict=False), via) for to, via in nic["routes"]}
    if nic["metadata"] is not None:
        to, via = nic["metadata"]
        routes.add((ipaddress.ip_network(to), via))
    routes |= {(ipaddress.ip_network(_default(via)), via) for via, _outside in nic["gateways"]}
    for route in ns.get_routes(oif=index, table=_MAIN_TABLE):
        family = route["family"]
        to = route.get_attr("RTA_DST")
        destination = f"{to}/{route['dst_len']}" if to else _DEFAULT[family]
        gateway = route.get_attr("RTA_GATEWAY")
        # Others are the kernel's own.
        if route["proto"] == _STATIC and (ipaddress.ip_network(destination), gateway) not in routes:
            LOG.info("The route to %s by %s is not the port's any more", destination, gateway)
            via = {"gateway": gateway} if gateway else {}
            with _unless(errno.ESRCH):
                ns.route("del", dst=destination, oif=index, family=family, **via)


def _default(gateway: str) -> str:
    return _DEFAULT[_family(gateway)]


def _set_route(
    ns: NetNS, index: int, destination: str, gateway: str | None, verb: str = "replace"
) -> None:
    """Set a route that a user has asked for; log a route that the kernel refuses.

    :param verb: ``add`` leaves a route there that another device has to the same destination
    """
    via: dict[str, Any] = {"gateway": gateway} if gateway else {"scope": "link"}
    # Neutron allows gateways outside the subnet.
    ways = (via, {**via, "flags": ["onlink"]}) if gateway else (via,)
    for way in ways:
        try:
            ns.route(verb, dst=destination, oif=index, family=_family(destination), **way)
        except NetlinkError as err:
            if verb == "add" and err.code == errno.EEXIST:
                return
            fault = err
        else:
            return
    LOG.warning("The route to %s by %s is left out: %s", destination, gateway, fault)


def _move(peer: str, netns: str) -> None:
    fd = os.open(netns, os.O_RDONLY)
    try:
        with IPRoute() as ipr:
            # The kernel moves it first: its alias is what it has where it arrives.
            if not _set(ipr, peer, net_ns_fd=fd, ifalias=peer):
                raise OSError(errno.ENODEV, f"no device {peer} to move into {netns}")
    finally:
        os.close(fd)


def _by_alias(links: Iterable[Any], alias: str) -> Any:
    """Return the device that was moved into a namespace by a name; None where there is none."""
    return next((link for link in links if link.get_attr("IFLA_IFALIAS") == alias), None)


def _free_name(taken: Container[str]) -> str:
    return next(name for number in itertools.count() if (name := f"eth{number}") not in taken)


def _kind_of(ipr: IPRoute, device: str) -> str | None:
    """Return the kind of a device, None where there is none, or it has just gone."""
    with _unless(errno.ENODEV):
        for index in ipr.link_lookup(ifname=device):
            for link in ipr.get_links(index):
                return _kind(link)
    return None


def _set(ipr: IPRoute, device: str, **settings: Any) -> bool:
    """Set a device of the host; return False where there is none, or it has just gone."""
    with _unless(errno.ENODEV):
        for index in ipr.link_lookup(ifname=device):
            ipr.link("set", index=index, **settings)
            return True
    return False


def _delete(ipr: IPRoute, device: str) -> bool:
    """Delete a device of the host; return False where there is none, or it has just gone."""
    with _unless(errno.ENODEV):
        for index in ipr.link_lookup(ifname=device):
            ipr.link("del", index=index)
            return True
    return False


def _kind(link: Any) -> str | None:
    info = link.get_attr("IFLA_LINKINFO")
    return info.get_attr("IFLA_INFO_KIND") if info is not None else None


def _counters(link: Any) -> dict[str, int]:
    stats = link.get_attr("IFLA_STATS64") or {}
    return {
        f"{way}_{what}": int(stats.get(f"{way}_{what}", 0))
        for way in ("rx", "tx")
        for what in ("bytes", "packets", "errors", "dropped")
    }


def _family(address: str) -> int:
    return int(socket.AF_INET6 if ":" in address else socket.AF_INET)


def _checksums_off(device: str) -> None:
    """Do what ``ethtool -K DEVICE tx off`` does."""
    value = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP8x", device.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)


@contextlib.contextmanager
def _unless(code: int) -> Iterator[None]:
    """Ignore one error code of the kernel, which means that the work is done already."""
    try:
        yield
    except NetlinkError as err:
        if err.code != code:
            raise

# SPDX-License-Identifier: Apache-2.0
"""Neutron ports become interfaces of a container.

A port is a pair of devices: os-vif plugs the host's end, named as Neutron expects; the other end is
moved into the network namespace of the instance's sandbox. The pair is made before os-vif plugs, so
that os-vif finds the device and does not make a tap of that name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import ipaddress
from collections.abc import Iterator
from typing import Any

import os_vif
import os_vif.exception
from nova.network import model, os_vif_util
from oslo_log import log as logging
from oslo_privsep import daemon as privsep_daemon
from pyroute2.netlink.exceptions import NetlinkError
from vif_plug_ovs import linux_net

from novadocker import exceptions
from novadocker.privsep import net
from novadocker.types import Instance, NetworkInfo, Vif

LOG = logging.getLogger(__name__)

DEFAULT_MTU = 1500
# Of Nova's metadata service, for every virtual machine of every cloud.
METADATA = "169.254.169.254/32"
_BOUND_NO_MORE = (model.VIF_TYPE_UNBOUND, model.VIF_TYPE_BINDING_FAILED)
_FAULTS = (
    os_vif.exception.ExceptionBase,
    privsep_daemon.FailedToDropPrivileges,
    NetlinkError,
    OSError,
)


@dataclasses.dataclass(frozen=True)
class Nic:
    """Configuration of an interface inside the instance.

    :param routes: destination and gateway (None: on the link) of each route
    :param gateways: default gateways, at most one a family, and whether each is outside its subnet
    :param metadata: route to Nova's metadata service, of one interface of an instance
    :param replaces: whether gateways and this route replace others of the instance
    """

    mac: str
    mtu: int
    addresses: tuple[str, ...] = ()
    routes: tuple[tuple[str, str | None], ...] = ()
    gateways: tuple[tuple[str, bool], ...] = ()
    metadata: tuple[str, str | None] | None = None
    replaces: bool = True


def plan(network_info: NetworkInfo) -> list[Nic]:
    """Return the configuration of an instance's interfaces, in the order of its ports.

    All addresses of all subnets are set; the default route of a family is that of the first subnet
    that has a gateway. A subnet need not have one. Nor need Nova's metadata service be behind it:
    the first port that has a way of its own to it, which a virtual machine learns by DHCP, gets it.
    """
    nics: list[Nic] = []
    routed: set[int] = set()
    for vif in network_info:
        addresses: list[str] = []
        routes: list[tuple[str, str | None]] = []
        gateways: list[tuple[str, bool]] = []
        for subnet in vif["network"]["subnets"]:
            subnet_net = ipaddress.ip_network(subnet["cidr"], strict=False)
            if not subnet["ips"]:
                continue
            addresses += [f"{ip['address']}/{subnet_net.prefixlen}" for ip in subnet["ips"]]
            routes += [
                (str(route["cidr"]), _address(route["gateway"]))
                for route in subnet.get("routes") or []
            ]
            gateway = _address(subnet.get("gateway"))
            if gateway and subnet_net.version not in routed:
                routed.add(subnet_net.version)
                gateways.append((gateway, ipaddress.ip_address(gateway) not in subnet_net))
        mtu = vif["network"].get_meta("mtu") or DEFAULT_MTU
        nics.append(
            Nic(
                mac=vif["address"].lower(),
                mtu=int(mtu),
                addresses=tuple(addresses),
                routes=tuple(routes),
                gateways=tuple(gateways),
                metadata=None if any(nic.metadata for nic in nics) else _to_metadata(vif),
            )
        )
    return nics


def _to_metadata(vif: Vif) -> tuple[str, str | None] | None:
    """Return the route to the metadata service that a port needs besides of its gateway's.

    OVN's metadata agent answers on each network, on the link. On one without a router it is
    Neutron's DHCP agent that does, by its own address.

    :return: None where the gateway leads there, or the subnet has a route of its own
    """
    subnets = [
        subnet
        for subnet in vif["network"]["subnets"]
        if subnet["ips"] and ipaddress.ip_network(subnet["cidr"], strict=False).version == 4
    ]
    told = {str(route["cidr"]) for subnet in subnets for route in subnet.get("routes") or []}
    if not subnets or METADATA in told:
        return None
    if is_of_ovn(vif):
        return METADATA, None
    if any(_address(subnet.get("gateway")) for subnet in subnets):
        return None
    servers = [(subnet.get("meta") or {}).get("dhcp_server") for subnet in subnets]
    return next(((METADATA, str(server)) for server in servers if server), None)


def is_of_ovn(vif: Vif) -> bool:
    """Return whether OVN has bound a port."""
    return "ovn" in ((vif.get("details") or {}).get("bound_drivers") or {}).values()


def to_wait_for(network_info: NetworkInfo) -> list[tuple[str, str]]:
    """Return the events that Neutron will send once the ports are wired."""
    return [
        ("network-vif-plugged", vif["id"])
        for vif in network_info
        if vif.get("active") is False
        and vif.get("vnic_type", model.VNIC_TYPE_NORMAL) == model.VNIC_TYPE_NORMAL
    ]


def _address(ip: Any) -> str | None:
    address = ip.get("address") if ip else None
    # Neutron's on-link routes have the unspecified address as gateway.
    return None if address in (None, "", "0.0.0.0", "::") else str(address)


class Wiring:
    """Plugs and unplugs the ports of instances.

    :param tx_checksum: the option tx_checksum
    """

    def __init__(self, tx_checksum: str = "auto") -> None:
        self._tx_checksum = tx_checksum

    def plug(
        self, instance: Instance, network_info: NetworkInfo, netns: str, connected: bool = True
    ) -> None:
        """Wire all ports of an instance. Idempotent.

        :param netns: path of the sandbox's network namespace
        :param connected: whether packets pass; otherwise none does, not even for a moment
        :raises NetworkError: a port could not be wired; those before it are wired
        """
        for vif, nic in zip(network_info, plan(network_info), strict=True):
            self._plug_vif(instance, vif, nic, netns, connected)

    def plug_host(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Plug the host's ends of all ports of a new instance, so that Neutron wires them.

        :raises NetworkError: a port could not be plugged; those before it are plugged
        """
        for vif, nic in zip(network_info, plan(network_info), strict=True):
            if not self._plug_host_end(instance, vif, nic):
                # The other end of this pair, if any, is in a namespace of a former sandbox.
                self.unplug_dead(instance, [vif])
                self._plug_host_end(instance, vif, nic)

    def attach(self, network_info: NetworkInfo, netns: str) -> None:
        """Move the ends of all ports into the namespace of a new instance.

        :param netns: path of the sandbox's network namespace
        :raises NetworkError: a port could not be attached; those before it are attached
        """
        for vif, nic in zip(network_info, plan(network_info), strict=True):
            _attach(vif, nic, netns)

    def plug_new(self, instance: Instance, vif: Vif, netns: str, connected: bool = True) -> None:
        """Wire one more port; its gateway is the default route where the instance has none yet."""
        nic = dataclasses.replace(plan([vif])[0], replaces=False)
        self._plug_vif(instance, vif, nic, netns, connected)

    def unplug(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Unplug ports of an instance; missing ones are skipped.

        :raises NetworkError: some could not be unplugged; all were tried
        """
        faults = []
        for vif in network_info or []:
            try:
                self._unplug_vif(instance, vif)
            except exceptions.NetworkError as err:
                faults.append(str(err))
        if faults:
            raise exceptions.NetworkError("; ".join(faults))

    def unplug_dead(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Unplug ports whose namespace is gone; a failure is only logged."""
        try:
            self.unplug(instance, network_info)
        except exceptions.NetworkError as err:
            LOG.warning("A dead port could not be unplugged: %s", err, instance=instance)

    def prepare(self) -> None:
        """Start both privileged helpers, so that the first instance does not wait for them.

        :raises NetworkError: a helper cannot be started
        """
        try:
            net.device_delete("")
            # Starts os-vif's helper; there is no device of this name.
            linux_net.delete_net_dev(peer_name(""))
        except _FAULTS as err:
            raise exceptions.NetworkError(
                f"a privileged helper cannot be started: {err}; see helper_command in "
                "[novadocker_privileged] and [vif_plug_ovs_privileged]"
            ) from err

    def set_links(self, netns: str | None, up: bool) -> None:
        """Connect or disconnect an instance's ports, as the kernel would answer pings for it.

        :param netns: path of the sandbox's network namespace; None to do nothing
        :param up: whether to connect; plugging connects as well
        :raises NetworkError: the ports could not be switched
        """
        if netns is None:
            return
        try:
            net.ns_peers_set(netns, "up" if up else "down")
        except _FAULTS as err:
            raise exceptions.NetworkError(f"ports in {netns} cannot be switched: {err}") from err

    def devices(self, netns: str | None) -> list[dict[str, Any]]:
        """Return the devices in a namespace with their counters; none without a namespace."""
        if netns is None:
            return []
        devices: list[dict[str, Any]] = net.ns_devices(netns)
        return devices

    def _plug_vif(
        self, instance: Instance, vif: Vif, nic: Nic, netns: str, connected: bool
    ) -> None:
        created = self._plug_host_end(instance, vif, nic, connected)
        try:
            _attach(vif, nic, netns)
        except exceptions.NetworkError as err:
            if created or getattr(err.__cause__, "errno", None) != errno.ENODEV:
                raise
            # A crash has left the other end of the pair in a namespace that is gone.
            self.unplug_dead(instance, [vif])
            self._plug_host_end(instance, vif, nic, connected)
            _attach(vif, nic, netns)

    def _plug_host_end(
        self, instance: Instance, vif: Vif, nic: Nic, connected: bool = True
    ) -> bool:
        """Plug the host's end of a port; a new pair has its other end on the host, too.

        :return: False when the pair existed already
        """
        port = _os_vif_port(vif)
        with _wiring(vif):
            created: bool = net.veth_create(
                port.vif_name,
                peer_name(vif["id"]),
                nic.mac,
                nic.mtu,
                self._offload(port),
                connected,
            )
            os_vif.plug(port, os_vif_util.nova_to_osvif_instance(instance))
            if _is_hybrid(port):
                net.bridge_add(port.bridge_name, port.vif_name)
        return created

    def _unplug_vif(self, instance: Instance, vif: Vif) -> None:
        if vif.get("type") in _BOUND_NO_MORE:
            # It may have been plugged while it was bound.
            vif = model.VIF(**{**vif, "type": model.VIF_TYPE_OVS})
        try:
            port = _os_vif_port(vif)
        except exceptions.NetworkError as err:
            LOG.debug("Nothing to unplug: %s", err, instance=instance)
            return
        try:
            try:
                os_vif.unplug(port, os_vif_util.nova_to_osvif_instance(instance))
            finally:
                net.device_delete(port.vif_name)
        except _FAULTS as err:
            raise exceptions.NetworkError(
                f"port {vif['id']} could not be unplugged: {err}"
            ) from err

    def _offload(self, port: Any) -> bool:
        if self._tx_checksum != "auto":
            return self._tx_checksum == "on"
        profile = port.port_profile
        datapath = profile.datapath_type if "datapath_type" in profile else None
        return bool(datapath != model.VIF_DETAILS_OVS_DATAPATH_NETDEV)


def _attach(vif: Vif, nic: Nic, netns: str) -> None:
    with _wiring(vif):
        net.ns_attach(netns, peer_name(vif["id"]), dataclasses.asdict(nic))


@contextlib.contextmanager
def _wiring(vif: Vif) -> Iterator[None]:
    try:
        yield
    except _FAULTS as err:
        raise exceptions.NetworkError(
            f"port {vif['id']} could not be wired as {vif.get('devname')}: {err}"
        ) from err


def peer_name(port_id: str) -> str:
    """Return the name of an instance's device while it is on the host."""
    return f"nd{port_id}"[: model.NIC_NAME_LEN]


def _is_hybrid(port: Any) -> bool:
    return isinstance(port, os_vif.objects.vif.VIFBridge)


def _os_vif_port(vif: Vif) -> Any:
    """Return os-vif's object for a port.

    :raises NetworkError: a container cannot have a port of this type
    """
    if vif.get("type") != model.VIF_TYPE_OVS or (
        vif.get("vnic_type", model.VNIC_TYPE_NORMAL) != model.VNIC_TYPE_NORMAL
    ):
        raise exceptions.NetworkError(
            f"port {vif['id']} is bound as {vif.get('type')} ({vif.get('vnic_type', 'normal')}); a "
            "container takes vif_type ovs with vnic_type normal: check Neutron's agent on this host"
        )
    port = os_vif_util.nova_to_osvif_vif(vif)
    profile = port.port_profile
    if "create_tap" in profile.fields:
        profile.create_tap = False
    if not _is_hybrid(port):
        profile.create_port = True
    return port

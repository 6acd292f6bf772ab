# SPDX-License-Identifier: Apache-2.0
"""OVN: what is written into each host's Open vSwitch, and the site's external network."""

from __future__ import annotations

import ipaddress

from lab.controlplane.config.network import PHYSICAL_NETWORK, PROVIDER_BRIDGE

# Beside the VLANs of tenants' networks.
EXTERNAL_VLAN = 50
EXTERNAL_SUBNET = ipaddress.ip_network("172.24.4.0/24")
EXTERNAL_GATEWAY = EXTERNAL_SUBNET[1]
EXTERNAL_DEVICE = "external"
EXTERNAL_UNIT = "lab-external-network.service"
SOUTHBOUND_PORT = 6642
# Open to the management network, as it is the lab's own.
CENTRAL_DEFAULTS = (
    'OVN_CTL_OPTS="--db-nb-create-insecure-remote=yes --db-sb-create-insecure-remote=yes"\n'
)


def host_command(name: str, address: str, controller_address: str) -> list[str]:
    """Return the command that makes a host a chassis; the controller's is the gateway.

    :param address: of the host on the management network
    """
    ids = {
        "system-id": name,
        "hostname": name,
        "ovn-remote": f"tcp:{controller_address}:{SOUTHBOUND_PORT}",
        # Tenants' networks are VLANs: no frame is ever put into a tunnel.
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": address,
        "ovn-bridge-datapath-type": "netdev",
        "ovn-bridge-mappings": f"{PHYSICAL_NETWORK}:{PROVIDER_BRIDGE}",
        "ovn-monitor-all": "true",
    }
    if address == controller_address:
        ids["ovn-cms-options"] = "enable-chassis-as-gw"
    pairs = [f"external_ids:{key}={value}" for key, value in ids.items()]
    return ["ovs-vsctl", "set", "Open_vSwitch", ".", *pairs]


def external_port_command() -> list[str]:
    """Return the command that gives the controller an interface in the external network."""
    return [
        *("ovs-vsctl", "--", "--may-exist", "add-port", PROVIDER_BRIDGE, EXTERNAL_DEVICE),
        *(f"tag={EXTERNAL_VLAN}", "--", "set", "Interface", EXTERNAL_DEVICE, "type=internal"),
    ]


# The user-space data path takes a frame as it comes: checksums have to be there.
EXTERNAL_UNIT_FILE = f"""\
[Unit]
Description=The site's side of the external network
After=openvswitch-switch.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip address replace {EXTERNAL_GATEWAY}/{EXTERNAL_SUBNET.prefixlen} dev {EXTERNAL_DEVICE}
ExecStart=ethtool --offload {EXTERNAL_DEVICE} tx off
ExecStart=ip link set {EXTERNAL_DEVICE} up

[Install]
WantedBy=multi-user.target
"""

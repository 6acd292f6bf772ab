# SPDX-License-Identifier: Apache-2.0
"""Neutron: the API and its RPC server, and the Open vSwitch agent in user space."""

from __future__ import annotations

from lab.controlplane.config import credentials
from lab.controlplane.config.compute import OVSDB
from lab.controlplane.inifile import Options, Sections
from lab.controlplane.site import Cloud
from lab.settings import OVN

STATE = "/var/lib/neutron"
PHYSICAL_NETWORK = "physnet1"
PROVIDER_BRIDGE = "br-data"


def controller_neutron_conf(cloud: Cloud) -> Sections:
    """Return /etc/neutron/neutron.conf of the controller."""
    return {
        "DEFAULT": {
            "core_plugin": "ml2",
            "service_plugins": ("ovn-router",) if cloud.networking == OVN else (),
            "transport_url": cloud.transport_url,
            "state_path": STATE,
            "dhcp_agent_notification": False,
            "notify_nova_on_port_status_changes": True,
            "notify_nova_on_port_data_changes": True,
            "global_physnet_mtu": cloud.mtu,
            "api_workers": 1,
            "rpc_workers": 1,
            "rpc_state_report_workers": 0,
        },
        "database": credentials.database(cloud, "neutron"),
        "keystone_authtoken": credentials.token_check(cloud, "neutron"),
        "nova": credentials.login(cloud, "nova"),
        "placement": credentials.login(cloud, "placement"),
        **credentials.bus(f"{STATE}/lock"),
    }


def agent_neutron_conf(cloud: Cloud) -> Sections:
    """Return /etc/neutron/neutron.conf of a compute host: the bus, and nothing else."""
    return {
        "DEFAULT": {
            "transport_url": cloud.transport_url,
            "state_path": STATE,
            # Its first call may wait in the queue for as long as a slow machine takes to bring the
            # server up; given up, it is made again only after up to a minute of doing nothing.
            "rpc_response_timeout": 240,
        },
        # The agent is root by "sudo privsep-helper" alone, for each of its contexts.
        "agent": {"root_helper": "sudo", "report_interval": 10},
        **credentials.bus(f"{STATE}/lock"),
    }


def ml2_conf(cloud: Cloud) -> Sections:
    """Return /etc/neutron/plugins/ml2/ml2_conf.ini: VLANs on one physical network."""
    # Its databases are on the controller, where this is read.
    ovn: Options = {"ovn_metadata_enabled": False, "enable_distributed_floating_ip": False}
    return {
        "ml2": {
            "type_drivers": ("flat", "vlan"),
            "project_network_types": ("vlan",),
            "mechanism_drivers": ("ovn" if cloud.networking == OVN else "openvswitch",),
            "extension_drivers": ("port_security",),
        },
        "ml2_type_flat": {"flat_networks": (PHYSICAL_NETWORK,)},
        "ml2_type_vlan": {"network_vlan_ranges": f"{PHYSICAL_NETWORK}:100:999"},
        "ovn": ovn if cloud.networking == OVN else {},
    }


def openvswitch_agent_ini() -> Sections:
    """Return /etc/neutron/plugins/ml2/openvswitch_agent.ini: the kernel has no datapath."""
    return {
        # A server waits for its port: look each second for those that were plugged.
        "agent": {"polling_interval": 1},
        "ovs": {
            "bridge_mappings": f"{PHYSICAL_NETWORK}:{PROVIDER_BRIDGE}",
            "datapath_type": "netdev",
            "ovsdb_connection": OVSDB,
        },
        "securitygroup": {"enable_security_group": True, "firewall_driver": "openvswitch"},
    }

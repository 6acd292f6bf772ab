# SPDX-License-Identifier: Apache-2.0
"""What the cloud has in it when it is handed over: accounts, catalog, flavors, networks."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from lab.controlplane.config import ovn
from lab.controlplane.config.network import PHYSICAL_NETWORK
from lab.controlplane.config.orchestration import STACK_DOMAIN, STACK_DOMAIN_ADMIN
from lab.controlplane.site import ACCOUNTS, APIS, REGION, SERVICE_PROJECT, Cloud
from lab.settings import OVN, OVS

ROLES = ("service", "heat_stack_owner", "heat_stack_user")
# name, memory in MB, vcpus, disk in GB
FLAVORS = (
    ("m1.nano", 64, 1, 1),
    ("m1.micro", 128, 1, 1),
    ("m1.tiny", 512, 1, 1),
    ("m1.small", 2048, 1, 20),
)
RULES = (
    {"protocol": "icmp"},
    {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22},
)


def identity(cloud: Cloud) -> str:
    """Return the input of onhost/fill_identity.py; it holds passwords."""
    return json.dumps(
        {
            "region": REGION,
            "project": SERVICE_PROJECT,
            "accounts": {name: cloud.passwords[name] for name in ACCOUNTS},
            "roles": ROLES,
            "endpoints": [
                (api.service, api.name, cloud.url(api.service))
                for api in APIS
                if api.service != "identity"
            ]
            + [("dashboard", "horizon", cloud.dashboard_url)],
            "stack_domain": (STACK_DOMAIN, STACK_DOMAIN_ADMIN, cloud.passwords[STACK_DOMAIN_ADMIN]),
        }
    )


def cloud_contents(subnet: str, gateway: str, networking: str = OVS) -> str:
    """Return the input of onhost/fill_cloud.py.

    The network ``demo`` is the second docker network itself, so that instances are reachable
    from the machine, as those of a provider network are in a data centre. Networks that
    tenants make are VLANs on it. With OVN, which routes, ``public`` is the external one.

    :param subnet: the second docker network
    :param gateway: the machine's own address on it
    :param networking: what wires the ports
    """
    hosts = list(ipaddress.ip_network(subnet).hosts())
    networks: list[dict[str, Any]] = [
        {
            "name": "demo",
            "shared": True,
            "provider_network_type": "flat",
            "provider_physical_network": PHYSICAL_NETWORK,
            "subnet": {
                "cidr": subnet,
                "gateway_ip": gateway,
                "allocation_pools": [{"start": str(hosts[99]), "end": str(hosts[-1])}],
                "is_dhcp_enabled": False,
            },
        },
    ]
    if networking == OVN:
        networks.append(_external_network())
    return json.dumps({"flavors": FLAVORS, "networks": networks, "rules": RULES})


def _external_network() -> dict[str, Any]:
    first, last = ovn.EXTERNAL_SUBNET[10], ovn.EXTERNAL_SUBNET[-2]
    return {
        "name": "public",
        "is_router_external": True,
        "provider_network_type": "vlan",
        "provider_physical_network": PHYSICAL_NETWORK,
        "provider_segmentation_id": ovn.EXTERNAL_VLAN,
        "subnet": {
            "cidr": str(ovn.EXTERNAL_SUBNET),
            "gateway_ip": str(ovn.EXTERNAL_GATEWAY),
            "allocation_pools": [{"start": str(first), "end": str(last)}],
            "is_dhcp_enabled": False,
        },
    }

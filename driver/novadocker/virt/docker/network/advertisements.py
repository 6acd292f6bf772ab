# SPDX-License-Identifier: Apache-2.0
"""Routers that announce themselves, as a virtual machine hears them."""

from __future__ import annotations

import ipaddress

from novadocker.types import NetworkInfo


def are_for(network_info: NetworkInfo) -> bool:
    """Return whether an instance is to listen to advertisements of routers by IPv6.

    A subnet whose addresses come by them may have no gateway in Neutron, or one that nobody has:
    its router is somebody else's, and only announces itself. Addresses are Neutron's in any case.
    """
    return any(
        (subnet.get("meta") or {}).get("ipv6_address_mode")
        and ipaddress.ip_network(subnet["cidr"], strict=False).version == 6
        for vif in network_info
        for subnet in vif["network"]["subnets"]
    )

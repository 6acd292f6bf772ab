# SPDX-License-Identifier: Apache-2.0
"""Name servers and own addresses of an instance, as a virtual machine gets them by DHCP."""

from __future__ import annotations

import ipaddress

from novadocker.types import NetworkInfo

# In the place of none: whoever asks is refused at once, and no server of the host's is asked.
NO_SERVER = "127.0.0.1"
# As Debian has it, where a machine has no address of its own.
NO_ADDRESS = "127.0.1.1"


def servers(network_info: NetworkInfo) -> list[str]:
    """Return the name servers of all subnets, without duplicates, in their order.

    Where a subnet names none, its DHCP server is one. Never is it a server of the host's.
    """
    name_servers: dict[str, None] = {}
    for vif in network_info:
        for subnet in vif["network"]["subnets"]:
            given = [ip["address"] for ip in subnet.get("dns") or []]
            dhcp = (subnet.get("meta") or {}).get("dhcp_server")
            for address in given or ([dhcp] if dhcp else []):
                # By 0.0.0.0 or :: a subnet says that there is none.
                if not ipaddress.ip_address(address).is_unspecified:
                    name_servers[str(address)] = None
    return list(name_servers) or [NO_SERVER]


def addresses(network_info: NetworkInfo) -> list[str]:
    """Return the addresses that an instance's own name has: the first of each family."""
    by_version: dict[int, str] = {}
    for vif in network_info:
        for subnet in vif["network"]["subnets"]:
            for ip in subnet["ips"]:
                by_version.setdefault(
                    ipaddress.ip_address(ip["address"]).version, str(ip["address"])
                )
    return [by_version[version] for version in sorted(by_version)] or [NO_ADDRESS]

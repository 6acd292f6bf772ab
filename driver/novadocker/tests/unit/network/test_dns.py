# SPDX-License-Identifier: Apache-2.0
"""Name servers and own addresses of an instance."""

from __future__ import annotations

from typing import Any

import pytest
from nova.network import model

from novadocker.virt.docker.network import advertisements, dns


def port(*subnets: dict[str, Any]) -> dict[str, Any]:
    return {"network": {"subnets": list(subnets)}}


def subnet(*addresses: str, servers: Any = (), dhcp: str | None = None) -> dict[str, Any]:
    return {
        "ips": [{"address": address} for address in addresses],
        "dns": [{"address": address} for address in servers],
        "meta": {"dhcp_server": dhcp} if dhcp else {},
    }


def test_name_servers_once_and_in_order() -> None:
    ports = [
        port(subnet(servers=["10.0.0.2", "10.0.0.3"])),
        port(subnet(servers=["10.0.0.3", "10.0.0.4"])),
    ]
    assert dns.servers(ports) == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]


@pytest.mark.field_case("K9.1")
@pytest.mark.parametrize(
    ("ports", "servers"),
    [
        ([port(subnet(dhcp="10.0.0.2"))], ["10.0.0.2"]),
        ([port(subnet(servers=["10.0.0.53"], dhcp="10.0.0.2"))], ["10.0.0.53"]),
        ([port(subnet(servers=["0.0.0.0"], dhcp="10.0.0.2"))], [dns.NO_SERVER]),
        ([port(subnet(servers=["::"]), subnet(dhcp="fd00::2"))], ["fd00::2"]),
        ([port(subnet())], [dns.NO_SERVER]),
        ([], [dns.NO_SERVER]),
    ],
)
def test_who_has_no_server_asks_none_of_the_hosts(ports: Any, servers: list[str]) -> None:
    assert dns.servers(ports) == servers


@pytest.mark.field_case("K9.3")
@pytest.mark.parametrize(
    ("cidr", "mode", "heard"),
    [
        ("2001:db8::/64", "slaac", True),
        ("2001:db8::/64", "dhcpv6-stateful", True),
        ("2001:db8::/64", None, False),
        ("192.0.2.0/24", "slaac", False),
    ],
)
def test_routers_are_heard_where_addresses_come_by_them(
    cidr: str, mode: str | None, heard: bool
) -> None:
    # As Nova makes it of Neutron's: what it has no field for is in the meta of a subnet.
    more = {"ipv6_address_mode": mode} if mode else {}
    assert advertisements.are_for([port(model.Subnet(cidr=cidr, ips=[], **more))]) is heard


@pytest.mark.field_case("K9.2")
@pytest.mark.parametrize(
    ("ports", "addresses"),
    [
        (
            [port(subnet("2001:db8::5"), subnet("10.0.0.5", "10.0.0.6")), port(subnet("10.1.0.5"))],
            ["10.0.0.5", "2001:db8::5"],
        ),
        ([port(subnet())], [dns.NO_ADDRESS]),
        ([], [dns.NO_ADDRESS]),
    ],
)
def test_its_own_name_has_its_first_addresses(ports: Any, addresses: list[str]) -> None:
    assert dns.addresses(ports) == addresses

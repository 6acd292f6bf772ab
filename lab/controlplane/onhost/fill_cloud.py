# SPDX-License-Identifier: Apache-2.0
"""Give the operator's project what a demo needs; what is there already is kept.

    fill_cloud.py < {"flavors": [[name, ram_mb, vcpus, disk_gb], ...],
                     "networks": [{"name": ..., "subnet": {...}, ...}], "rules": [{...}]}

The cloud is taken from the OS_* variables.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openstack
from openstack import exceptions


def main() -> None:
    """Read what is wanted from the standard input and make it so."""
    wanted = json.load(sys.stdin)
    cloud = openstack.connect()
    fill_flavors(cloud.compute, wanted["flavors"])
    for network in wanted["networks"]:
        fill_network(cloud.network, **network)
    project_id = str(cloud.current_project_id)
    fill_security_rules(cloud.network, project_id, wanted["rules"])
    cloud.compute.update_quota_set(project_id, instances=-1, cores=-1, ram=-1, key_pairs=-1)


def fill_flavors(compute: Any, flavors: list[list[Any]]) -> None:
    """Make public flavors."""
    there = {flavor.name for flavor in compute.flavors()}
    for name, ram_mb, vcpus, disk_gb in flavors:
        if name not in there:
            compute.create_flavor(name=name, ram=ram_mb, vcpus=vcpus, disk=disk_gb)


def fill_network(network: Any, name: str, subnet: dict[str, Any], **attributes: Any) -> None:
    """Make a network with one subnet of the same name."""
    there = network.find_network(name) or network.create_network(name=name, **attributes)
    if not there.subnet_ids:
        network.create_subnet(network_id=there.id, name=name, ip_version=4, **subnet)


def fill_security_rules(network: Any, project_id: str, rules: list[dict[str, Any]]) -> None:
    """Let what the rules say into the project's default security group."""
    group = next(network.security_groups(name="default", project_id=project_id))
    for rule in rules:
        try:
            network.create_security_group_rule(
                security_group_id=group.id, direction="ingress", ether_type="IPv4", **rule
            )
        except exceptions.ConflictException:
            continue


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Hosts as Nova, Heat and their own agents describe them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# How Nova calls a host that runs the driver.
DOCKER = "docker"


@dataclass
class Host:
    """One machine of the cloud.

    :param name: Nova's service host name, or the enrolled name of a controller
    :param roles: of ``controller``, ``glance``, ``compute``
    :param server_id: Heat's deployed server, "" where the host is not enrolled
    :param deployment_id: Heat's deployment that is the host's mailbox
    :param has_key: whether its public key was pinned when it was enrolled
    :param service_id: Nova's compute service, "" where there is none
    :param node: what Nova calls its hypervisor, "" where it has none
    :param hypervisor_type: such as ``docker`` or ``QEMU``
    :param instances: servers that live on it, in any state
    :param labels: metadata of the aggregates that it is in
    """

    name: str
    roles: list[str] = field(default_factory=list)
    server_id: str = ""
    deployment_id: str = ""
    has_key: bool = False
    service_id: str = ""
    service_state: str = ""
    service_status: str = ""
    disabled_reason: str = ""
    availability_zone: str = ""
    aggregates: list[str] = field(default_factory=list)
    node: str = ""
    hypervisor_type: str = ""
    instances: int = 0
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def enrolled(self) -> bool:
        """Return whether the host has a mailbox."""
        return bool(self.server_id and self.deployment_id)


def merge(
    services: list[dict[str, Any]],
    hypervisors: list[dict[str, Any]],
    aggregates: list[dict[str, Any]],
    inventory: dict[str, dict[str, Any]],
) -> list[Host]:
    """Join what Nova and Heat know into one record a host, in the order of their names.

    :param services: Nova's compute services
    :param hypervisors: Nova's hypervisors, with their servers
    :param aggregates: Nova's aggregates
    :param inventory: enrolled hosts by name: server_id, deployment_id, roles
    """
    records: dict[str, Host] = {}
    for service in services:
        records[service["host"]] = Host(
            name=service["host"],
            roles=["compute"],
            service_id=str(service["id"]),
            service_state=service["state"],
            service_status=service["status"],
            disabled_reason=service.get("disabled_reason") or "",
            availability_zone=service.get("zone") or "",
        )
    for hypervisor in hypervisors:
        host = records.get(hypervisor["service"]["host"])
        if host:
            host.hypervisor_type = hypervisor["hypervisor_type"]
            host.node = hypervisor.get("hypervisor_hostname") or ""
            host.instances += len(hypervisor.get("servers") or [])
    for aggregate in aggregates:
        for name in aggregate["hosts"]:
            if name in records:
                records[name].aggregates.append(aggregate["name"])
                records[name].labels.update(aggregate.get("metadata") or {})
    for name, mailbox in inventory.items():
        host = records.setdefault(name, Host(name=name))
        host.server_id = mailbox["server_id"]
        host.deployment_id = mailbox["deployment_id"]
        host.has_key = bool(mailbox.get("has_key"))
        host.roles = sorted({*host.roles, *(mailbox.get("roles") or [])})
    return [records[name] for name in sorted(records)]

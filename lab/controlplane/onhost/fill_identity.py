# SPDX-License-Identifier: Apache-2.0
"""Put roles, projects, accounts and the catalog into Keystone; what is there already is kept.

    fill_identity.py < {"region": ..., "project": "service", "accounts": {"nova": "password"},
                        "roles": [...], "endpoints": [[type, name, url], ...],
                        "stack_domain": [domain, admin, password]}

The cloud is taken from the OS_* variables.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openstack


def main() -> None:
    """Read what is wanted from the standard input and make it so."""
    wanted = json.load(sys.stdin)
    identity = openstack.connect().identity
    roles = fill_roles(identity, wanted["roles"])
    fill_accounts(identity, wanted["project"], wanted["accounts"], roles)
    domain, admin, password = wanted["stack_domain"]
    fill_stack_domain(identity, domain, admin, password, roles["admin"])
    fill_catalog(identity, wanted["region"], wanted["endpoints"])


def fill_roles(identity: Any, names: list[str]) -> dict[str, Any]:
    """Return all roles by name, those missing made."""
    roles = {role.name: role for role in identity.roles()}
    for name in names:
        roles.setdefault(name, None)
        roles[name] = roles[name] or identity.create_role(name=name)
    return roles


def fill_accounts(
    identity: Any, project_name: str, accounts: dict[str, str], roles: dict[str, Any]
) -> None:
    """Make the services' project and a user for each, with the roles admin and service."""
    project = identity.find_project(project_name) or identity.create_project(
        name=project_name, domain_id="default"
    )
    users = {user.name: user for user in identity.users(domain_id="default")}
    for name, password in accounts.items():
        user = users.get(name) or identity.create_user(
            name=name, password=password, domain_id="default"
        )
        for role in ("admin", "service"):
            identity.assign_project_role_to_user(project, user, roles[role])


def fill_stack_domain(
    identity: Any, domain_name: str, admin: str, password: str, admin_role: Any
) -> None:
    """Make the domain in which Heat keeps its stacks' users, and its administrator."""
    domain = identity.find_domain(domain_name) or identity.create_domain(name=domain_name)
    user = next(identity.users(domain_id=domain.id, name=admin), None) or identity.create_user(
        name=admin, password=password, domain_id=domain.id
    )
    identity.assign_domain_role_to_user(domain, user, admin_role)


def fill_catalog(identity: Any, region: str, endpoints: list[list[str]]) -> None:
    """Make a service and its three endpoints for each entry."""
    services = {service.type: service for service in identity.services()}
    there = {(entry.service_id, entry.interface) for entry in identity.endpoints()}
    for service_type, name, url in endpoints:
        service = services.get(service_type) or identity.create_service(
            type=service_type, name=name
        )
        for interface in ("public", "internal", "admin"):
            if (service.id, interface) not in there:
                identity.create_endpoint(
                    service_id=service.id, interface=interface, region_id=region, url=url
                )


if __name__ == "__main__":
    main()

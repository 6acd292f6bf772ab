# SPDX-License-Identifier: Apache-2.0
"""A pool's stacks: flat templates, each of so many hosts that Heat takes it, split by themselves.

Each host has two resources of its own name, and each knows its own name only: to enrol or to take
out one host touches no other's, and what Heat keeps grows with the number of hosts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from heatclient.common import template_format

from novadocker_actions import resources
from novadocker_actions.cloud.mailbox import CONFIG_NAME
from novadocker_actions.enrolment.roster import Roster
from novadocker_actions.errors import Refused

STACK_PREFIX = "novadocker-hosts-"
# Two resources each, where Heat takes 1,000 a stack, and templates of 512 KB.
HOSTS_A_STACK = 300
SERVER, MAILBOX = "server-", "mailbox-"
_PART = re.compile(r"\.[0-9]+$")


def template(hosts: Iterable[str]) -> dict[str, Any]:
    """Return the template of a stack that enrols hosts.

    :param hosts: their names
    """
    text = resources.text("heat_templates/enrolment.yaml")
    made: dict[str, Any] = template_format.parse(text)
    inventory = made["outputs"]["inventory"]["value"] = {}
    for host in hosts:
        server, mailbox = f"{SERVER}{host}", f"{MAILBOX}{host}"
        made["resources"][server] = {
            "type": "OS::Heat::DeployedServer",
            "properties": {
                "name": host,
                "software_config_transport": {"get_param": "software_config_transport"},
            },
        }
        # It completes when the host's agent has answered the first message, which asks for nothing.
        made["resources"][mailbox] = {
            "type": "OS::Heat::SoftwareDeployment",
            "properties": {
                "name": CONFIG_NAME.format(host=host),
                "server": {"get_resource": server},
                "config": {"get_resource": "greeting"},
                "signal_transport": {"get_param": "signal_transport"},
                "actions": ["CREATE"],
            },
        }
        inventory[host] = {
            "server_id": {"get_resource": server},
            "deployment_id": {"get_resource": mailbox},
            "roles": {"get_param": "roles"},
        }
    return made


def require_name(pool: str) -> None:
    """Refuse a name that a part of another pool has.

    :raises Refused: with the reason
    """
    if _PART.search(pool):
        raise Refused(
            "--pool",
            f"{pool} ends as the further stacks of a pool do.",
            "Give a name without a number behind a dot.",
        )


def is_part(stack_name: str, pool: str) -> bool:
    """Return whether a stack is of a pool."""
    return _PART.sub("", stack_name) == f"{STACK_PREFIX}{pool}"


def part_of(stack: Mapping[str, Any]) -> int:
    """Return which part of its pool a stack is, from 1 on."""
    match = _PART.search(str(stack["stack_name"]))
    return int(match.group()[1:]) if match else 1


def spread(
    pool: str, stacks: Iterable[Mapping[str, Any]], hosts: Iterable[str]
) -> dict[str, list[str]]:
    """Return which hosts go into which stack of a pool, by the stacks' names.

    A host that is enrolled stays where it is; the others fill the first stacks that have room.

    :param pool: name
    :param stacks: the pool's, as they are
    :param hosts: names
    """
    by_number = {part_of(stack): stack for stack in stacks}
    rosters = {n: Roster.of_parameters(stack["parameters"]) for n, stack in by_number.items()}
    has = {number: list(roster.active) for number, roster in rosters.items()}
    given: dict[str, list[str]] = {}
    for host in dict.fromkeys(hosts):
        number = next((n for n, active in has.items() if host in active), 0)
        if not number:
            number = 1
            while len(has.get(number, ())) >= HOSTS_A_STACK:
                number += 1
            has.setdefault(number, []).append(host)
        name = f"{STACK_PREFIX}{pool}" + (f".{number}" if number > 1 else "")
        given.setdefault(name, []).append(host)
    return given


def require_flat(stack: Mapping[str, Any] | None, hosts: Iterable[str]) -> None:
    """Refuse to make a stack of an earlier release flat while hosts of it are not enrolled again.

    Its servers are made anew by that, and agents have the credentials of the old ones.

    :param stack: as it is, None for a new one
    :param hosts: those that are given an agent now
    :raises Refused: naming all that has to be enrolled again
    """
    if stack is None or "host_count" not in stack["parameters"]:
        return
    active = Roster.of_parameters(stack["parameters"]).active
    if set(active) - set(hosts):
        pool = str(stack["stack_name"]).removeprefix(STACK_PREFIX)
        raise Refused(
            f"stack {stack['stack_name']}",
            "was made by an earlier release, and its hosts' agents would lose their credentials.",
            f"Enrol all of its hosts anew first: `novadocker-enroll add --pool {pool} "
            f"{' '.join(active)}`.",
        )

# SPDX-License-Identifier: Apache-2.0
"""The enrolled hosts, as the stacks of the pools tell them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from heatclient.v1.client import Client as Heat

from novadocker_actions.cloud.host_keys import STACK_TAG, HostKeys
from novadocker_actions.errors import CloudError, Refused


def pools(heat: Heat) -> Iterator[Any]:
    """Yield the stacks that hold enrolled hosts.

    :param heat: Heat's client
    """
    yield from heat.stacks.list(tags=STACK_TAG)


def of_pool(heat: Heat, identifier: str) -> dict[str, dict[str, Any]]:
    """Return the hosts of a pool by name: ``server_id``, ``deployment_id`` and ``roles``.

    :param heat: Heat's client
    :param identifier: name and id of its stack, with a slash between them
    """
    try:
        shown = heat.stacks.output_show(identifier, "inventory")
    except CloudError as err:
        # The stack is gone, or so new that it has no outputs.
        if err.status != 404:
            raise
        return {}
    return {
        name: mailbox
        for name, mailbox in (shown["output"].get("output_value") or {}).items()
        if mailbox.get("server_id") and mailbox.get("deployment_id")
    }


def all_hosts(heat: Heat) -> dict[str, dict[str, Any]]:
    """Return the hosts of all pools by name, each with ``has_key`` beside what its pool tells.

    :param heat: Heat's client
    :raises Refused: for a host that is in two of them
    """
    keys, hosts = HostKeys(heat), dict[str, dict[str, Any]]()
    stacks: dict[str, str] = {}
    for pool in pools(heat):
        for name, mailbox in of_pool(heat, pool.identifier).items():
            if name in hosts:
                # One of the two mailboxes is nobody's, and which one that is cannot be told.
                raise Refused(
                    "hosts",
                    f"{name} is enrolled in two stacks, {stacks[name]} and {pool.stack_name}.",
                    "Take it out of the one that its agent does not ask: see "
                    "`novadocker-enroll list` and /etc/os-collect-config.conf on the host.",
                )
            stacks[name] = str(pool.stack_name)
            hosts[name] = {**mailbox, "has_key": bool(keys.of(name))}
    return hosts

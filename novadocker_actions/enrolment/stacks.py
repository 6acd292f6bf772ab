# SPDX-License-Identifier: Apache-2.0
"""Heat's side of enrolment: the stacks of deployed servers with their mailboxes, and of keys."""

from __future__ import annotations

import concurrent.futures
import json
import logging
import time
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from heatclient.v1.client import Client as Heat

from novadocker_actions import resources
from novadocker_actions.cloud import inventory
from novadocker_actions.cloud.host_keys import KEYS_PREFIX, KEYS_TAG, PROGRESS, STACK_TAG
from novadocker_actions.enrolment import pools
from novadocker_actions.enrolment.agent import PARALLEL, Ssh, change_agent, install_package
from novadocker_actions.enrolment.brought import Brought
from novadocker_actions.enrolment.roster import Roster
from novadocker_actions.errors import CloudError, Refused

LOG = logging.getLogger(__name__)

ROLES = ("controller", "glance", "compute")
# The second is what compute_pool.yaml calls it, whatever its environment makes of it.
SERVER_TYPES = ("OS::Heat::DeployedServer", "Novadocker::Pool::Server")
POLL_S = 1.0
# A stack without resources is made at once; this is for Heat itself.
KEYS_TIMEOUT_S = 120
# Resources of a pool's host are below its stack by so many levels at most.
DEPTH = 4


class Enrolment:
    """The enrolment stacks of a cloud.

    :param heat: Heat's client
    :param tell: called with each line for the operator
    """

    def __init__(self, heat: Heat, tell: Callable[[str], None]) -> None:
        self.heat = heat
        self.tell = tell

    def stack(self, name: str) -> dict[str, Any] | None:
        """Return a stack by its name or its id, None when there is none."""
        # Heat's own look-up redirects to an address that it makes up, which may not lead there.
        for key in ("name", "id"):
            for stack in self.heat.stacks.list(filters={key: name}):
                return self.refreshed(stack.to_dict())
        return None

    def refreshed(self, stack: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a stack as it is now, None when it is gone."""
        try:
            now: dict[str, Any] = self.heat.stacks.get(_identifier(stack)).to_dict()
        except CloudError as err:
            if err.status == 404:
                return None
            raise
        return now

    def pools(self) -> Iterator[dict[str, Any]]:
        """Yield the stacks that hold enrolled hosts."""
        for pool in inventory.pools(self.heat):
            stack = self.refreshed(pool.to_dict())
            if stack is not None:
                yield stack

    def inventory(self, stack: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the enrolled hosts of a stack: server_id, deployment_id and roles by name."""
        return inventory.of_pool(self.heat, _identifier(stack))

    def mailbox_state(self, deployment_id: str) -> str:
        """Return the state of a mailbox's last message, and when it changed."""
        mailbox = self.heat.software_deployments.get(deployment_id).to_dict()
        changed = mailbox.get("updated_time") or mailbox.get("creation_time") or ""
        return f"{mailbox['status']} {changed}"

    def write(
        self, name: str, pool: str, roster: Roster, timeout_s: int, **parameters: Any
    ) -> dict[str, Any]:
        """Create or update a stack of a pool, without waiting for it.

        :param name: of the stack
        :return: the stack
        """
        return self._put(
            name,
            self.stack(name),
            template=pools.template(roster.active),
            parameters={"pool": pool, **parameters, **roster.parameters()},
            timeout_mins=max(1, -(-timeout_s // 60)),
            tags=STACK_TAG,
        )

    def _put(self, name: str, before: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:
        fields = {"stack_name": name, "disable_rollback": True, **fields}
        if before is None:
            self.heat.stacks.create(**fields)
        else:
            self.heat.stacks.update(_identifier(before), **fields)
        stack = self.stack(name)
        assert stack is not None
        return stack

    def pin(self, pool_stack: str, hosts: Collection[str], keys: Mapping[str, str]) -> None:
        """Have the keys of a pool's hosts be known, and of no others.

        :param pool_stack: name of the pool's stack
        :param hosts: all hosts of the pool; with none the keys go away
        :param keys: keys of those that were asked; others keep theirs
        """
        name = f"{KEYS_PREFIX}{pool_stack}"
        there = self.stack(name)
        before = json.loads((there or {}).get("parameters", {}).get("public_keys") or "{}")
        wanted = {host: key for host, key in {**before, **keys}.items() if host in hosts}
        if there is not None and not wanted:
            self.delete(there)
        if not wanted or (wanted == before and there is not None and self._handle(there)):
            return
        stack = self._put(
            name,
            there,
            template=resources.text("heat_templates/host_keys.yaml"),
            parameters={"public_keys": wanted},
            timeout_mins=-(-KEYS_TIMEOUT_S // 60),
            tags=KEYS_TAG,
        )
        self.await_complete(stack, KEYS_TIMEOUT_S)

    def progress_of(self, pool_stack: str) -> str:
        """Return what a pool's hosts tell their progress with: the handle's signal, as Heat has it.

        :param pool_stack: name of the pool's stack, whose hosts' keys are pinned
        :return: JSON with an address and credentials that are good for nothing else
        """
        there = self.stack(f"{KEYS_PREFIX}{pool_stack}")
        return str(self._handle(there).get("signal") or "") if there is not None else ""

    def _handle(self, stack: Mapping[str, Any]) -> dict[str, Any]:
        try:
            handle = self.heat.resources.get(_identifier(stack), PROGRESS)
        except CloudError as err:
            # Of an earlier release.
            if err.status != 404:
                raise
            return {}
        return dict(handle.attributes or {})

    def delete(self, stack: Mapping[str, Any]) -> None:
        """Delete a stack; nothing happens on its hosts."""
        self.heat.stacks.delete(_identifier(stack))

    def servers(
        self, stack: Mapping[str, Any], wanted: Collection[str] | None = None, *, flat: bool = False
    ) -> dict[str, dict[str, Any]]:
        """Return what agents need (os_collect_config) by host name, of servers that have it.

        :param wanted: hosts that are asked for, None for all
        :param flat: take no servers but those of :func:`pools.template`. While a stack of an
            earlier release is made flat, its servers of before are still there, and about to go.
        """
        servers = {}
        for item in self.heat.resources.list(_identifier(stack), nested_depth=DEPTH):
            if item.resource_type not in SERVER_TYPES or not item.physical_resource_id:
                continue
            host = item.resource_name.removeprefix(pools.SERVER)
            if host == item.resource_name:
                if flat:
                    continue
            elif wanted is not None and host not in wanted:
                continue
            # A server of compute_pool.yaml is in a stack of its own below the pool's.
            link = next(link["href"] for link in item.links if link["rel"] == "stack")
            identifier = urllib.parse.unquote(link.rpartition("/stacks/")[2])
            server = self.heat.resources.get(identifier, item.resource_name)
            if (server.attributes.get("os_collect_config") or {}).get("collectors"):
                servers[server.attributes["name"]] = server.attributes["os_collect_config"]
        return servers

    def faults(self, stack: Mapping[str, Any]) -> list[str]:
        """Return why a stack failed, the innermost resources first."""
        items = self.heat.resources.list(_identifier(stack), nested_depth=DEPTH)
        failed = [item for item in items if item.resource_status == "FAILED"]
        return [f"{item.resource_name}: {item.resource_status_reason}" for item in failed[-5:]]

    def attach(
        self,
        stack: Mapping[str, Any],
        addresses: Mapping[str, str],
        ssh: Ssh,
        common: Mapping[str, Any],
        brought: Brought,
        timeout_s: float,
        parallel: int = PARALLEL,
        *,
        flat: bool = False,
    ) -> None:
        """Put package, wheels and agent on hosts, each as soon as Heat has its credentials.

        :param addresses: SSH addresses by host name
        :param common: settings of install_agent that are the same for all of them
        :param brought: what is brought beside the package
        :param flat: whether :meth:`write` made the stack
        :raises Refused: naming every host that could not be attached
        """
        deadline = time.monotonic() + timeout_s
        waiting, faults = dict(addresses), []
        same = {**common, "progress": self.progress_of(stack["stack_name"])}

        def set_up(address: str, settings: Mapping[str, Any]) -> bool:
            changed = install_package(ssh, address, brought)
            return change_agent(ssh, address, "apply", settings, brought) or changed

        with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
            running: dict[concurrent.futures.Future[bool], str] = {}
            while waiting and time.monotonic() < deadline:
                for name, config in self.servers(stack, waiting, flat=flat).items():
                    if name in waiting:
                        settings = {**same, "os_collect_config": config, "host": name}
                        running[pool.submit(set_up, waiting.pop(name), settings)] = name
                if waiting:
                    time.sleep(POLL_S)
            for done in concurrent.futures.as_completed(running):
                try:
                    state = "installed" if done.result() else "as it was"
                    self.tell(f"{running[done]}: agent {state}")
                except Refused as err:
                    faults.append(f"{running[done]}: {err}")
        faults.extend(f"{name}: Heat gives no credentials for it" for name in waiting)
        if faults:
            raise Refused("hosts", "; ".join(sorted(faults)), "Mend that, then repeat the command.")

    def await_complete(self, stack: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Wait until a stack is complete, which means that every agent answered; return it.

        :raises Refused: when it fails, or the time is over
        """
        deadline = time.monotonic() + timeout_s
        while True:
            now = self.refreshed(stack) or {"stack_status": "DELETE_COMPLETE"}
            if now["stack_status"].endswith("_COMPLETE"):
                return now
            if now["stack_status"].endswith("_FAILED") or time.monotonic() > deadline:
                why = "; ".join(self.faults(stack)) or "not every agent has answered"
                raise Refused(
                    f"stack {stack['stack_name']}",
                    f"is {now['stack_status']}: {why}.",
                    "See `journalctl -u os-collect-config` on the hosts, then repeat the command.",
                )
            time.sleep(POLL_S)


def _identifier(stack: Mapping[str, Any]) -> str:
    return f"{stack['stack_name']}/{stack['id']}"

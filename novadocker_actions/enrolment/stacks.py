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

from novadocker_actions import resources
from novadocker_actions.cloud.host_keys import KEYS_PREFIX, KEYS_TAG, STACK_TAG
from novadocker_actions.enrolment.agent import PARALLEL, Ssh, change_agent
from novadocker_actions.enrolment.roster import Roster
from novadocker_actions.errors import CloudError, Refused

LOG = logging.getLogger(__name__)

STACK_PREFIX = "novadocker-hosts-"
ROLES = ("controller", "glance", "compute")
# The second is what compute_pool.yaml calls it, whatever its environment makes of it.
SERVER_TYPES = ("OS::Heat::DeployedServer", "Novadocker::Pool::Server")
POLL_S = 1.0
#: A stack without resources is made at once; this is for Heat itself.
KEYS_TIMEOUT_S = 120
# With doubling pauses: 15 s in which an API may restart.
CONNECT_RETRIES = 5


class Enrolment:
    """The enrolment stacks of a cloud.

    :param heat: adapter of the orchestration service, as openstacksdk gives it
    :param tell: called with each line for the operator
    """

    def __init__(self, heat: Any, tell: Callable[[str], None]) -> None:
        self.heat = heat
        self.tell = tell

    def _ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        options = {"json": body} if body else {}
        response = self.heat.request(
            path, method, raise_exc=False, connect_retries=CONNECT_RETRIES, **options
        )
        if response.status_code >= 400:
            raise CloudError(
                "orchestration", f"{method} {path}", response.status_code, response.text
            )
        # What Heat has only accepted it answers with a page of HTML.
        told = response.headers.get("Content-Type", "").startswith("application/json")
        return dict(response.json()) if told else {}

    def stack(self, name: str) -> dict[str, Any] | None:
        """Return a stack by its name or its id, None when there is none."""
        for key in ("name", "id"):
            query = urllib.parse.urlencode({key: name})
            for item in self._ask("GET", f"/stacks?{query}")["stacks"]:
                return self.refreshed(item)
        return None

    def refreshed(self, stack: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a stack as it is now, None when it is gone."""
        try:
            return dict(self._ask("GET", f"/stacks/{stack['stack_name']}/{stack['id']}")["stack"])
        except CloudError as error:
            if error.status == 404:
                return None
            raise

    def pools(self) -> Iterator[dict[str, Any]]:
        """Yield the stacks that hold enrolled hosts."""
        for stack in self._ask("GET", f"/stacks?tags={STACK_TAG}")["stacks"]:
            found = self.refreshed(stack)
            if found is not None:
                yield found

    def inventory(self, stack: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the enrolled hosts of a stack: server_id, deployment_id and roles by name."""
        for output in stack.get("outputs", []):
            if output["output_key"] == "inventory":
                return dict(output.get("output_value") or {})
        return {}

    def mailbox_state(self, deployment_id: str) -> str:
        """Return the state of a mailbox's last message, and when it changed."""
        found = self._ask("GET", f"/software_deployments/{deployment_id}")["software_deployment"]
        return f"{found['status']} {found.get('updated_time') or found.get('creation_time') or ''}"

    def write(self, pool: str, roster: Roster, timeout_s: int, **parameters: Any) -> dict[str, Any]:
        """Create or update a pool's stack, without waiting for it.

        :return: the stack
        """
        name = f"{STACK_PREFIX}{pool}"
        files = self.heat.read_env_and_templates(
            template_file=str(resources.path("heat_templates/hosts.yaml"))
        )
        body = {
            "stack_name": name,
            "template": files["template"],
            "files": files.get("files") or {},
            "parameters": {"pool": pool, **parameters, **roster.parameters()},
            "timeout_mins": max(1, -(-timeout_s // 60)),
            "disable_rollback": True,
            "tags": STACK_TAG,
        }
        there = self.stack(name)
        if there is None:
            self._ask("POST", "/stacks", **body)
        else:
            self._ask("PUT", f"/stacks/{name}/{there['id']}", **body)
        found = self.stack(name)
        assert found is not None
        return found

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
        if wanted == before or not wanted:
            return
        body = {
            "stack_name": name,
            "template": resources.text("heat_templates/host_keys.yaml"),
            "parameters": {"public_keys": wanted},
            "timeout_mins": -(-KEYS_TIMEOUT_S // 60),
            "disable_rollback": True,
            "tags": KEYS_TAG,
        }
        if there is None:
            self._ask("POST", "/stacks", **body)
        else:
            self._ask("PUT", f"/stacks/{name}/{there['id']}", **body)
        found = self.stack(name)
        assert found is not None
        self.await_complete(found, KEYS_TIMEOUT_S)

    def delete(self, stack: Mapping[str, Any]) -> None:
        """Delete a stack; nothing happens on its hosts."""
        self._ask("DELETE", f"/stacks/{stack['stack_name']}/{stack['id']}")

    def servers(self, stack: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return what agents need (os_collect_config) by host name, of servers that have it."""
        path = f"/stacks/{stack['stack_name']}/{stack['id']}/resources?nested_depth=4"
        found = {}
        for item in self._ask("GET", path)["resources"]:
            if item["resource_type"] not in SERVER_TYPES or not item["physical_resource_id"]:
                continue
            link = next(link["href"] for link in item["links"] if link["rel"] == "self")
            place = urllib.parse.urlparse(link).path
            place = place[place.index("/stacks/") :]
            attributes = self._ask("GET", place)["resource"]["attributes"]
            if (attributes.get("os_collect_config") or {}).get("collectors"):
                found[attributes["name"]] = attributes["os_collect_config"]
        return found

    def faults(self, stack: Mapping[str, Any]) -> list[str]:
        """Return why a stack failed, the innermost resources first."""
        path = f"/stacks/{stack['stack_name']}/{stack['id']}/resources?nested_depth=4"
        found = self._ask("GET", path)["resources"]
        failed = [item for item in found if item["resource_status"] == "FAILED"]
        return [
            f"{item['resource_name']}: {item['resource_status_reason']}" for item in failed[-5:]
        ]

    def attach(
        self,
        stack: Mapping[str, Any],
        addresses: Mapping[str, str],
        ssh: Ssh,
        polling_interval_s: float,
        timeout_s: float,
        parallel: int = PARALLEL,
    ) -> None:
        """Put the agent on hosts of a stack, each as soon as Heat has its credentials.

        :param addresses: SSH addresses by host name
        :raises Refused: naming every host that could not be attached
        """
        deadline = time.monotonic() + timeout_s
        waiting, faults = dict(addresses), []
        common = {
            "polling_interval_s": polling_interval_s,
            "outcomes": resources.text("heat_templates/agent/outcomes.py"),
        }
        with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
            running: dict[concurrent.futures.Future[bool], str] = {}
            while waiting and time.monotonic() < deadline:
                for name, config in self.servers(stack).items():
                    if name in waiting:
                        settings = {**common, "os_collect_config": config, "host": name}
                        address = waiting.pop(name)
                        running[pool.submit(change_agent, ssh, address, "apply", settings)] = name
                if waiting:
                    time.sleep(POLL_S)
            for done in concurrent.futures.as_completed(running):
                try:
                    state = "installed" if done.result() else "as it was"
                    self.tell(f"{running[done]}: agent {state}")
                except Refused as error:
                    faults.append(f"{running[done]}: {error}")
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

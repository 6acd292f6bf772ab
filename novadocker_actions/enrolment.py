# SPDX-License-Identifier: Apache-2.0
"""Enrolment: the stacks of deployed servers with their mailboxes, and the agent on each host.

The order is Heat's own: the stack is created and waits; the credentials of each host's agent are an
attribute of its server resource; the agent is put on the host over SSH; it runs what lies in the
mailbox and signals, and with that the stack completes. So a complete stack means that every agent
answered.

Before all that each host is asked over SSH who it is, makes a key pair of its own, and its public
half is written into a stack beside the pool's: what Heat says of a host later is believed by that.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import logging
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from novadocker_actions import host_steps, resources
from novadocker_actions.cloud.host_keys import KEYS_PREFIX, KEYS_TAG, STACK_TAG
from novadocker_actions.errors import CloudError, Refused
from novadocker_actions.plan import identity

LOG = logging.getLogger(__name__)

STACK_PREFIX = "novadocker-hosts-"
ROLES = ("controller", "glance", "compute")
# The second is what compute_pool.yaml calls it, whatever its environment makes of it.
SERVER_TYPES = ("OS::Heat::DeployedServer", "Novadocker::Pool::Server")
POLL_S = 1.0
#: At how many hosts something is done at the same time.
PARALLEL = 10
#: A stack without resources is made at once; this is for Heat itself.
KEYS_TIMEOUT_S = 120
# With doubling pauses: 15 s in which an API may restart.
CONNECT_RETRIES = 5


# -- which host has which place --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Roster:
    """The hosts of a pool. A name keeps its place, so that Heat touches no other host's resources.

    :param hosts: names in the order of their enrolment
    :param removed: places of those that were taken out
    """

    hosts: tuple[str, ...] = ()
    removed: frozenset[int] = frozenset()

    @classmethod
    def of_parameters(cls, parameters: Mapping[str, Any]) -> Roster:
        """Return the roster that a stack's parameters tell; Heat shows JSON parameters as text."""
        hosts, removed = parameters.get("hosts", "[]"), parameters.get("removed", "[]")
        hosts = json.loads(hosts) if isinstance(hosts, str) else hosts
        removed = json.loads(removed) if isinstance(removed, str) else removed
        return cls(tuple(hosts), frozenset(int(place) for place in removed))

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the hosts that are enrolled."""
        return tuple(name for place, name in enumerate(self.hosts) if place not in self.removed)

    def with_hosts(self, names: Iterable[str]) -> Roster:
        """Return a roster that has these hosts too, the new ones at the end."""
        new = [name for name in dict.fromkeys(names) if name not in self.active]
        return dataclasses.replace(self, hosts=(*self.hosts, *new))

    def without(self, names: Iterable[str]) -> Roster:
        """Return a roster without these hosts.

        :raises Refused: for a host that is not in it
        """
        gone = set(names)
        unknown = sorted(gone - set(self.active))
        if unknown:
            raise Refused("host", f"{unknown[0]} is not enrolled.", "See novadocker-enroll list.")
        places = {n for n, name in enumerate(self.hosts) if name in gone}
        return dataclasses.replace(self, removed=self.removed | places)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of hosts.yaml that stand for this roster."""
        return {
            "hosts": list(self.hosts),
            "host_count": len(self.active),
            "removed": [str(place) for place in sorted(self.removed)],
        }


def parse_hosts(words: Iterable[str]) -> dict[str, str]:
    """Return the SSH address of each host, from words of the form ``HOST[=ADDRESS]``.

    :raises Refused: for a word without a name
    """
    hosts: dict[str, str] = {}
    for word in words:
        name, _, address = word.partition("=")
        if not name:
            raise Refused("host", f"{word!r} names no host.", "Write HOST or HOST=ADDRESS.")
        hosts[name] = address or name
    return hosts


# -- the hosts' side, over SSH ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Ssh:
    """How to reach hosts: the operator's own SSH configuration, and nobody to ask.

    :param config: another configuration file than the user's
    :param user: who to be there; anyone but root has to have sudo without a password
    :param connect_timeout_s: how long to wait for a connection
    """

    config: str | None = None
    user: str = "root"
    connect_timeout_s: int = 15

    def command(self, address: str, remote: str) -> list[str]:
        """Return the argument list that runs a command on a host."""
        configured = ["-F", self.config] if self.config else []
        options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={self.connect_timeout_s}"]
        sudo = "" if self.user == "root" else "sudo -n "
        return ["ssh", *configured, *options, "-l", self.user, address, f"{sudo}{remote}"]

    def run(self, address: str, remote: str, stdin: str, timeout_s: float) -> str:
        """Run a command on a host and return what it printed.

        :raises Refused: when the host can not be reached, or the command fails there
        """
        try:
            done = subprocess.run(
                self.command(address, remote),
                input=stdin,
                text=True,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Refused(
                address,
                f"gave no answer over SSH in {timeout_s:g} s.",
                "Look at the host, then repeat.",
            ) from error
        if done.returncode and not done.stdout.strip().startswith("{"):
            said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise Refused(
                address,
                f"can not be worked on over SSH: {said[0]}.",
                f"`{' '.join(self.command(address, 'true'))}` has to work; give HOST=ADDRESS, "
                "--ssh-config or --ssh-user.",
            )
        return done.stdout


def step_script(step: str, mode: str, settings: Mapping[str, Any], timeout_s: float) -> str:
    """Return the program for a host's Python that runs a host step."""
    inputs = {"mode": mode, "settings": json.dumps(dict(settings)), "timeout_s": str(timeout_s)}
    given = f"import json, os\nos.environ.update(json.loads({json.dumps(inputs)!r}))"
    return host_steps.joined(step, given)


def agent_script(mode: str, settings: Mapping[str, Any], timeout_s: int) -> str:
    """Return the program for a host's Python that installs or removes the agent.

    The settings hold credentials: they travel on the program's standard input alone.
    """
    return step_script("install_agent", mode, settings, timeout_s)


def run_step(
    ssh: Ssh, address: str, step: str, mode: str, settings: Mapping[str, Any], timeout_s: int = 600
) -> dict[str, Any]:
    """Run a host step over SSH; return whether it ``changed`` the host, and its ``facts``.

    :raises Refused: with the host's own reason
    """
    text = step_script(step, mode, settings, timeout_s)
    printed = ssh.run(address, "python3 -", text, timeout_s + 30)
    outcome = json.loads(printed.strip().splitlines()[-1])
    report = json.loads(outcome["report"])
    if outcome["deploy_result"] != "ok":
        raise Refused(address, f"{report['reason']}.", f"More on the host: {report['log']}.")
    return {"changed": outcome["changed"] == "true", "facts": report.get("facts") or {}}


def change_agent(
    ssh: Ssh, address: str, mode: str, settings: Mapping[str, Any], timeout_s: int = 600
) -> bool:
    """Install (``apply``) or remove (``undo``) the agent of a host; return whether that changed it.

    :raises Refused: with the host's own reason
    """
    return bool(run_step(ssh, address, "install_agent", mode, settings, timeout_s)["changed"])


def require_identity(ssh: Ssh, hosts: Mapping[str, str]) -> None:
    """See that each host can be worked on and is the one that is meant; nothing is changed.

    :param hosts: SSH addresses by host name
    :raises Refused: naming every host that is not reached, or is another
    """

    def fault_of(name: str) -> str:
        try:
            facts = run_step(ssh, hosts[name], "describe_host", "check", {}, 120)["facts"]
        except Refused as error:
            return str(error)
        fault = identity.fault_of(name, facts)
        return f"{fault} (address {hosts[name]})." if fault else ""

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        faults = [fault for fault in pool.map(fault_of, hosts) if fault]
    if faults:
        raise Refused(
            "hosts",
            " ".join(faults),
            "Give each host by its own name (of its compute service in Nova, else its host name), "
            "and the right HOST=ADDRESS. Nothing was changed.",
        )


def host_keys(ssh: Ssh, hosts: Mapping[str, str]) -> dict[str, str]:
    """Return each host's public key, made there if it had none.

    :param hosts: SSH addresses by host name
    :raises Refused: when a host can not make one
    """

    def key_of(name: str) -> str:
        facts = run_step(ssh, hosts[name], "make_host_key", "apply", {}, 120)["facts"]
        return str(facts["public_key"])

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        return dict(zip(hosts, pool.map(key_of, hosts), strict=True))


# -- Heat's side -----------------------------------------------------------------------------------


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

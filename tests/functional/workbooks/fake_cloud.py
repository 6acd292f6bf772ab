# SPDX-License-Identifier: Apache-2.0
"""An in-memory cloud behind HTTP: as much of Heat, Nova, Glance and Mistral as the actions ask.

It is a fake. It stands in for services and hosts in tests of the workbook; what it knows of Heat's
deployments (late signals, kept outputs, configs that are in use) is what heat 27 does.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import itertools
import json
import lzma
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from requests.adapters import BaseAdapter

from novadocker_actions import host_package
from novadocker_actions.cloud import host_keys, messages, progress
from tests.host_keys import public_text, sign, unseal

TOKEN = "a-callers-token"
TRUSTEES_TOKEN = "a-token-of-the-trustee"
UPLOADS_TOKEN = "a-token-that-may-upload"
TRUSTEE = "mistral-user"
CALLER = {
    "user": {"id": "u1", "name": "operator"},
    "project": {"id": "p1", "name": "admin"},
    "roles": [{"id": "r1", "name": "admin"}, {"id": "r2", "name": "member"}],
}
CATALOG = [
    {
        "type": kind,
        "name": name,
        "id": name,
        "endpoints": [
            {
                "interface": "public",
                "region": "RegionOne",
                "region_id": "RegionOne",
                "id": name,
                "url": f"http://cloud.test/{name}{tail}",
            }
        ],
    }
    for kind, name, tail in (
        ("compute", "nova", "/v2.1"),
        ("placement", "placement", ""),
        ("image", "glance", ""),
        ("network", "neutron", ""),
        ("orchestration", "heat", "/v1/project"),
        ("workflowv2", "mistral", "/v2"),
    )
]
REGISTRY = {"busybox:latest": "sha256:" + "b" * 64, "nginx:latest": "sha256:" + "c" * 64}
# What the driver sets in Placement as soon as it runs; Nova's other drivers leave that there.
DRIVERS_TRAITS = {"CUSTOM_HYPERVISOR_DOCKER", "CUSTOM_DOCKER_DISK_QUOTA", "HW_ARCH_X86_64"}
# What each step leaves on a host.
ATTRIBUTES = {
    "install_docker": "docker",
    "install_driver": "driver",
    "configure_compute": "configured",
    "configure_glance": "glance_docker",
}
# What a run leaves in the cloud, and in a test's records of it.
LEFT = (
    "hosts",
    "deployments",
    "configs",
    "aggregates",
    "glance_images",
    "trusts",
    "environments",
    "largest_environment",
    "requests",
    "headers",
    "tokens",
    "words",
    "_by_deployment",
    "_by_service",
    "_ready",
)
# Making keys takes time: a thousand hosts share a few, smaller than real ones.
_KEYS = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(5)]
_TURN = itertools.cycle(_KEYS)


def inputs_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of a config by name."""
    return {entry["name"]: entry.get("value") for entry in config["inputs"]}


@dataclass
class FakeHost:
    """A host: what is on it, and how it misbehaves.

    :param refusals: how often Nova does not enable it
    :param servers: uuid, and name and status where they are not vm and ACTIVE
    :param claims: who has an allocation there besides the servers
    :param faults: (step, mode) to ``fail``, ``hang``, ``unsigned``, a count of failures or a reason
    :param out_of_service: what it ran while its compute service was disabled
    :param driver_loads: how often its driver was seen to load and start a container
    :param outcomes: what it said of the messages that it has run, by push_id
    :param records: steps that have something to take back of which nothing can be seen
    :param no_glance: why the host does not reach Glance, as it tells
    :param told: facts of describe_host that are others than a right host's
    :param key: what it signs its outcomes with
    :param pinned: whether it was enrolled with that key
    :param isolates: whether a controller's nova-scheduler leaves out isolated aggregates
    :param packages: digests of the packages of steps that it has
    """

    name: str
    roles: list[str]
    nova: str = "34.0.0"
    docker: bool = False
    driver: bool = False
    configured: bool = False
    glance_docker: bool = False
    operators_docker: bool = False
    images: set[str] = field(default_factory=set)
    faults: dict[tuple[str, str], Any] = field(default_factory=dict)
    runs: list[tuple[str, str]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    changes_again: set[str] = field(default_factory=set)
    out_of_service: list[tuple[str, str]] = field(default_factory=list)
    driver_loads: int = 0
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    restarts: int = 0
    journal: dict[tuple[str, str], bool] = field(default_factory=dict)
    server_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    deployment_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    service_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "enabled"
    disabled_reason: str | None = None
    refusals: int = 0
    slow_to_fetch: bool = False
    servers: list[dict[str, str]] = field(default_factory=list)
    claims: set[str] = field(default_factory=set)
    traits: set[str] = field(default_factory=lambda: {"HW_CPU_X86_AVX", "CUSTOM_OF_THE_OPERATOR"})
    records: set[str] = field(default_factory=set)
    no_glance: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    key: rsa.RSAPrivateKey = field(default_factory=lambda: next(_TURN))
    pinned: bool = True
    isolates: bool = True
    packages: set[str] = field(default_factory=lambda: {host_package.digest()})
    hypervisor_type: str = "fake"
    node: str = ""

    def facts(self) -> dict[str, Any]:
        """Return what describe_host would tell."""
        driver = "novadocker.virt.docker.DockerDriver" if self.configured else "fake.FakeDriver"
        return {
            "hostname": self.name,
            "nova": {
                "version": self.nova,
                "compute_driver": driver,
                "host": self.name,
                "compute_id": self.service_id,
            }
            if self.compute
            else None,
            "docker": {"installed": self.docker},
            "scheduler": {"unit": "nova-scheduler.service", "isolates": self.isolates}
            if "controller" in self.roles
            else None,
            "novadocker": {"driver_version": "1.0" if self.driver else None},
            "records": dict.fromkeys(self.recorded, True),
            "journals": {step: run for (run, step) in self.journal if step in self.recorded},
            **self.told,
        }

    @property
    def recorded(self) -> set[str]:
        """Steps that the host has on record: what they did is there, or a part is left of it."""
        there = {step for step, attribute in ATTRIBUTES.items() if getattr(self, attribute)}
        return self.records | (there - ({"install_docker"} if self.operators_docker else set()))

    @property
    def compute(self) -> bool:
        """Whether it runs nova-compute."""
        return "compute" in self.roles

    @property
    def state(self) -> tuple[bool, ...]:
        """What a step may have changed."""
        return (self.docker, self.driver, self.configured, self.glance_docker)


class FakeCloud(BaseAdapter):
    """The services, as a transport of a requests session."""

    def __init__(self) -> None:
        super().__init__()
        self.hosts: dict[str, FakeHost] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.aggregates: dict[int, dict[str, Any]] = {}
        self.glance_images: dict[str, dict[str, Any]] = {}
        self.trusts: dict[str, dict[str, Any]] = {}
        self.environments: dict[str, dict[str, Any]] = {}
        self.largest_environment = 0
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.failures: list[tuple[str, str, int]] = []
        self.executions: Callable[[dict[str, str]], list[dict[str, Any]]] = lambda query: []
        self.execution: Callable[[str], dict[str, Any]] = lambda run_id: {}
        self.tasks: Callable[[str, dict[str, str]], list[dict[str, Any]]] = lambda run_id, query: []
        self.may_publish = True
        self.image_page = 1000
        self.refused_members: dict[str, int] = {}
        self.migrations: list[dict[str, str]] = []
        # Whether the caller may list the executions of other projects.
        self.sees_all_projects = True
        self.step_s = 0.0
        # Whether what a host has to tell is kept from Heat still.
        self.holds: Callable[[FakeHost], bool] = lambda host: False
        self.tokens: list[str] = []
        self.callers_roles = ["member", "admin"]
        self.operators_key = ""
        self.engines = [{"binary": "heat-engine", "status": "up"}]
        self.resource_types = [
            "OS::Heat::DeployedServer",
            "OS::Heat::SoftwareConfig",
            "OS::Heat::SoftwareDeployment",
        ]
        self.agents: list[dict[str, Any]] = []
        self.most_moving = 0
        self.words: dict[str, dict[str, Any]] = {}
        self.after_push: Callable[[FakeHost, dict[str, Any]], None] = lambda host, config: None
        self.after_step: Callable[[FakeHost, str, str], None] = lambda host, step, mode: None
        self._by_deployment: dict[str, FakeHost] = {}
        self._by_service: dict[str, FakeHost] = {}
        self._ready: dict[str, tuple[float, dict[str, Any]]] = {}
        self._aggregate_ids = itertools.count(1)
        self._lock = threading.RLock()

    # -- what a test sets up

    def add_host(self, name: str, *roles: str, enrolled: bool = True, **state: Any) -> FakeHost:
        """Add a host, enrolled as `novadocker-enroll` does it."""
        host = FakeHost(name, list(roles), **state)
        self.hosts[name] = host
        self._by_deployment[host.deployment_id] = host
        self._by_service[host.service_id] = host
        if enrolled:
            config_id = self._add_config(f"novadocker-{name}", "script", [])
            self.deployments[host.deployment_id] = {
                "id": host.deployment_id,
                "server_id": host.server_id,
                "config_id": config_id,
                "status": "COMPLETE",
                "action": "CREATE",
                "output_values": {},
                "status_reason": "",
            }
        return host

    def take_over(self, other: FakeCloud) -> None:
        """Become a copy of what runs have left another cloud."""
        # Keys are not changed, and cannot be copied.
        keys = {id(host.key): host.key for host in other.hosts.values()}
        vars(self).update(copy.deepcopy({name: vars(other)[name] for name in LEFT}, keys))
        self._aggregate_ids = itertools.count(1 + max(self.aggregates, default=0))

    def _add_config(
        self, name: str, group: str, inputs: list[dict[str, Any]], text: str = ""
    ) -> str:
        signal = {
            "name": "deploy_signal_id",
            "type": "String",
            "value": "http://signal.test/secret",
        }
        config = {
            "id": str(uuid.uuid4()),
            "name": name,
            "group": group,
            "config": text,
            "inputs": inputs or [signal],
            "outputs": [],
        }
        self.configs[config["id"]] = config
        return config["id"]

    # -- requests

    def send(self, request: requests.PreparedRequest, **_options: Any) -> requests.Response:
        """Answer a request."""
        parts = urlsplit(str(request.url))
        query = dict(parse_qsl(parts.query))
        body = json.loads(request.body) if request.body else None
        with self._lock:
            self.requests.append((str(request.method), parts.path))
            self.headers.append(dict(request.headers))
            status, answer = self._answer(str(request.method), parts.path, query, body)
        response = requests.Response()
        response.status_code = status
        text = b"" if answer is None else json.dumps(answer).encode()
        response.raw = io.BytesIO(text)
        response.headers["Content-Type"] = "application/json"
        response.url, response.request = str(request.url), request
        return response

    def close(self) -> None:
        """Nothing to close."""

    def _answer(
        self, method: str, path: str, query: dict[str, str], body: Any
    ) -> tuple[int, dict[str, Any] | None]:
        for index, (verb, pattern, status) in enumerate(self.failures):
            if verb == method and re.search(pattern, path):
                del self.failures[index]
                return status, {"error": {"message": "a bad moment"}}
        for verb, pattern, handler in self._routes():
            match = re.fullmatch(pattern, path)
            if verb == method and match:
                answer: tuple[int, dict[str, Any] | None] = handler(query, body, *match.groups())
                return answer
        return 404, {"error": {"message": f"no {method} {path} here"}}

    def _routes(self) -> list[tuple[str, str, Callable[..., Any]]]:
        heat, nova, glance, mistral = "/heat/v1/project", "/nova/v2.1", "/glance/v2", "/mistral/v2"
        return [
            ("GET", "/keystone/v3/auth/tokens", self._token),
            ("POST", "/keystone/v3/OS-TRUST/trusts", self._post_trust),
            ("GET", "/keystone/v3/OS-TRUST/trusts", self._get_trusts),
            ("DELETE", "/keystone/v3/OS-TRUST/trusts/([^/]+)", self._delete_trust),
            ("GET", f"{heat}/services", lambda query, body: (200, {"services": self.engines})),
            (
                "GET",
                f"{heat}/resource_types",
                lambda query, body: (200, {"resource_types": self.resource_types}),
            ),
            ("GET", "/placement/traits", lambda query, body: (200, {"traits": []})),
            ("GET", "/neutron/v2.0/agents", lambda query, body: (200, {"agents": self.agents})),
            ("GET", f"{heat}/stacks", self._stacks),
            ("GET", f"{heat}/stacks/[^/]+/[^/]+/outputs/inventory", self._inventory),
            ("GET", f"{heat}/stacks/[^/]+/[^/]+/outputs/public_keys", self._public_keys),
            ("GET", f"{heat}/stacks/[^/]+/[^/]+/resources/progress/metadata", self._words),
            ("GET", f"{heat}/software_deployments/([^/]+)", self._deployment),
            ("PUT", f"{heat}/software_deployments/([^/]+)", self._put_deployment),
            ("GET", f"{heat}/software_configs/([^/]+)", self._config),
            ("POST", f"{heat}/software_configs", self._post_config),
            ("DELETE", f"{heat}/software_configs/([^/]+)", self._delete_config),
            ("GET", f"{nova}/os-services", self._services),
            ("PUT", f"{nova}/os-services/([^/]+)", self._put_service),
            ("GET", f"{nova}/os-hypervisors/detail", self._hypervisors),
            ("GET", f"{nova}/servers/detail", self._servers),
            ("GET", f"{nova}/servers/([^/]+)", self._server),
            ("POST", f"{nova}/servers/([^/]+)/action", self._act_on_server),
            ("GET", f"{nova}/os-migrations", self._migrations),
            ("GET", "/placement/resource_providers/([^/]+)/allocations", self._allocations),
            ("GET", "/placement/resource_providers/([^/]+)/traits", self._traits),
            ("PUT", "/placement/resource_providers/([^/]+)/traits", self._put_traits),
            ("GET", f"{nova}/os-aggregates", self._list_aggregates),
            ("POST", f"{nova}/os-aggregates", self._post_aggregate),
            ("DELETE", f"{nova}/os-aggregates/([^/]+)", self._delete_aggregate),
            ("POST", f"{nova}/os-aggregates/([^/]+)/action", self._aggregate_action),
            ("POST", f"{nova}/os-aggregates/([^/]+)/images", self._precache),
            ("GET", f"{glance}/schemas/image", self._schema),
            ("GET", f"{glance}/images", self._list_images),
            ("POST", f"{glance}/images", self._post_image),
            ("GET", f"{glance}/images/([^/]+)", self._image),
            ("DELETE", f"{glance}/images/([^/]+)", self._delete_image),
            ("GET", f"{mistral}/environments", self._list_environments),
            ("POST", f"{mistral}/environments", self._post_environment),
            ("GET", f"{mistral}/environments/([^/]+)", self._environment),
            ("DELETE", f"{mistral}/environments/([^/]+)", self._delete_environment),
            (
                "GET",
                f"{mistral}/executions",
                lambda query, body: (
                    (403, {"faultstring": "executions:list:all_projects disallowed by policy"})
                    if "all_projects" in query and not self.sees_all_projects
                    else (200, {"executions": self.executions(query)})
                ),
            ),
            (
                "GET",
                f"{mistral}/executions/([^/]+)",
                lambda query, body, run_id: (
                    (200, execution) if (execution := self.execution(run_id)) else (404, {})
                ),
            ),
            (
                "GET",
                f"{mistral}/executions/([^/]+)/tasks",
                lambda query, body, run_id: (200, {"tasks": self.tasks(run_id, query)}),
            ),
        ]

    # -- Keystone

    def _token(self, query: dict[str, str], body: Any) -> Any:
        headers = self.headers[-1]
        assert headers["X-Auth-Token"] == "a-service-token", "a service may look at any token"
        assert headers["X-Subject-Token"] in (TOKEN, TRUSTEES_TOKEN)
        roles = [{"id": name, "name": name} for name in self.callers_roles]
        return 200, {"token": {**CALLER, "roles": roles}}

    def _post_trust(self, query: dict[str, str], body: Any) -> Any:
        key, given = str(uuid.uuid4()), body["trust"]
        second = given["expires_at"][:19]
        if any(
            (trust["trustor_user_id"], trust.get("expires_at", "")[:19])
            == (given["trustor_user_id"], second)
            for trust in self.trusts.values()
        ):
            # Keystone's duplicate_trust_constraint, which knows no roles and no part of a second.
            return 409, {"error": {"message": "Conflict occurred attempting to store trust"}}
        self.trusts[key] = given
        return 201, {"trust": {**body["trust"], "id": key}}

    def _get_trusts(self, query: dict[str, str], body: Any) -> Any:
        made = [{**trust, "id": key} for key, trust in self.trusts.items()]
        wanted = query.get("trustor_user_id")
        return 200, {"trusts": [t for t in made if t["trustor_user_id"] == wanted]}

    def _delete_trust(self, query: dict[str, str], body: Any, key: str) -> Any:
        del self.trusts[key]
        return 204, None

    # -- Mistral

    def _list_environments(self, query: dict[str, str], body: Any) -> Any:
        wanted = query.get("name", "has:")
        part = wanted.removeprefix("has:")
        names = [n for n in self.environments if (n == part if part == wanted else part in n)]
        of_all = {"project_id": "p1", "created_at": "2026-01-02 03:04:05"}
        listed = [{**of_all, **self.environments[name], "name": name} for name in names]
        return 200, {"environments": listed}

    def _post_environment(self, query: dict[str, str], body: Any) -> Any:
        assert body["description"] and body["variables"]
        if body["name"] in self.environments:
            return 409, {"faultstring": f"Duplicate entry for Environment {body['name']}"}
        self.environments[body["name"]] = body
        self.largest_environment = max(self.largest_environment, len(body["variables"]))
        return 201, body

    def _environment(self, query: dict[str, str], body: Any, name: str) -> Any:
        if name not in self.environments:
            return 404, {"faultstring": f"Environment not found [name={name}]"}
        return 200, self.environments[name]

    def _delete_environment(self, query: dict[str, str], body: Any, name: str) -> Any:
        del self.environments[name]
        return 204, None

    # -- Heat

    def _stacks(self, query: dict[str, str], body: Any) -> Any:
        pool = "novadocker-hosts-all"
        names = {
            "novadocker-hosts": [pool],
            # The last is of a pool that is gone: nobody may believe it.
            "novadocker-keys": [f"novadocker-keys-{pool}", "novadocker-keys-gone"],
        }
        stacks = names.get(query.get("tags", ""), [])
        return 200, {"stacks": [{"id": name, "stack_name": name} for name in stacks]}

    def _public_keys(self, query: dict[str, str], body: Any) -> Any:
        value = {h.name: public_text(h.key) for h in self.hosts.values() if h.pinned}
        return 200, {"output": {"output_key": "public_keys", "output_value": value}}

    def _words(self, query: dict[str, str], body: Any) -> Any:
        return 200, {"metadata": self.words}

    def say(self, host: FakeHost, config: dict[str, Any], number: int, **more: Any) -> None:
        """Have a host tell that it is at a step of a message."""
        message = messages.parse(config["config"])
        step, push_id = message["steps"][number - 1]["name"], message["push_id"]
        digest = messages.digest(config["config"])
        text = progress.document(host.name, push_id, digest, number, step)
        word = {"push_id": push_id, "number": number, "step": step}
        word = {**word, "signature": sign(host.key, text), **more}
        self.words[host.name] = {"status": "SUCCESS", "reason": "", "data": json.dumps(word)}

    def _inventory(self, query: dict[str, str], body: Any) -> Any:
        value = {
            host.name: {
                "server_id": host.server_id,
                "deployment_id": host.deployment_id,
                "roles": host.roles,
            }
            for host in self.hosts.values()
            if host.deployment_id in self.deployments
        }
        return 200, {"output": {"output_key": "inventory", "output_value": value}}

    def _deployment(self, query: dict[str, str], body: Any, key: str) -> Any:
        if key not in self.deployments:
            return 404, {"error": {"message": "no such deployment"}}
        ready = self._ready.get(key)
        held = self.holds(self._by_deployment[key])
        if ready and time.monotonic() >= ready[0] and not held:
            del self._ready[key]
            self.signal(key, ready[1])
        return 200, {"software_deployment": dict(self.deployments[key])}

    def signal(self, key: str, details: dict[str, Any]) -> None:
        """Take a signal of a host as Heat does: only while in progress, whoever it is from."""
        deployment = self.deployments[key]
        if deployment["status"] != "IN_PROGRESS":
            return
        config = self.configs[deployment["config_id"]]
        values = dict(deployment["output_values"])
        for output in config["outputs"]:
            if output["name"] in details:
                values[output["name"]] = details[output["name"]]
        for name in ("deploy_stdout", "deploy_stderr", "deploy_status_code"):
            values[name] = details.get(name)
        failed = str(details.get("deploy_status_code") or "0") != "0"
        deployment.update(
            output_values=values,
            status="FAILED" if failed else "COMPLETE",
            status_reason="non-zero status code" if failed else "Outputs received",
        )

    def _put_deployment(self, query: dict[str, str], body: Any, key: str) -> Any:
        deployment = self.deployments[key]
        # Heat stores only what is true: an empty object leaves the old values.
        deployment.update({name: value for name, value in body.items() if value})
        if body.get("config_id"):
            host = self._by_deployment[key]
            outcome = self.run_recipe(host, self.configs[body["config_id"]])
            if outcome is None:
                self._ready.pop(key, None)
            else:
                self._ready[key] = (time.monotonic() + self.step_s, outcome)
            self.after_push(host, self.configs[body["config_id"]])
        return 200, {"software_deployment": dict(deployment)}

    def _config(self, query: dict[str, str], body: Any, key: str) -> Any:
        if key not in self.configs:
            return 404, {"error": {"message": "no such config"}}
        return 200, {"software_config": self.configs[key]}

    def _post_config(self, query: dict[str, str], body: Any) -> Any:
        key = self._add_config(body["name"], body["group"], body["inputs"], body["config"])
        self.configs[key]["outputs"] = body["outputs"]
        return 200, {"software_config": self.configs[key]}

    def _delete_config(self, query: dict[str, str], body: Any, key: str) -> Any:
        if any(d["config_id"] == key for d in self.deployments.values()):
            return 400, {"error": {"message": "the config is in use"}}
        return (204, None) if self.configs.pop(key, None) else (404, {"error": {"message": "gone"}})

    # -- hosts

    def run_recipe(self, host: FakeHost, config: dict[str, Any]) -> dict[str, Any] | None:
        """Run a message as the host's agent would; None when nothing ever comes back.

        What it has run already it does not run again: it tells the same outcome.
        """
        message, given = messages.parse(config["config"]), inputs_of(config)
        said = host.outcomes.get(message["push_id"])
        if said is None:
            refusal = self._refusal(host, config["config"], message, given)
            said = {"reason": refusal, "steps": []} if refusal else self._run(host, message)
            if said is None:
                return None
            host.outcomes[message["push_id"]] = said
        good = not said["reason"]
        details = {
            "deploy_result": "ok" if good else "failed",
            "changed": str(any(step["changed"] for step in said["steps"])).lower(),
            "report": json.dumps(
                {**said, "log": "/var/log/novadocker/recipe.log" if said["steps"] else ""}
            ),
            "push_id": message["push_id"],
            "deploy_status_code": 0 if good else 1,
        }
        digest = messages.digest(config["config"])
        signed = (host.name, message["push_id"], digest, details)
        details["signature"] = sign(host.key, host_keys.document(*signed))
        unsigned = "unsigned" in [
            host.faults.get((s["name"], message["mode"])) for s in message["steps"]
        ]
        return {} if unsigned else details

    def _refusal(
        self, host: FakeHost, text: str, message: dict[str, Any], given: dict[str, Any]
    ) -> str:
        signature = given.get(host_keys.SIGNATURE)
        if not host_keys.is_signed(self.operators_key, signature, messages.covered(text)):
            return "the message is not signed by the operator of this host"
        if message["host"] != host.name:
            return f"the message is for {message['host']}"
        bringing = [step["name"] for step in message["steps"]] == ["install_package"]
        if message["package"] not in host.packages and not bringing:
            return (
                f"this message was made for the package {message['package'][:12]} of steps, and "
                "this host has another"
            )
        return ""

    def _run(self, host: FakeHost, message: dict[str, Any]) -> dict[str, Any] | None:
        done: list[dict[str, Any]] = []
        mode, first = message["mode"], ""
        for entry in message["steps"]:
            step = entry["name"]
            host.runs.append((step, mode))
            host.settings[step] = entry["settings"]
            if host.status == "disabled":
                host.out_of_service.append((step, mode))
            fault = host.faults.get((step, mode))
            if isinstance(fault, int) and not isinstance(fault, bool):
                host.faults[step, mode] = fault - 1
                fault = "fail" if fault > 0 else None
            if fault == "hang":
                return None
            changed, facts, reason = self._do(
                host, step, mode, entry["settings"], message["run_id"]
            )
            if isinstance(fault, str):
                told = f"{step} broke on purpose" if fault == "fail" else fault
                reason = reason or ("" if fault == "unsigned" else told)
            done.append(
                {
                    "step": step,
                    "ok": not reason,
                    "changed": changed,
                    "reason": reason,
                    "facts": facts,
                    "actions": [],
                    "log": f"/var/log/novadocker/{step}.log",
                    "seconds": 0.1,
                    **({"tail": f"12:00:00 {step}: what came last\n"} if reason else {}),
                }
            )
            self.after_step(host, step, mode)
            first = first or reason
            if first and mode != "check":
                break
        return {"steps": done, "reason": first}

    def _do(
        self, host: FakeHost, step: str, mode: str, settings: dict[str, Any], run_id: str
    ) -> tuple[bool, dict[str, Any], str]:
        if step in ATTRIBUTES:
            attribute = ATTRIBUTES[step]
            wanted = mode != "undo"
            if step == "install_docker" and host.operators_docker:
                wanted = True
            if mode == "apply":
                host.journal.setdefault((run_id, step), getattr(host, attribute))
            elif mode == "roll_back":
                wanted = host.journal.get((run_id, step), getattr(host, attribute))
            there = getattr(host, attribute)
            changed = there != wanted or step in host.changes_again
            if mode == "check":
                # What is not there yet disturbs nobody when it comes.
                return changed, {"disturbs": changed and there}, ""
            setattr(host, attribute, wanted)
            if host.configured:
                host.traits |= DRIVERS_TRAITS
            if mode == "undo":
                host.records.discard(step)
            host.restarts += changed and step in ("configure_compute", "configure_glance")
            return changed, {}, ""
        if step == "describe_host":
            return False, host.facts(), ""
        if step == "install_package":
            data = lzma.decompress(base64.b85decode(settings["data"]))
            digest = hashlib.sha256(data).hexdigest()
            if digest != settings["sha256"]:
                return False, {}, "data: is not that package"
            host.packages.add(digest)
            return True, {}, ""
        if step == "check_images":
            glance = {"ok": not host.no_glance, "digest": "", "reason": host.no_glance}
            return (
                False,
                {settings["glance_url"]: glance}
                | {
                    ref: {
                        "ok": ref in REGISTRY,
                        "digest": REGISTRY.get(ref),
                        "reason": "" if ref in REGISTRY else "manifest unknown",
                    }
                    for ref in settings["images"]
                },
                "",
            )
        if step == "verify_host":
            host.driver_loads += settings.get("driver", True)
            missing = set(settings["images"]) - host.images
            good = host.docker and host.driver and host.configured
            return False, {}, "" if good and not missing else f"not verified, without {missing}"
        if step == "export_image":
            archive = settings["image"].encode()
            return (
                True,
                {
                    "reference": settings["image"],
                    "digest": REGISTRY[settings["image"]],
                    "image_id": "sha256:1",
                    "size_bytes": len(archive),
                    "sha512": hashlib.sha512(archive).hexdigest(),
                },
                "",
            )
        if step == "upload_image":
            secret = unseal(host.key, settings["sealed_token"])
            assert secret["image_id"] == settings["image_id"]
            image = self.glance_images[settings["image_id"]]
            assert secret["token"] == UPLOADS_TOKEN
            self.tokens.append(str(secret["token"]))
            archive = image["docker_reference"].encode()
            image.update(
                status="active",
                os_hash_algo="sha512",
                os_hash_value=hashlib.sha512(archive).hexdigest(),
            )
            return True, {}, ""
        return False, {}, f"no such step {step}"

    # -- Nova

    def _services(self, query: dict[str, str], body: Any) -> Any:
        return 200, {
            "services": [
                {
                    "id": host.service_id,
                    "host": host.name,
                    "binary": "nova-compute",
                    "state": "up",
                    "status": host.status,
                    "disabled_reason": host.disabled_reason,
                    "zone": "nova",
                }
                for host in self.hosts.values()
                if host.compute
            ]
        }

    def _put_service(self, query: dict[str, str], body: Any, key: str) -> Any:
        host = self._by_service[key]
        if host.refusals and body["status"] == "enabled":
            host.refusals -= 1
            return 500, {"error": {"message": "its cell is away"}}
        host.status, host.disabled_reason = body["status"], body.get("disabled_reason")
        return 200, {"service": {}}

    def _hypervisors(self, query: dict[str, str], body: Any) -> Any:
        computes = [host for host in self.hosts.values() if host.compute]
        start = 0
        if "marker" in query:
            start = 1 + next(i for i, h in enumerate(computes) if h.service_id == query["marker"])
        limit = int(query.get("limit", 1000))
        page = computes[start : start + limit]
        answer: dict[str, Any] = {
            "hypervisors": [
                {
                    "id": host.service_id,
                    "hypervisor_hostname": host.node or host.name,
                    "state": "up",
                    "status": host.status,
                    "hypervisor_type": "docker" if host.configured else host.hypervisor_type,
                    "servers": [{"name": "vm", **server} for server in host.servers],
                    "service": {"host": host.name, "id": host.service_id},
                }
                for host in page
            ]
        }
        if start + limit < len(computes):
            answer["hypervisors_links"] = [{"rel": "next", "href": "next"}]
        return 200, answer

    def _servers(self, query: dict[str, str], body: Any) -> Any:
        assert query["all_tenants"] == "1"
        return 200, {
            "servers": [
                {
                    "id": server["uuid"],
                    "name": server.get("name", "vm"),
                    "status": server.get("status", "ACTIVE"),
                    "OS-EXT-STS:task_state": server.get("task_state"),
                    "locked": bool(server.get("locked")),
                }
                for server in self.hosts[query["host"]].servers
                if server.get("status") != "SOFT_DELETED"
            ]
        }

    def _server(self, query: dict[str, str], body: Any, key: str) -> Any:
        for host in self.hosts.values():
            for server in host.servers:
                if server["uuid"] == key:
                    self._go_on_confirming(server)
                    shown = {"id": key, "name": server.get("name", "vm")}
                    state = {"OS-EXT-STS:task_state": server.get("task_state")}
                    status = server.get("status", "ACTIVE")
                    place = {"OS-EXT-SRV-ATTR:host": host.name, "status": status}
                    return 200, {"server": {**shown, **state, **place}}
        return 404, {"itemNotFound": {"message": "no such server"}}

    def _go_on_confirming(self, server: dict[str, str]) -> None:
        # Nova casts it to the source, and shows the instance as before until that has done it.
        for migration in self.migrations:
            if (migration["instance_uuid"], migration["status"]) == (server["uuid"], "confirming"):
                looks = server["looks"] = server.get("looks", "") + "."
                if len(looks) > 1:
                    migration["status"], server["status"] = "confirmed", server.pop("was", "ACTIVE")

    def _act_on_server(self, query: dict[str, str], body: Any, key: str) -> Any:
        source = next(h for h in self.hosts.values() if key in [s["uuid"] for s in h.servers])
        server = next(server for server in source.servers if server["uuid"] == key)
        if "confirmResize" in body:
            migration = next(m for m in self.migrations if m["instance_uuid"] == key)
            if migration["status"] != "finished":
                return 400, {"badRequest": {"message": "Instance has not been resized."}}
            migration["status"] = "confirming"
            return 202, None
        assert source.status == "disabled", "the host was taken out of service first"
        others = [h for h in self.hosts.values() if h.compute and h.status == "enabled"]
        if server.get("pinned") or not others:
            return 400, {"badRequest": {"message": "No valid host was found."}}
        if server.get("slow"):
            server["status"], server["task_state"] = "RESIZE", "resize_migrating"
            return 202, None
        source.servers.remove(server)
        server["was"] = server.get("status", "ACTIVE")
        server["status"] = "VERIFY_RESIZE"
        others[-1].servers.append(server)
        self.add_migration(key, source.name, others[-1].name)
        moving = [s for h in self.hosts.values() for s in h.servers if "was" in s]
        self.most_moving = max(self.most_moving, len(moving))
        return 202, None

    def add_migration(self, server_id: str, source: str, target: str, user_id: str = "u1") -> None:
        """Add a cold migration that has come to its target, and is to be confirmed."""
        known = {"instance_uuid": server_id, "source_compute": source, "dest_compute": target}
        state = {"migration_type": "migration", "status": "finished", "user_id": user_id}
        self.migrations.append({"uuid": f"of-{server_id}", **known, **state})

    def _migrations(self, query: dict[str, str], body: Any) -> Any:
        ends = ("source_compute", "dest_compute")
        return 200, {
            "migrations": [
                migration
                for migration in self.migrations
                if query["host"] in [migration[end] for end in ends]
            ]
        }

    def _allocations(self, query: dict[str, str], body: Any, key: str) -> Any:
        host = self._by_service[key]
        consumers = {*(server["uuid"] for server in host.servers), *host.claims}
        return 200, {"allocations": {consumer: {"resources": {}} for consumer in consumers}}

    def _traits(self, query: dict[str, str], body: Any, key: str) -> Any:
        host = self._by_service[key]
        generation = len(host.traits)
        return 200, {"traits": sorted(host.traits), "resource_provider_generation": generation}

    def _put_traits(self, query: dict[str, str], body: Any, key: str) -> Any:
        host = self._by_service[key]
        if body["resource_provider_generation"] != len(host.traits):
            return 409, {"message": "resource provider generation conflict"}
        host.traits = set(body["traits"])
        return 200, body

    def _list_aggregates(self, query: dict[str, str], body: Any) -> Any:
        return 200, {"aggregates": list(self.aggregates.values())}

    def add_aggregate(self, name: str, *members: str) -> dict[str, Any]:
        """Add an aggregate without metadata."""
        aggregate: dict[str, Any] = {
            "id": next(self._aggregate_ids),
            "name": name,
            "hosts": list(members),
            "metadata": {},
        }
        self.aggregates[aggregate["id"]] = aggregate
        return aggregate

    def _post_aggregate(self, query: dict[str, str], body: Any) -> Any:
        return 200, {"aggregate": self.add_aggregate(body["aggregate"]["name"])}

    def _delete_aggregate(self, query: dict[str, str], body: Any, key: str) -> Any:
        del self.aggregates[int(key)]
        return 200, None

    def _aggregate_action(self, query: dict[str, str], body: Any, key: str) -> Any:
        aggregate = self.aggregates[int(key)]
        if "add_host" in body:
            host = body["add_host"]["host"]
            if host in self.refused_members:
                return self.refused_members[host], {"error": {"message": f"no {host} here"}}
            if host in aggregate["hosts"]:
                return 409, {"error": {"message": f"{host} is a member already"}}
            aggregate["hosts"].append(host)
        elif "remove_host" in body:
            aggregate["hosts"].remove(body["remove_host"]["host"])
        else:
            for key, value in body["set_metadata"]["metadata"].items():
                aggregate["metadata"].pop(key, None)
                if value is not None:
                    aggregate["metadata"][key] = value
        return 200, {"aggregate": aggregate}

    def _precache(self, query: dict[str, str], body: Any, key: str) -> Any:
        for name in self.aggregates[int(key)]["hosts"]:
            if not self.hosts[name].slow_to_fetch:
                self.hosts[name].images.update(entry["id"] for entry in body["cache"])
        return 202, None

    # -- Glance

    def _schema(self, query: dict[str, str], body: Any) -> Any:
        formats = ["bare", "ova"]
        if all(h.glance_docker for h in self.hosts.values() if "glance" in h.roles):
            formats.append("docker")
        return 200, {"properties": {"container_format": {"enum": [None, *formats]}}}

    def _list_images(self, query: dict[str, str], body: Any) -> Any:
        wanted = {name: value for name, value in query.items() if name not in ("limit", "marker")}
        servers = [
            image
            for image in self.glance_images.values()
            if all(image.get(name) == value for name, value in wanted.items())
        ]
        if "marker" in query:
            marker = self.glance_images[query["marker"]]
            servers = servers[servers.index(marker) + 1 :]
        page = servers[: min(int(query.get("limit", 25)), self.image_page)]
        answer: dict[str, Any] = {"images": page}
        if len(page) < len(servers):
            answer["next"] = f"/v2/images?marker={page[-1]['id']}"
        return 200, answer

    def add_image(self, **values: Any) -> dict[str, Any]:
        """Add an image as its owner could have made it, active unless said otherwise."""
        image = {
            "id": str(uuid.uuid4()),
            "owner": CALLER["project"]["id"],  # type: ignore[index, call-overload]
            "status": "active",
            "visibility": "private",
            "tags": [],
            "created_at": "2026-01-01",
            "container_format": "docker",
            "disk_format": "raw",
            **values,
        }
        self.glance_images[image["id"]] = image
        return image

    def _post_image(self, query: dict[str, str], body: Any) -> Any:
        if body["visibility"] == "public" and not self.may_publish:
            return 403, {"message": "You are not authorized to complete publicize_image action."}
        if body.get("id") in self.glance_images:
            return 409, {"message": f"Image ID {body['id']} already exists!"}
        return 201, self.add_image(**body, status="queued")

    def _image(self, query: dict[str, str], body: Any, key: str) -> Any:
        return 200, self.glance_images[key]

    def _delete_image(self, query: dict[str, str], body: Any, key: str) -> Any:
        del self.glance_images[key]
        return 204, None

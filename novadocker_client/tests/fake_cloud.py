# SPDX-License-Identifier: Apache-2.0
"""A cloud behind HTTP, as far as the client asks: all of the client libraries are real ones."""

from __future__ import annotations

import io
import itertools
import json
import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import openstack.connection
import requests
from keystoneauth1 import access, session
from keystoneauth1.identity.access import AccessInfoPlugin
from requests.adapters import BaseAdapter

from novadocker_client.connection import Cloud

PROJECT = "p1"
SERVICES = {
    "compute": "nova/v2.1",
    "image": "glance",
    "orchestration": "heat/v1/p1",
    "workflowv2": "mistral/v2",
}


class FakeCloud(BaseAdapter):
    """The services, as the transport of a requests session.

    :param services: those that the catalog has
    :param url: where all of them are
    """

    def __init__(
        self, services: dict[str, str] | None = None, url: str = "http://cloud.test"
    ) -> None:
        super().__init__()
        self.url = url
        self.services = SERVICES if services is None else services
        self.executions: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.environments: dict[str, dict[str, Any]] = {}
        self.hypervisors: list[dict[str, Any]] = []
        # How many hypervisors Nova tells of at once.
        self.nova_page = 1000
        self.compute_services: list[dict[str, Any]] = []
        self.stacks: dict[str, dict[str, Any]] = {}
        self.deployments: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        # Of each request the method, the path and the query.
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        # Of each request the path and the headers.
        self.headers: list[tuple[str, dict[str, str]]] = []
        # Status by a beginning of the path; a number of times, or for ever where it is None.
        self.faults: dict[str, tuple[int, int | None]] = {}
        self.on_request: Callable[[str, str], None] = lambda method, path: None
        self._seconds = itertools.count(1)

    def cloud(self) -> Cloud:
        """Return what the client sees of it."""
        transport = requests.Session()
        transport.mount("http://", self)
        return Cloud(openstack.connection.Connection(session=self.session(transport)))

    def session(self, transport: requests.Session) -> session.Session:
        """Return a session of an operator who has logged in."""
        info = access.AccessInfoV3(auth_token="a-token", body={"token": self.token()})
        return session.Session(auth=AccessInfoPlugin(info), session=transport)

    def token(self) -> dict[str, Any]:
        """Return what Keystone tells of the operator's token."""
        return {
            "user": {"id": "u1", "name": "operator", "domain": {"id": "d", "name": "Default"}},
            "project": {"id": PROJECT, "name": "admin", "domain": {"id": "d", "name": "Default"}},
            "roles": [{"id": "r1", "name": "admin"}],
            "methods": ["password"],
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "expires_at": "2999-01-01T00:00:00.000000Z",
            "catalog": self.catalog(),
        }

    def catalog(self) -> list[dict[str, Any]]:
        """Return the catalog, as a user's session has it."""
        return [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {
                        "interface": "public",
                        "region": "RegionOne",
                        "region_id": "RegionOne",
                        "id": kind,
                        "url": f"{self.url}/{path}",
                    }
                ],
            }
            for kind, path in self.services.items()
        ]

    # -- what a test sets up

    def now(self) -> str:
        """Return a time, as Mistral tells it; a second later each time."""
        minutes, seconds = divmod(next(self._seconds), 60)
        return f"2026-01-01 {10 + minutes // 60}:{minutes % 60:02}:{seconds:02}"

    def add_run(self, workflow: str = "deploy", state: str = "RUNNING", **more: Any) -> str:
        """Add an execution of a public workflow; return its id."""
        return self.add_execution(f"novadocker.{workflow}", state, **more)

    def add_execution(self, name: str, state: str = "RUNNING", **more: Any) -> str:
        """Add an execution; return its id."""
        key = str(uuid.uuid4())
        for field in ("input", "output"):
            more[field] = json.dumps(more.get(field, {}))
        self.executions[key] = {
            "id": key,
            "workflow_name": name,
            "state": state,
            "state_info": None,
            "description": "",
            "created_at": self.now(),
            "updated_at": self.now(),
            "project_id": PROJECT,
            **more,
        }
        return key

    def add_task(
        self,
        execution: str,
        name: str,
        state: str = "SUCCESS",
        *,
        kind: str = "ACTION",
        rows: list[dict[str, Any]] | None = None,
    ) -> str:
        """Add a task of an execution; return its id."""
        key = str(uuid.uuid4())
        self.tasks[key] = {
            "id": key,
            "name": name,
            "type": kind,
            "workflow_execution_id": execution,
            "state": state,
            "created_at": self.now(),
            "started_at": self.now(),
            "finished_at": None if state == "RUNNING" else self.now(),
            "published": json.dumps({} if rows is None else {"batch": {"rows": rows}}),
        }
        return key

    def add_below(
        self, run: str, execution: str, task: str, name: str, state: str = "SUCCESS", **more: Any
    ) -> str:
        """Add a workflow that a task of an execution runs; return the id of its execution."""
        parent = self.add_task(execution, task, state, kind="WORKFLOW")
        return self.add_execution(
            f"novadocker.{name}", state, task_execution_id=parent, root_execution_id=run, **more
        )

    def add_host(self, name: str, **more: Any) -> None:
        """Add a compute host to Nova."""
        known = {"hypervisor_type": "QEMU", "running_vms": 0, "hypervisor_version": 1, **more}
        self.hypervisors.append(
            {
                "id": str(uuid.uuid4()),
                "hypervisor_hostname": name,
                "state": "up",
                "status": "enabled",
                "service": {"host": name, "id": name},
                **{key: known[key] for key in known if key.startswith(("hyper", "running"))},
            }
        )
        self.compute_services.append(
            {
                "id": str(uuid.uuid4()),
                "host": name,
                "binary": "nova-compute",
                "zone": "nova",
                "state": more.get("state", "up"),
                "status": more.get("status", "enabled"),
                "disabled_reason": more.get("disabled_reason"),
            }
        )

    def enrol(self, pool: str, *hosts: str, roles: tuple[str, ...] = ("compute",)) -> None:
        """Enrol hosts in a pool."""
        inventory = {}
        for host in hosts:
            deployment = str(uuid.uuid4())
            inventory[host] = {
                "server_id": str(uuid.uuid4()),
                "deployment_id": deployment,
                "roles": list(roles),
            }
            self.deployments.append(
                {
                    "id": deployment,
                    "status": "COMPLETE",
                    "creation_time": "2026-01-01T09:00:00Z",
                    "updated_time": "2026-01-01T09:30:00Z",
                }
            )
        name = f"novadocker-hosts-{pool}"
        self.stacks[name] = {"id": str(uuid.uuid4()), "stack_name": name, "inventory": inventory}

    # -- requests

    def send(self, request: requests.PreparedRequest, **_options: Any) -> requests.Response:
        """Answer a request."""
        parts = urlsplit(str(request.url))
        query = dict(parse_qsl(parts.query))
        self.headers.append((parts.path, dict(request.headers)))
        status, answer = self.answer(str(request.method), parts.path, query, request.body)
        response = requests.Response()
        response.status_code = status
        response.raw = io.BytesIO(json.dumps(answer).encode())
        response.headers["Content-Type"] = "application/json"
        response.url, response.request = str(request.url), request
        return response

    def close(self) -> None:
        """Nothing to close."""

    def asked(self, beginning: str) -> list[dict[str, str]]:
        """Return the queries of the requests whose paths begin so."""
        return [query for _, path, query in self.requests if path.startswith(beginning)]

    def answer(
        self, method: str, path: str, query: dict[str, str], body: Any
    ) -> tuple[int, dict[str, Any]]:
        """Return the status of an answer, and what is in it."""
        self.requests.append((method, path, query))
        self.on_request(method, path)
        for beginning, (status, times) in list(self.faults.items()):
            if path.startswith(beginning) and times != 0:
                self.faults[beginning] = (status, None if times is None else times - 1)
                if status == 0:
                    raise requests.ConnectionError("connection refused")
                return status, {"faultstring": "no, for a reason", "error": {"message": "no"}}
        routes: list[tuple[str, str, Callable[..., tuple[int, dict[str, Any]]]]] = [
            ("GET", "/mistral/v2/executions", self._list_executions),
            ("POST", "/mistral/v2/executions", self._post_execution),
            ("GET", "/mistral/v2/executions/([^/]+)", self._get_execution),
            ("PUT", "/mistral/v2/executions/([^/]+)", self._put_execution),
            ("GET", "/mistral/v2/executions/([^/]+)/tasks", self._list_tasks),
            ("GET", "/mistral/v2/environments", self._list_environments),
            ("POST", "/mistral/v2/environments", self._post_environment),
            ("GET", "/mistral/v2/environments/([^/]+)", self._environment),
            ("DELETE", "/mistral/v2/environments/([^/]+)", self._delete_environment),
            ("GET", "/nova/v2.1/?", self._nova_version),
            ("GET", "/nova/v2.1/os-hypervisors/detail", self._list_hypervisors),
            ("GET", "/nova/v2.1/os-services", self._list_services),
            ("GET", "/heat/v1/p1/stacks", self._list_stacks),
            ("GET", "/heat/v1/p1/stacks/([^/]+)/[^/]+/outputs/inventory", self._inventory),
            ("GET", "/heat/v1/p1/software_deployments", self._list_deployments),
            ("GET", "/glance/?", self._glance_versions),
            ("GET", "/glance/v2/images", self._list_images),
        ]
        for verb, pattern, handler in routes:
            match = re.fullmatch(pattern, path)
            if verb == method and match:
                return handler(query, json.loads(body) if body else None, *match.groups())
        return 404, {"faultstring": f"no {method} {path} here"}

    # -- Mistral

    def _list_executions(self, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        executions = list(self.executions.values())
        if "created_at" in query:
            latest = query["created_at"].removeprefix("lte:")
            executions = [item for item in executions if item["created_at"] <= latest]
        if query.get("marker", "") not in ("", *self.executions):
            return 404, {"faultstring": f"Execution not found [execution_id={query['marker']}]"}
        names = query.get("workflow_name", "").removeprefix("in:")
        if names:
            executions = [item for item in executions if item["workflow_name"] in names.split(",")]
        if "task_execution_id" in query.get("nulls", ""):
            executions = [item for item in executions if not item.get("task_execution_id")]
        for name in ("root_execution_id", "state"):
            if name in query:
                executions = [item for item in executions if item.get(name) == query[name]]
        backwards = query.get("sort_dirs") == "desc"
        # As Mistral does: in either direction, what began in one second is in the order of ids.
        executions.sort(key=lambda item: str(item["id"]))
        executions.sort(key=lambda item: str(item["created_at"]), reverse=backwards)
        return 200, {"executions": self._page(executions, query)}

    @staticmethod
    def _page(items: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
        if "marker" in query:
            keys = [item["id"] for item in items]
            items = items[keys.index(query["marker"]) + 1 :]
        fields = query["fields"].split(",")
        return [
            {name: item[name] for name in fields if name in item}
            for item in items[: int(query.get("limit", 1000))]
        ]

    def _post_execution(self, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        key = self.add_execution(
            body["workflow_name"],
            input=json.loads(body.get("input") or "{}"),
            description=body["description"],
        )
        return 201, self.executions[key]

    def _get_execution(
        self, query: dict[str, str], body: Any, key: str
    ) -> tuple[int, dict[str, Any]]:
        if key not in self.executions:
            return 404, {"faultstring": f"Execution not found [execution_id={key}]"}
        return 200, self.executions[key]

    def _put_execution(
        self, query: dict[str, str], body: Any, key: str
    ) -> tuple[int, dict[str, Any]]:
        self.executions[key].update(body)
        return 200, self.executions[key]

    def _list_tasks(self, query: dict[str, str], body: Any, key: str) -> tuple[int, dict[str, Any]]:
        tasks = [item for item in self.tasks.values() if item["workflow_execution_id"] == key]
        return 200, {"tasks": self._page(tasks, query)}

    # -- Nova

    def _list_environments(self, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        part = query["name"].removeprefix("has:")
        names = [name for name in self.environments if part in name]
        fields = query["fields"].split(",")
        rows = ({"project_id": PROJECT, **self.environments[name]} for name in names)
        return 200, {"environments": [{name: row.get(name) for name in fields} for row in rows]}

    def _post_environment(self, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        assert body["variables"]
        if body["name"] in self.environments:
            return 409, {"faultstring": "Duplicate entry for Environment"}
        self.environments[body["name"]] = body
        return 201, {**body, "project_id": PROJECT}

    def _delete_environment(
        self, query: dict[str, str], body: Any, name: str
    ) -> tuple[int, dict[str, Any]]:
        del self.environments[name]
        return 204, {}

    def _environment(
        self, query: dict[str, str], body: Any, name: str
    ) -> tuple[int, dict[str, Any]]:
        environment = self.environments.get(name)
        return (
            (200, environment) if environment else (404, {"faultstring": f"no environment {name}"})
        )

    def _nova_version(self, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        version = {
            "id": "v2.1",
            "status": "CURRENT",
            "version": "2.100",
            "min_version": "2.1",
            "links": [{"rel": "self", "href": f"{self.url}/nova/v2.1/"}],
        }
        return 200, {"version": version}

    def _list_hypervisors(self, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        keys = [item["id"] for item in self.hypervisors]
        begin = keys.index(query["marker"]) + 1 if "marker" in query else 0
        shown = self.hypervisors[begin : begin + self.nova_page]
        more = begin + len(shown) < len(keys)
        # The address is the one that Nova believes to have.
        links = [{"rel": "next", "href": "http://inside/os-hypervisors/detail"}] if more else []
        return 200, {"hypervisors": shown, "hypervisors_links": links}

    def _list_services(self, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        return 200, {"services": self.compute_services}

    # -- Heat

    def _list_stacks(self, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        stacks = self.stacks.values() if query.get("tags") == "novadocker-hosts" else ()
        return 200, {"stacks": [{n: s[n] for n in ("id", "stack_name")} for s in stacks]}

    def _inventory(self, query: dict[str, str], body: Any, name: str) -> tuple[int, dict[str, Any]]:
        value = self.stacks[name]["inventory"]
        if value is None:
            return 404, {"error": {"message": "Specified output key inventory not found."}}
        return 200, {"output": {"output_key": "inventory", "output_value": value}}

    def _list_deployments(self, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        return 200, {"software_deployments": self.deployments}

    # -- Glance

    def _glance_versions(self, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        link = {"rel": "self", "href": f"{self.url}/glance/v2/"}
        return 300, {"versions": [{"id": "v2.16", "status": "CURRENT", "links": [link]}]}

    def _list_images(self, query: dict[str, str], body: Any) -> tuple[int, dict[str, Any]]:
        wanted = query.get("container_format")
        return 200, {"images": [i for i in self.images if i["container_format"] == wanted]}

# SPDX-License-Identifier: Apache-2.0
"""The client's fake cloud with what a tenant's pages ask for as well."""

from __future__ import annotations

import io
import json
import re
import uuid
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

from novadocker_client.tests.fake_cloud import SERVICES, FakeCloud


class DashboardCloud(FakeCloud):
    """Servers, flavors, networks and uploads."""

    def __init__(self) -> None:
        super().__init__({**SERVICES, "network": "neutron"})
        self.servers: list[dict[str, Any]] = []
        self.flavors = [{"id": "f1", "name": "m1.nano", "vcpus": 1, "ram": 64, "disk": 1}]
        self.networks: list[dict[str, Any]] = []
        self.logs: dict[str, str] = {}
        self.acts: list[tuple[str, dict[str, Any]]] = []
        self.booted: list[dict[str, Any]] = []
        self.uploads: dict[str, bytes] = {}
        # Ids of the executions that were made through the API.
        self.created: list[str] = []

    def add_server(self, name: str, *, docker: bool = True, **more: Any) -> str:
        """Add a server; return its id."""
        key = str(uuid.uuid4())
        properties = {"img_hv_type": "docker"} if docker else {"img_hv_type": "qemu"}
        self.servers.append(
            {
                "id": key,
                "name": name,
                "status": "ACTIVE",
                "created": "2026-01-01T09:00:00Z",
                "image": {"id": more.pop("image", "i1"), "properties": properties},
                "addresses": {"net": [{"addr": "10.0.0.5", "version": 4}]},
                "OS-EXT-STS:task_state": None,
                **more,
            }
        )
        return key

    def add_image(self, name: str, **more: Any) -> str:
        """Add a docker image; return its id."""
        key = str(uuid.uuid4())
        self.images.append(
            {
                "id": key,
                "name": name,
                "container_format": "docker",
                "status": "active",
                "visibility": "public",
                "tags": [],
                "owner": "p1",
                **more,
            }
        )
        return key

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Answer a request."""
        parts = urlsplit(str(request.url))
        method, path = str(request.method), parts.path
        away = any(path.startswith(begin) and left != 0 for begin, (_, left) in self.faults.items())
        answered = None if away else self._own(method, path, request.body)
        if answered is None:
            before = set(self.executions)
            response = super().send(request, **options)
            if method == "POST":
                self.created += [key for key in self.executions if key not in before]
            return response
        self.requests.append((method, path, dict(parse_qsl(parts.query))))
        response = requests.Response()
        response.status_code, body = answered
        response.raw = io.BytesIO(b"" if body is None else json.dumps(body).encode())
        response.headers["Content-Type"] = "application/json"
        response.url, response.request = str(request.url), request
        return response

    def _own(self, method: str, path: str, body: Any) -> tuple[int, Any] | None:
        if path == "/nova/v2.1/servers/detail":
            return 200, {"servers": self.servers}
        if path.startswith("/nova/v2.1/flavors"):
            return 200, {"flavors": self.flavors}
        if path in ("/neutron", "/neutron/"):
            link = {"rel": "self", "href": f"{self.url}/neutron/v2.0/"}
            return 200, {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}
        if path == "/neutron/v2.0/networks":
            return 200, {"networks": self.networks}
        if (method, path) == ("POST", "/nova/v2.1/servers"):
            self.booted.append(json.loads(body)["server"])
            return 202, {"server": {"id": str(uuid.uuid4())}}
        if match := re.fullmatch("/nova/v2.1/servers/([^/]+)/action", path):
            return self._act(match.group(1), json.loads(body))
        if path.startswith("/glance/v2/images") and method != "GET":
            return self._upload(method, path, body)
        return None

    def _act(self, key: str, act: dict[str, Any]) -> tuple[int, Any]:
        if key not in {server["id"] for server in self.servers}:
            return 404, {"itemNotFound": {"code": 404, "message": "Instance not found."}}
        if "os-getConsoleOutput" in act:
            return 200, {"output": self.logs.get(key, "")}
        self.acts.append((key, act))
        return 202, None

    def _upload(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            record = json.loads(body)
            return 201, {"id": self.add_image(**record)}
        key = path.split("/")[4]
        if method == "DELETE":
            self.images = [image for image in self.images if image["id"] != key]
            return 204, None
        self.uploads[key] = body.read()
        return 204, None

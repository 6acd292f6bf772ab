# SPDX-License-Identifier: Apache-2.0
"""The workflow client speaks to a Mistral-like HTTP server, a real one on a local port."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tempest.lib import exceptions as lib_exc

from tempest_plugin.services.workflow import ExecutionsClient, WorkflowsClient


class FakeAuth:
    """Gives every request the server's address and a token, as a Tempest auth provider does."""

    def __init__(self, base_url: str) -> None:
        self.url = base_url

    def auth_request(
        self, method: str, url: str, headers: Any = None, body: Any = None, filters: Any = None
    ) -> tuple[str, dict[str, str], Any]:
        return f"{self.url}/{url}", {**(headers or {}), "X-Auth-Token": "token"}, body

    def base_url(self, filters: Any, auth_data: Any = None) -> str:
        return self.url


class Mistral(http.server.ThreadingHTTPServer):
    """Answers with prepared bodies and remembers the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, Any]] = []
        self.requests: list[tuple[str, str, Any]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mistral

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = json.loads(self.rfile.read(length)) if length else None
        self.server.requests.append((self.command, self.path, sent))
        status, body = self.server.answers.pop(0)
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815 -- the names of http.server

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def mistral() -> Iterator[Mistral]:
    with Mistral() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def client(cls: type, mistral: Mistral, **kwargs: Any) -> Any:
    auth = FakeAuth(f"http://127.0.0.1:{mistral.server_port}/v2")
    return cls(auth, "workflowv2", "RegionOne", build_interval=0, **kwargs)


def execution(state: str) -> dict[str, Any]:
    return {
        "id": "e1",
        "workflow_name": "novadocker.plan",
        "state": state,
        "input": '{"hosts": ["a"]}',
        "output": '{"message": "done"}',
    }


def test_create_sends_name_and_inputs_and_decodes_the_answer(mistral: Mistral) -> None:
    mistral.answers = [(201, execution("RUNNING"))]
    started = client(ExecutionsClient, mistral).create_execution("novadocker.plan", {"hosts": []})
    assert mistral.requests == [
        ("POST", "/v2/executions", {"workflow_name": "novadocker.plan", "input": {"hosts": []}})
    ]
    assert started["input"] == {"hosts": ["a"]}
    assert started["output"] == {"message": "done"}


@pytest.mark.parametrize("state", ["SUCCESS", "ERROR", "CANCELLED"])
def test_wait_returns_the_ended_execution(mistral: Mistral, state: str) -> None:
    mistral.answers = [(200, execution("RUNNING")), (200, execution(state))]
    ended = client(ExecutionsClient, mistral, build_timeout=30).wait_for_execution("e1")
    assert ended["state"] == state
    assert len(mistral.requests) == 2


def test_wait_gives_up_and_names_the_workflow(mistral: Mistral) -> None:
    mistral.answers = [(200, execution("RUNNING"))]
    with pytest.raises(lib_exc.TimeoutException, match=r"e1 of novadocker\.plan is still RUNNING"):
        client(ExecutionsClient, mistral, build_timeout=-1).wait_for_execution("e1")


def test_delete_forces(mistral: Mistral) -> None:
    mistral.answers = [(204, None)]
    client(ExecutionsClient, mistral).delete_execution("e1")
    assert mistral.requests == [("DELETE", "/v2/executions/e1?force=true", None)]


def test_refused_input_is_a_bad_request(mistral: Mistral) -> None:
    mistral.answers = [(400, {"faultstring": "Invalid input"})]
    with pytest.raises(lib_exc.BadRequest):
        client(ExecutionsClient, mistral).create_execution("novadocker.plan", {"no": 1})


def test_workflows_are_shown_by_name(mistral: Mistral) -> None:
    mistral.answers = [(200, {"name": "novadocker.plan"}), (200, {"workflows": []})]
    workflows = client(WorkflowsClient, mistral)
    assert workflows.show_workflow("novadocker.plan")["name"] == "novadocker.plan"
    assert workflows.list_workflows()["workflows"] == []
    assert mistral.requests[0][1] == "/v2/workflows/novadocker.plan"

# SPDX-License-Identifier: Apache-2.0
"""Starting and watching workflows, against an HTTP server that answers as Mistral does."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from keystoneauth1 import adapter, noauth, session

from lab.client import workflows
from lab.errors import LabError


class Mistral:
    """Answers by method and path; what is asked again gets the last answer again."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.received: list[Any] = []
        mistral = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers = mistral.find(self.command, self.path)
                status, body = answers.pop(0) if len(answers) > 1 else answers[0]
                if length := int(self.headers.get("Content-Length", 0)):
                    mistral.received.append(json.loads(self.rfile.read(length)))
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *args: Any) -> None:
                """Print nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        # A connection hands out adapters that return errors instead of raising them.
        self.cloud: Any = SimpleNamespace(
            workflow=adapter.Adapter(
                session.Session(auth=noauth.NoAuth()),
                endpoint_override=f"http://127.0.0.1:{self.server.server_port}",
                raise_exc=False,
            )
        )

    def answer(self, request: str, body: Any, status: int = 200) -> None:
        self.answers.setdefault(request, []).append((status, body))

    def answer_tasks(self, execution_id: str, *tasks: dict[str, Any]) -> None:
        self.answer(f"GET /tasks of {execution_id}", {"tasks": list(tasks)})

    def find(self, command: str, target: str) -> list[tuple[int, Any]]:
        """Return the answers to a request; lists are told apart by whose list it is."""
        url = urllib.parse.urlsplit(target)
        query = urllib.parse.parse_qs(url.query)
        owner = query.get("workflow_execution_id") or query.get("task_execution_id")
        return self.answers[f"{command} {url.path}" + (f" of {owner[0]}" if owner else "")]


@pytest.fixture
def mistral() -> Iterator[Mistral]:
    service = Mistral()
    thread = threading.Thread(target=service.server.serve_forever, args=(0.01,))
    thread.start()
    yield service
    service.server.shutdown()
    thread.join()
    service.server.server_close()


def execution(state: str, **output: Any) -> dict[str, Any]:
    return {
        "id": "e1",
        "workflow_name": "novadocker.plan",
        "state": state,
        "state_info": "because" if state == "ERROR" else None,
        "output": json.dumps(output),
    }


def task(name: str, kind: str = "ACTION", state: str = "SUCCESS") -> dict[str, Any]:
    return {
        "id": f"id-{name}",
        "name": name,
        "workflow_name": "novadocker.plan",
        "type": kind,
        "state": state,
        "published": json.dumps({"from": name}),
    }


def test_inputs_are_sent_as_json_text(mistral: Mistral) -> None:
    mistral.answer("POST /executions", execution("RUNNING"), 201)
    started = workflows.start(mistral.cloud, "novadocker.plan", {"hosts": ["a"]})
    assert started.state == "RUNNING"
    assert not started.ended
    (sent,) = mistral.received
    assert sent["workflow_name"] == "novadocker.plan"
    assert json.loads(sent["input"]) == {"hosts": ["a"]}


def test_refused_input_is_told_in_mistrals_words(mistral: Mistral) -> None:
    fault = {"faultstring": "Invalid input: unexpected=['batch']"}
    mistral.answer("POST /executions", fault, 400)
    with pytest.raises(LabError, match="unexpected=.'batch'"):
        workflows.start(mistral.cloud, "novadocker.plan", {"batch": 1})


def test_wait_returns_the_ended_execution_and_shows_tasks(
    mistral: Mistral, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows, "POLL_S", 0)
    mistral.answer("GET /executions/e1", execution("RUNNING"))
    mistral.answer("GET /executions/e1", execution("SUCCESS", message="done"))
    mistral.answer_tasks("e1", task("a"))
    shown: list[list[str]] = []
    ended = workflows.wait(
        mistral.cloud, "e1", on_tasks=lambda tasks: shown.append([t.name for t in tasks])
    )
    assert ended.message == "done"
    assert shown == [["a"], ["a"]]


def test_wait_gives_up_and_names_what_runs(mistral: Mistral) -> None:
    mistral.answer("GET /executions/e1", execution("RUNNING"))
    mistral.answer_tasks("e1", task("stuck", state="RUNNING"), task("done"))
    with pytest.raises(workflows.WorkflowTimeout, match="running tasks: stuck$"):
        workflows.wait(mistral.cloud, "e1", timeout_s=-1)


def test_tasks_of_sub_workflows_follow_their_task(mistral: Mistral) -> None:
    mistral.answer_tasks("e1", task("a"), task("sub", kind="WORKFLOW"), task("b"))
    mistral.answer_tasks("e2", task("inner"))
    mistral.answer("GET /executions of id-sub", {"executions": [{"id": "e2"}]})
    tasks = workflows.TaskTree(mistral.cloud, "e1").read()
    assert [(t.name, t.depth) for t in tasks] == [("a", 0), ("sub", 0), ("inner", 1), ("b", 0)]


def test_sub_workflow_is_read_again_until_it_has_ended(mistral: Mistral) -> None:
    mistral.answer_tasks("e1", task("sub", kind="WORKFLOW", state="RUNNING"))
    mistral.answer_tasks("e1", task("sub", kind="WORKFLOW", state="SUCCESS"))
    mistral.answer_tasks("e2", task("one"))
    mistral.answer_tasks("e2", task("one"), task("two"))
    mistral.answer_tasks("e2", task("must not be read"))
    mistral.answer("GET /executions of id-sub", {"executions": [{"id": "e2"}]})
    tree = workflows.TaskTree(mistral.cloud, "e1")
    assert [[t.name for t in tree.read()] for _ in range(3)] == [
        ["sub", "one"],
        ["sub", "one", "two"],
        ["sub", "one", "two"],
    ]


def test_published_values_are_read_by_task(mistral: Mistral) -> None:
    mistral.answer_tasks("e1", task("a"))
    mistral.answer("GET /tasks/id-a", task("a"))
    (shown,) = workflows.TaskTree(mistral.cloud, "e1").read()
    assert workflows.published(mistral.cloud, shown) == {"from": "a"}


def test_failed_run_without_report_tells_mistrals_reason(mistral: Mistral) -> None:
    mistral.answer("GET /executions/e1", execution("ERROR"))
    read = workflows.get(mistral.cloud, "e1")
    assert read.message == "because"
    assert read.report == {}

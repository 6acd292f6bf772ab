# SPDX-License-Identifier: Apache-2.0
"""When the cloud counts as ready."""

from __future__ import annotations

import datetime
import http.server
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lab.controlplane import readiness
from lab.errors import HostError


def ago(seconds: float) -> str:
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
    return moment.replace(tzinfo=None).isoformat()


def service(binary: str, host: str, age_s: float = 1, state: str = "up") -> SimpleNamespace:
    return SimpleNamespace(binary=binary, host=host, state=state, updated_at=ago(age_s))


def control() -> list[SimpleNamespace]:
    names = ("nova-conductor", "nova-scheduler")
    return [service(name, "controller") for name in names]


def compute(*services: SimpleNamespace) -> Any:
    return SimpleNamespace(compute=SimpleNamespace(services=lambda: [*control(), *services]))


def test_reports_are_compared_in_utc() -> None:
    assert 4 < readiness.age_s(ago(5)) < 10
    assert 4 < readiness.age_s(ago(5) + "+00:00") < 10
    assert readiness.age_s(None) == float("inf")


def test_hosts_that_reported_just_now_are_ready() -> None:
    readiness.check_compute(compute(service("nova-compute", "c1")), {"c1"})


@pytest.mark.parametrize(
    "late",
    [
        service("nova-compute", "c2", age_s=50),
        service("nova-compute", "c2", state="down"),
        service("nova-console", "c2"),
    ],
)
def test_a_host_that_does_not_report_is_named(late: SimpleNamespace) -> None:
    # A report of 50 seconds ago is "up" for Nova, and one of before the lab was stopped.
    with pytest.raises(readiness.NotReadyError, match="nova-compute does not report on: c2"):
        readiness.check_compute(compute(service("nova-compute", "c1"), late), {"c1", "c2"})


def test_the_scheduler_has_to_report() -> None:
    only = SimpleNamespace(compute=SimpleNamespace(services=lambda: control()[:1]))
    with pytest.raises(readiness.NotReadyError, match="nova-scheduler"):
        readiness.check_compute(only, set())


def test_agents_have_to_be_alive_and_fresh() -> None:
    agents = [
        SimpleNamespace(host="c1", is_alive=True, last_heartbeat_at=ago(1)),
        SimpleNamespace(host="c2", is_alive=True, last_heartbeat_at=ago(60)),
        SimpleNamespace(host="c3", is_alive=False, last_heartbeat_at=ago(1)),
    ]
    asked = []

    def listed(agent_type: str) -> list[SimpleNamespace]:
        asked.append(agent_type)
        return agents

    connection: Any = SimpleNamespace(network=SimpleNamespace(agents=listed))
    readiness.check_agents(connection, {"c1"}, "ovs")
    readiness.check_agents(connection, {"c1"}, "ovn")
    assert asked == ["Open vSwitch agent", "OVN Controller agent"]
    with pytest.raises(readiness.NotReadyError, match="c2, c3"):
        readiness.check_agents(connection, {"c1", "c2", "c3"}, "ovs")


@pytest.mark.parametrize(
    ("check", "client"),
    [
        (readiness.check_workflows, "workflow"),
        (readiness.check_orchestration, "orchestration"),
    ],
)
def test_engines_have_to_answer(check: Any, client: str) -> None:
    def says(status: int) -> Any:
        answer = SimpleNamespace(status_code=status)
        proxy = SimpleNamespace(post=lambda *_, **__: answer, get=lambda *_, **__: answer)
        return SimpleNamespace(**{client: proxy})

    check(says(201))
    with pytest.raises(readiness.NotReadyError, match="500"):
        check(says(500))


class Statuses(http.server.BaseHTTPRequestHandler):
    """Answers with the status that its path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Statuses) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 300, 401])
def test_an_api_that_wants_a_token_is_there(url: str, status: int) -> None:
    readiness.check_api(f"{url}/{status}")


def test_an_api_that_fails_is_not_ready(url: str) -> None:
    with pytest.raises(readiness.NotReadyError, match="503"):
        readiness.check_api(f"{url}/503")


def test_what_is_missing_is_named_when_the_time_is_over() -> None:
    def missing() -> None:
        raise readiness.NotReadyError("nova-compute does not report on: c2")

    with pytest.raises(HostError, match="c2"):
        readiness._until(0, missing)


def test_an_error_that_is_no_delay_is_not_waited_for() -> None:
    def broken() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        readiness._until(float("inf"), broken)

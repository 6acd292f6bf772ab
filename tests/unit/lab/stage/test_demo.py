# SPDX-License-Identifier: Apache-2.0
"""What the demonstration shows of a run, a server and a fault."""

from __future__ import annotations

import io
from typing import Any
from unittest import mock

import pytest
import yaml
from openstack.compute.v2.server import Server
from openstack.connection import Connection
from rich.console import Console

from lab.client import workflows
from lab.errors import LabError
from lab.settings import LabSettings
from lab.stage import demo


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def demonstration(shown: io.StringIO) -> demo.Demo:
    cloud = mock.create_autospec(Connection, instance=True)
    return demo.Demo(cloud, Console(file=shown, width=160))


def task(name: str, state: str = "SUCCESS") -> workflows.Task:
    return workflows.Task(f"id-{name}", name, "novadocker._convert_batch", "ACTION", state, 1)


def show(demonstration: demo.Demo, tasks: list[workflows.Task], rows: list[dict[str, Any]]) -> None:
    with mock.patch.object(workflows, "published", autospec=True, return_value={"rows": rows}):
        demonstration._show_tasks(tasks, set(), 0)


def test_ended_task_is_shown_with_its_meaning_and_hosts(
    demonstration: demo.Demo, shown: io.StringIO
) -> None:
    show(demonstration, [task("install_docker")], [{"host": "a"}, {"host": "b", "state": "ok"}])
    assert "ok      a, b: Docker Engine is installed" in shown.getvalue()


def test_failed_host_is_shown_with_its_reason(demonstration: demo.Demo, shown: io.StringIO) -> None:
    rows = [{"host": "a", "state": "failed", "reason": "[disk] full"}]
    show(demonstration, [task("install_docker")], rows)
    assert "a ([disk] full)" in shown.getvalue()


def test_running_and_uninteresting_tasks_are_not_shown(
    demonstration: demo.Demo, shown: io.StringIO
) -> None:
    show(demonstration, [task("install_docker", "RUNNING"), task("settle")], [])
    assert shown.getvalue() == ""


def test_failed_task_is_shown_whatever_it_is(demonstration: demo.Demo, shown: io.StringIO) -> None:
    show(demonstration, [task("settle", "ERROR")], [])
    assert "FAILED  settle" in shown.getvalue()


def test_task_is_shown_once(demonstration: demo.Demo, shown: io.StringIO) -> None:
    seen: set[str] = set()
    with mock.patch.object(workflows, "published", autospec=True, return_value={}):
        for _ in range(2):
            demonstration._show_tasks([task("isolate")], seen, 0)
    assert shown.getvalue().count("in the aggregate") == 1


def test_tasks_with_a_meaning_are_tasks_of_the_workbook() -> None:
    text = (LabSettings().checkout / "workbooks" / "novadocker.yaml").read_text()
    tasks = {name: wf["tasks"] for name, wf in yaml.safe_load(text)["workflows"].items()}
    for workflow, meanings in demo.MEANINGS.items():
        assert set(meanings) <= set(tasks[workflow])


def test_report_has_a_line_for_each_host(demonstration: demo.Demo, shown: io.StringIO) -> None:
    report = {
        "state": "partial",
        "rows": [
            {"host": "a", "role": "compute", "state": "ok", "changed": True},
            {"host": "b", "role": "compute", "state": "failed", "changed": False,
             "step": "install_docker", "reason": "[disk] full"},
        ],
        "totals": {"ok": 1, "failed": 1},
    }  # fmt: skip
    execution = workflows.Execution("e1", "novadocker.deploy", "SUCCESS", "", {"report": report})
    demonstration.report(execution)
    text = shown.getvalue()
    assert "Report: partial" in text
    assert "[disk] full" in text
    assert "1 ok, 1 failed" in text


def test_address_of_a_server() -> None:
    assert demo.address(Server(addresses={"demo": [{"addr": "10.0.0.5"}]})) == "10.0.0.5"
    assert demo.address(Server(addresses={})) == "-"


def test_fault_is_told_in_one_line_and_ends_with_1(shown: io.StringIO) -> None:
    with (
        pytest.raises(SystemExit) as ended,
        demo._one_line_errors(Console(file=shown, width=80)),
    ):
        raise LabError("the lab is [not] up " + "x" * 100)
    assert ended.value.code == 1
    assert shown.getvalue().strip() == "FAILED: the lab is [not] up " + "x" * 100

# SPDX-License-Identifier: Apache-2.0
"""What the demonstration shows of a run, a server and a fault."""

from __future__ import annotations

import io
from unittest import mock

import pytest
from openstack.compute.v2.server import Server
from openstack.connection import Connection
from rich.console import Console

from lab.errors import LabError
from lab.stage import demo
from novadocker_client.errors import NotAllowed
from novadocker_client.runs import Run, TimedOut


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def demonstration(shown: io.StringIO) -> demo.Demo:
    cloud = mock.create_autospec(Connection, instance=True)
    return demo.Demo(cloud, Console(file=shown, width=160))


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
    demonstration.report(Run("e1", "deploy", "SUCCESS", output={"report": report}))
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


def test_a_fault_of_the_cloud_is_told_in_one_line(shown: io.StringIO) -> None:
    for fault in (TimedOut("The run is [running]."), NotAllowed("Mistral", "start deploy", "no")):
        with (
            pytest.raises(SystemExit),
            demo._one_line_errors(Console(file=shown, width=80)),
        ):
            raise fault
        assert f"FAILED: {fault}" in shown.getvalue()

# SPDX-License-Identifier: Apache-2.0
"""Hearing from OVN that a port is wired, on a real database of Open vSwitch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from novadocker.virt.docker.network import ovn
from tests.functional.driver import openvswitch


@pytest.fixture
def switch() -> Iterator[openvswitch.Switch]:
    with openvswitch.database("br-int") as running:
        yield running


def add_port(switch: openvswitch.Switch, name: str, *more: str) -> None:
    switch.vsctl("--no-wait", "add-port", "br-int", name, *more)


def install(switch: openvswitch.Switch, name: str) -> None:
    switch.vsctl("--no-wait", "set", "Interface", name, "external_ids:ovn-installed=true")


def test_ports_that_are_wired_already_are_not_waited_for(switch: openvswitch.Switch) -> None:
    add_port(switch, "tap1")
    install(switch, "tap1")
    assert ovn.Switch(switch.socket).await_installed(["tap1"], timeout_s=0)


def test_the_wait_ends_when_the_last_port_is_wired(switch: openvswitch.Switch) -> None:
    heard = ovn.Switch(switch.socket)
    for name in ("tap1", "tap2"):
        add_port(switch, name)
    install(switch, "tap1")
    assert not heard.await_installed(["tap1", "tap2"], timeout_s=0.05)
    later = threading.Timer(0.2, install, [switch, "tap2"])
    later.start()
    assert heard.await_installed(["tap1", "tap2"], timeout_s=10)
    later.join()


def test_a_port_that_comes_later_with_its_flows_is_heard_of(switch: openvswitch.Switch) -> None:
    heard = ovn.Switch(switch.socket)
    ids = ("--", "set", "Interface", "tap1", "external_ids:ovn-installed=true")
    later = threading.Timer(0.2, add_port, [switch, "tap1", *ids])
    later.start()
    assert heard.await_installed(["tap1"], timeout_s=10)
    later.join()


def test_a_switch_that_does_not_answer_is_no_reason_to_fail(tmp_path: Path) -> None:
    assert not ovn.Switch(f"unix:{tmp_path}/none").await_installed(["tap1"])

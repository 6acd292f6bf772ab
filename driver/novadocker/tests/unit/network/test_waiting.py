# SPDX-License-Identifier: Apache-2.0
"""Whose word is waited for before an instance runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pytest
from nova.virt import fake

from novadocker.virt.docker.network import ovn, waiting

INSTANCE = object()


class Nova(fake.FakeVirtAPI):
    """Nova's own stand-in, which knows what is waited for to the end."""

    def __init__(self) -> None:
        self.early: list[Any] = []

    def exit_wait_early(self, events: Any) -> None:
        self.early += events


class Switch:
    """A switch in which OVN has wired some ports."""

    def __init__(self, *wired: str) -> None:
        self.wired = wired
        self.asked: list[str] = []

    def await_installed(self, names: Collection[str], timeout_s: float) -> bool:
        self.asked += names
        return set(names) <= set(self.wired)


def port(number: int, driver: str, active: bool = False) -> dict[str, Any]:
    return {
        "id": f"p{number}",
        "devname": f"tap{number}",
        "active": active,
        "details": {"bound_drivers": {"0": driver}},
    }


@pytest.fixture
def nova(conf: Any) -> Iterator[Nova]:
    yield Nova()


def early(nova: Nova, switch: Switch, *ports: dict[str, Any]) -> list[str]:
    waits = waiting.Waiting(nova, switch)  # type: ignore[arg-type]
    with waits.for_ports(INSTANCE, list(ports), power_on=True)():
        assert not switch.asked
    return [port_id for _, port_id in nova.early]


def test_only_ports_that_ovn_has_bound_are_its() -> None:
    assert ovn.devices([port(1, "ovn"), port(2, "openvswitch")]) == {"p1": "tap1"}
    assert ovn.devices([{"id": "p3", "devname": "tap3"}, {"id": "p4", "details": {}}]) == {}


def test_what_ovn_has_wired_is_not_waited_for(nova: Nova) -> None:
    assert early(nova, Switch("tap1", "tap2"), port(1, "ovn"), port(2, "ovn")) == ["p1", "p2"]


def test_where_ovn_is_silent_neutron_is_waited_for(nova: Nova) -> None:
    assert early(nova, Switch("tap1"), port(1, "ovn"), port(2, "ovn")) == []


def test_neutrons_agents_do_not_say_so_in_the_switch(nova: Nova) -> None:
    switch = Switch()
    assert early(nova, switch, port(1, "openvswitch"), port(2, "ovn", active=True)) == []
    assert switch.asked == []


def test_who_starts_again_waits_for_ovn_whatever_nova_knows(nova: Nova) -> None:
    switch = Switch("tap1")
    waits = waiting.Waiting(nova, switch)  # type: ignore[arg-type]
    ports = [port(1, "ovn", active=True), port(2, "openvswitch", active=True)]
    waits.until_wired(INSTANCE, ports)
    assert switch.asked == ["tap1"]
    # That it is silent is no reason not to start.
    waits.until_wired(INSTANCE, [port(3, "ovn", active=True)])
    waits.until_wired(INSTANCE, [])
    assert nova.early == []


def test_a_switch_that_is_away_is_not_asked_by_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def away(_switch: ovn.Switch) -> None:
        asked.append(1)
        raise OSError("refused")

    monkeypatch.setattr(ovn.Switch, "_connected", away)
    now = [1000.0]
    monkeypatch.setattr(ovn.time, "monotonic", lambda: now[0])
    switch = ovn.Switch("unix:/none")
    for _ in range(5):
        assert not switch.await_installed(["tap1"])
    assert len(asked) == 1
    now[0] += ovn.ASKED_AGAIN_S
    assert not switch.await_installed(["tap1"])
    assert len(asked) == 2

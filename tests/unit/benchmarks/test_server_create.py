# SPDX-License-Identifier: Apache-2.0
"""The figures of the boot benchmark are made from the right numbers, and bars are seen missed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks import docker_host, server_create
from benchmarks.server_create import Burst, Rounds
from benchmarks.servers import Servers
from lab.errors import LabError

ROUNDS = Rounds(
    docker_s=(2.0, 2.4, 9.0),
    fake_s=(1.9, 2.0, 2.1),
    docker_no_port_s=(1.5,),
    fake_no_port_s=(1.2,),
    spawn_s=(1.0,),
    spawn_no_port_s=(0.42, 0.6, 0.4),
    raw_s=(0.4, 0.4, 0.8),
)
BURST = Burst(
    servers=50,
    took_s=30.0,
    fake_took_s=20.0,
    nova_kb=300.0,
    containers_kb=9000.0,
    raw_containers_kb=8900.0,
    engine_kb=500.0,
    requests={"list_instances": (1, 1), "get_available_resource": (1, 1)},
)
UUID = "11111111-2222-3333-4444-555555555555"


def test_rounds_are_compared_by_their_medians() -> None:
    assert ROUNDS.spawn_ratio == pytest.approx(1.05)
    assert ROUNDS.over_fake_s == pytest.approx(0.4)


def test_the_driver_adds_its_own_memory_and_what_containers_take_more() -> None:
    assert BURST.overhead_kb == pytest.approx(400.0)


def test_good_figures_miss_no_bar() -> None:
    assert server_create.missed(ROUNDS, BURST) == []
    assert "MISSED" not in server_create.figures(ROUNDS, BURST)
    assert server_create.missed(ROUNDS, None) == []


@pytest.mark.parametrize(
    ("rounds", "many", "bar"),
    [
        ({"spawn_no_port_s": (0.7,)}, {}, "spawn"),
        ({"docker_s": (2.7,)}, {}, "create to ACTIVE"),
        ({}, {"nova_kb": 1000.0}, "memory"),
        ({}, {"requests": {"list_instances": (1, 50)}}, "requests to the engine"),
    ],
)
def test_each_bar_is_seen_missed(rounds: Any, many: Any, bar: str) -> None:
    changed = dataclasses.replace(ROUNDS, **rounds), dataclasses.replace(BURST, **many)
    assert server_create.missed(*changed) == [bar]
    assert server_create.figures(*changed).endswith(f"; MISSED: {bar}")


def test_spawn_times_are_read_from_the_journal() -> None:
    journal = (
        f"INFO nova.compute.manager [None req-1 a b] [instance: {UUID}] Took 0.42 seconds to spawn"
        f" the instance on the hypervisor.\n"
        f"INFO nova.compute.manager [None req-1 a b] [instance: {UUID}] Took 1.10 seconds to build"
        f" instance.\n"
    )
    assert docker_host.spawned(journal) == {UUID: 0.42}


@pytest.mark.parametrize("script", [docker_host._PAIRS, docker_host._MEMORY, docker_host._REQUESTS])
def test_programs_of_the_host_are_python(script: str) -> None:
    compile(script, "script", "exec")


class FakeCompute:
    """Nova, as far as servers are listed and deleted.

    :param states: states of the servers at each look, the last one for ever
    """

    def __init__(self, *states: tuple[str, ...]) -> None:
        self.states = list(states)
        self.deleted: list[str] = []
        self.made: dict[str, Any] = {}

    def create_server(self, **request: Any) -> None:
        self.made = request

    def get(self, path: str, params: Mapping[str, str]) -> Any:
        assert path == "/servers"
        assert params["name"] == f"^{self.made['name']}"
        wanted = params.get("status")
        states = self.states.pop(0) if wanted and len(self.states) > 1 else self.states[0]
        answers = [
            {"id": str(number)}
            for number, state in enumerate(states)
            if str(number) not in self.deleted and wanted in (None, state)
        ]
        return type("Answer", (), {"status_code": 200, "json": lambda _: {"servers": answers}})()

    def get_server(self, server_id: str) -> Any:
        return type("Server", (), {"fault": {"message": f"fault of {server_id}"}})()

    def delete_server(self, server_id: str) -> None:
        self.deleted.append(server_id)


def servers(compute: FakeCompute) -> Servers:
    servers = object.__new__(Servers)
    servers.cloud = type("Cloud", (), {"compute": compute})()  # type: ignore[assignment]
    servers.image_id, servers.network_id, servers.flavor_id = "image", "network", "flavor"
    return servers


def test_servers_are_active_and_then_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.servers.POLL_S", 0)
    compute = FakeCompute(("BUILD", "ACTIVE"), ("ACTIVE", "ACTIVE"))
    with servers(compute).running("compute-3", 2) as (ids, took_s):
        assert ids == ["0", "1"]
        assert took_s < 5
        assert compute.deleted == []
    assert compute.deleted == ["0", "1"]
    assert compute.made["availability_zone"] == "nova:compute-3"
    assert compute.made["min_count"] == compute.made["max_count"] == 2


def test_a_server_in_error_ends_it_and_all_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.servers.POLL_S", 0)
    monkeypatch.setattr("benchmarks.servers.LOOK_FOR_ERRORS_S", 0)
    compute = FakeCompute(("ACTIVE", "ERROR"))
    with (
        pytest.raises(LabError, match="1 of 2 servers are in ERROR, such as: fault of 1"),
        servers(compute).running("compute-docker-1", 2, port=False),
    ):
        pass
    assert compute.deleted == ["0", "1"]
    assert compute.made["networks"] == "none"

# SPDX-License-Identifier: Apache-2.0
"""Containers of instances."""

from __future__ import annotations

from typing import Any

import pytest

from novadocker import exceptions
from novadocker.tests.fake_engine import FakeEngine
from novadocker.virt.docker.engine import containers, isolation, workload
from novadocker.virt.docker.host.facts import HostFacts


class TestContainers:
    @pytest.fixture
    def engine(self) -> FakeEngine:
        fake = FakeEngine()
        fake._create_container(fake.add_image("image:x"), name="box")
        return fake

    @pytest.fixture
    def boxes(self, engine: FakeEngine) -> containers.Containers:
        return containers.Containers(engine, HostFacts("host"), isolation.Isolation(()))

    @pytest.mark.parametrize(
        ("line", "config", "expected"),
        [
            ("a 'b c'", {"Cmd": ["x"]}, ["a", "b c"]),
            (None, {"Cmd": ["x"]}, None),
            (None, {"Entrypoint": ["x"]}, None),
            ("", {}, ["sh"]),
        ],
    )
    def test_command(self, line: Any, config: Any, expected: Any) -> None:
        assert workload.command(line, config) == expected

    def test_a_removal_under_way_is_waited_for(
        self, boxes: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine.failing["remove_container"] = exceptions.Conflict("removal already in progress", 409)
        assert boxes.remove("box")
        assert engine.calls[-1] == "wait"
        engine.failing["remove_container"] = exceptions.Conflict("you cannot", 409)
        with pytest.raises(exceptions.Conflict):
            boxes.remove("box")

    def test_files_that_are_not_taken_are_a_fault(
        self, boxes: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "_put_archive", lambda *_args: False)
        with pytest.raises(exceptions.EngineError):
            boxes.put_archive("box", b"")

    @pytest.mark.parametrize(
        ("word", "state"),
        [
            ("running", "RUNNING"),
            ("restarting", "RUNNING"),
            ("paused", "PAUSED"),
            ("created", "STOPPED"),
            ("exited", "STOPPED"),
            ("dead", "STOPPED"),
        ],
    )
    def test_states(self, word: str, state: str) -> None:
        assert containers.state_of(word) is containers.State[state]

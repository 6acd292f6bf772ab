# SPDX-License-Identifier: Apache-2.0
"""The engine goes, comes back, and is another one."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from nova import exception, objects

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import workload
from novadocker.virt.docker.engine import names
from novadocker.virt.docker.face import listening, service


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service of this host in Nova's database."""
    service = mock.Mock(disabled=False, disabled_reason=None)
    monkeypatch.setattr(objects.Service, "get_by_compute_host", lambda _context, _host: service)
    return service


@pytest.fixture
def prepare() -> mock.Mock:
    return mock.Mock()


@pytest.fixture
def nova() -> mock.Mock:
    """Nova's way to Placement."""
    return mock.Mock()


@pytest.fixture
def listener(new_driver: Any, nova: Any, prepare: Any) -> listening.Listening:
    return listening.Listening(new_driver().parts, nova, mock.Mock(), prepare)


class TestScheduling:
    def test_the_host_is_out_of_it_while_the_engine_is_away(
        self, listener: Any, record: Any, nova: Any, prepare: Any
    ) -> None:
        listener.engine_lost("unix:///x does not answer:\n refused" + "x" * 300)
        assert record.disabled is True
        assert record.disabled_reason.startswith("AUTO: Docker: unix:///x does not answer: refused")
        assert len(record.disabled_reason) == 255
        record.save.assert_called_once_with()
        nova.update_compute_provider_status.assert_called_once_with(
            mock.ANY, record.compute_node.uuid, enabled=False
        )
        listener.engine_found(is_new=False)
        assert (record.disabled, record.disabled_reason) == (False, None)
        assert record.save.call_count == 2
        prepare.assert_not_called()

    def test_what_an_operator_has_disabled_stays_disabled(self, listener: Any, record: Any) -> None:
        record.disabled, record.disabled_reason = True, "broken fan"
        listener.engine_lost("refused")
        listener.engine_found(is_new=False)
        assert (record.disabled, record.disabled_reason) == (True, "broken fan")
        record.save.assert_not_called()

    def test_a_new_engine_is_prepared_first(self, listener: Any, record: Any, prepare: Any) -> None:
        listener.engine_lost("refused")
        prepare.side_effect = exceptions.NotReady("it cannot limit file systems")
        listener.engine_found(is_new=True)
        assert record.disabled_reason == "AUTO: Docker: it cannot limit file systems"
        prepare.side_effect = None
        listener.engine_found(is_new=True)
        assert not record.disabled

    def test_placement_that_does_not_answer_is_no_obstacle(
        self, listener: Any, record: Any, nova: Any
    ) -> None:
        nova.update_compute_provider_status.side_effect = OSError("no placement")
        listener.engine_lost("refused")
        assert record.disabled

    def test_a_host_that_nova_does_not_know_yet_is_left_alone(
        self, listener: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unknown = mock.Mock(side_effect=exception.ComputeHostNotFound(host=make.HOST))
        monkeypatch.setattr(objects.Service, "get_by_compute_host", unknown)
        listener.engine_found(is_new=False)
        unknown.assert_called_once()

    def test_it_begins_with_the_driver(self, new_driver: Any, record: Any, engine: Any) -> None:
        record.disabled, record.disabled_reason = True, f"{service.PREFIX}it was away"
        driver = new_driver()
        driver.init_host(make.HOST)
        driver.parts.watcher._thread.join(0.3)
        driver.cleanup_host(make.HOST)
        assert not record.disabled


class TestFrozen:
    @pytest.fixture
    def instance(self, spawn: Any, engine: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        """An instance that is frozen, as Nova knows it."""
        instance = spawn(make.instance())
        engine.call("pause", names.workload_name(instance.uuid))
        monkeypatch.setattr(objects.Instance, "get_by_uuid", lambda _context, _uuid: instance)
        return instance

    @pytest.mark.parametrize(
        ("fields", "told", "state"),
        [
            ({"vm_state": "active", "task_state": None}, True, "running"),
            ({"vm_state": "active", "task_state": "image_uploading"}, False, "paused"),
            ({"vm_state": "active", "task_state": "pausing"}, False, "paused"),
            ({"vm_state": "paused", "task_state": None}, True, "paused"),
            ({"vm_state": "active", "task_state": None, "host": "another"}, True, "paused"),
        ],
    )
    def test_who_is_to_run_is_unfrozen_once_nova_is_not_busy_with_it(
        self, fields: Any, told: bool, state: str, listener: Any, instance: Any, engine: Any
    ) -> None:
        for name, value in fields.items():
            setattr(instance, name, value)
        assert listener.thawed(instance.uuid) is told
        assert engine._find(names.workload_name(instance.uuid))["State"]["Status"] == state

    def test_who_is_deleted_is_left_alone(
        self, listener: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone = mock.Mock(side_effect=exception.InstanceNotFound(instance_id="x"))
        monkeypatch.setattr(objects.Instance, "get_by_uuid", gone)
        assert listener.thawed("x") is True


class TestWhyItEnded:
    @pytest.fixture
    def told(self, listener: Any, spawn: Any, engine: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Let a workload end, and return the reasons that its user is told."""
        started: list[Any] = []
        actions = mock.Mock()
        actions.action_start.side_effect = lambda *what, **_more: started.append(what[2])
        monkeypatch.setattr(objects, "InstanceAction", actions)

        def end(code: int, oom: bool = False, status: str = "exited", **fields: Any) -> list[str]:
            instance = spawn(make.instance(**fields))
            monkeypatch.setattr(objects.Instance, "get_by_uuid", lambda _context, _uuid: instance)
            state = {"Status": status, "ExitCode": code, "OOMKilled": oom, "Running": False}
            workload(engine, instance)["State"] = state
            objects.InstanceActionEvent.reset_mock()
            started.clear()
            tell = listener.ended(instance.uuid)
            assert started == []
            if tell is not None:
                tell()
            failed = objects.InstanceActionEvent.event_finish_with_failure.call_args_list
            reasons = [call.kwargs["exc_val"].format_message() for call in failed]
            well = objects.InstanceActionEvent.event_finish.call_count
            assert len(started) == len(reasons) + well
            return reasons or ["well"] * well

        return end

    @pytest.mark.parametrize(
        ("code", "oom", "reason"),
        [
            (0, False, "well"),
            (3, False, "it has ended with exit code 3"),
            (139, False, "it was ended by SIGSEGV"),
            (255, False, "it has ended with exit code 255"),
            (137, True, "it took more memory than the 256 MiB of its flavor"),
        ],
    )
    def test_the_user_is_told(self, code: int, oom: bool, reason: str, told: Any) -> None:
        assert told(code, oom) == [reason]

    def test_what_nova_asked_for_is_no_news(self, told: Any) -> None:
        assert told(137, task_state="powering-off") == []
        assert told(137, vm_state="stopped") == []
        assert told(137, host="another") == []
        assert told(1, status="restarting") == []

    def test_one_that_is_gone_is_no_fault(self, listener: Any) -> None:
        assert listener.ended("no such uuid") is None
        assert listener.is_restarted("no such uuid") is False

    def test_who_is_started_again_has_not_ended(
        self, listener: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        assert listener.is_restarted(instance.uuid) is False
        workload(engine, instance)["State"] = {"Status": "restarting", "Running": True}
        assert listener.is_restarted(instance.uuid) is True

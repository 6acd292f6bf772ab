# SPDX-License-Identifier: Apache-2.0
"""What users ask for and cannot get: no other host is tried, and no server is lost over it."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from nova import exception, objects
from oslo_utils import timeutils

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.make import port
from novadocker.virt.docker.face import reports
from novadocker.virt.docker.network import tags

BAD_COMMAND = make.image_meta(properties={"os_command_line": "sh -c \"echo it's"})


@pytest.fixture
def spawn(docker_driver: Any, image_meta: Any) -> Any:
    def spawned(meta: Any = image_meta, password: str | None = None, **fields: Any) -> Any:
        made = make.instance()
        made.flavor = make.flavor(**fields)
        docker_driver.spawn(None, made, meta, [], password, {}, [])
        return made

    return spawned


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What users read of an action."""
    reasons: list[str] = []
    monkeypatch.setattr(reports, "tell", lambda *args: reasons.append(str(args[-1])))
    return reasons


def box(engine: Any, instance: Any) -> Any:
    return engine._find(f"nova-{instance.uuid}")


class TestSpawn:
    @pytest.mark.field_case("K9.5")
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("sh -c 'it", "metadata docker:command cannot be split into arguments: No closing"),
            ('["a", 1]', "metadata docker:command is no list of texts"),
            ('["a"', "metadata docker:command cannot be split into arguments: Expecting"),
        ],
    )
    def test_a_command_of_the_server_s_own_that_is_none(
        self, docker_driver: Any, image_meta: Any, engine: Any, text: str, said: str
    ) -> None:
        made = make.instance(metadata={"docker:command": text})
        with pytest.raises(exception.ImageUnacceptable, match=said):
            docker_driver.spawn(None, made, image_meta, [], None, {}, [])
        assert not engine.names()

    def test_a_command_line_that_cannot_be_split(self, spawn: Any, engine: Any) -> None:
        with pytest.raises(exception.ImageUnacceptable, match="os_command_line cannot be split"):
            spawn(BAD_COMMAND)
        assert not engine.names()

    @pytest.mark.parametrize(
        "key", ["quota:cpu_period", "quota:cpu_quota", "quota:cpu_shares", "docker:pids_limit"]
    )
    def test_an_extra_spec_that_is_no_number(self, key: str, spawn: Any, engine: Any) -> None:
        with pytest.raises(exception.InvalidInput, match=f"{key}='many'"):
            spawn(extra_specs={key: "many"})
        assert not engine.names()

    def test_an_extra_spec_that_means_no_limit_for_the_engine(
        self, spawn: Any, engine: Any
    ) -> None:
        with pytest.raises(exception.InvalidInput, match="quota:cpu_quota=0"):
            spawn(extra_specs={"quota:cpu_quota": "0"})
        assert not engine.names()

    def test_one_that_was_launched_before_is_built_again(
        self, docker_driver: Any, engine: Any
    ) -> None:
        instance = make.instance(launched_at=timeutils.utcnow(with_timezone=True))
        instance.flavor = make.flavor(extra_specs={"quota:cpu_quota": "0"})
        docker_driver.spawn(None, instance, make.image_meta(), [], None, {}, network_info=[])
        assert box(engine, instance)["State"]["Running"]

    @pytest.mark.parametrize(
        "fault", [None, exceptions.Conflict("is not running", 409), exceptions.NotFound("no", 404)]
    )
    def test_an_image_in_which_no_password_can_be_set(
        self, fault: Exception | None, spawn: Any, engine: Any, option: Any
    ) -> None:
        option("inject_password", True)
        engine.exec_code = 127
        if fault:
            engine.failing["exec_create"] = fault
        assert box(engine, spawn(password="secret"))["State"]["Running"]
        assert "exec_create" in engine.calls


@pytest.mark.parametrize("key", ["quota:cpu_quota", "docker:pids_limit"])
def test_a_resize_to_a_flavor_that_cannot_be(
    key: str, docker_driver: Any, spawn: Any, engine: Any
) -> None:
    instance = spawn()
    bad = make.flavor(extra_specs={key: "all"})
    with pytest.raises(exception.InstanceFaultRollback, match=key):
        docker_driver.migrate_disk_and_power_off(None, instance, "192.0.2.1", bad, [])
    assert box(engine, instance)["State"]["Running"]


class TestRescue:
    @pytest.mark.parametrize(
        ("meta", "reason"),
        [
            (make.image_meta(container_format="bare"), "takes 'docker' only"),
            (make.image_meta(size=1 << 60), "max_image_size_gb"),
            (BAD_COMMAND, "os_command_line"),
        ],
    )
    def test_an_image_that_is_refused_gives_way_to_the_servers_own(
        self, meta: Any, reason: str, docker_driver: Any, spawn: Any, engine: Any, told: list[str]
    ) -> None:
        instance = spawn()
        own = box(engine, instance)
        docker_driver.power_off(instance)
        docker_driver.rescue(None, instance, [], meta, "", None)
        assert box(engine, instance)["Id"] != own["Id"]
        assert box(engine, instance)["Image"] == own["Image"]
        assert box(engine, instance)["State"]["Running"]
        assert reason in told[0]
        assert "by its own image" in told[0]
        docker_driver.unrescue(None, instance)
        assert box(engine, instance)["Id"] == own["Id"]

    def test_an_image_that_does_not_start_gives_way_too(
        self, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any, told: list[str]
    ) -> None:
        instance = spawn()
        starts = engine._start

        def start(name: str) -> None:
            if not told and not engine.failing and name == f"nova-{instance.uuid}":
                raise exceptions.EngineError("OCI runtime create failed: no such file", 400)
            starts(name)

        engine._start = start
        docker_driver.rescue(None, instance, [], image_meta, "", None)
        assert box(engine, instance)["State"]["Running"]
        assert "OCI runtime" in told[0]

    def test_an_own_command_line_that_cannot_be_split_is_left_out(
        self, docker_driver: Any, spawn: Any, engine: Any, told: list[str]
    ) -> None:
        instance = spawn()
        instance.system_metadata = {"image_os_command_line": "it's"}
        docker_driver.rescue(None, instance, [], BAD_COMMAND, "", None)
        assert box(engine, instance)["State"]["Running"]

    def test_a_password_that_cannot_be_set_is_no_fault(
        self, docker_driver: Any, spawn: Any, engine: Any, image_meta: Any, option: Any
    ) -> None:
        instance = spawn()
        option("inject_password", True)
        engine.exec_code = 127
        docker_driver.rescue(None, instance, [], image_meta, "secret", None)
        assert box(engine, instance)["State"]["Running"]


class TestReports:
    @pytest.fixture
    def event(self, monkeypatch: pytest.MonkeyPatch) -> mock.MagicMock:
        fake: mock.MagicMock = mock.create_autospec(objects.InstanceActionEvent)
        monkeypatch.setattr(objects, "InstanceActionEvent", fake)
        return fake

    def test_an_event_ends_with_the_fault(self, event: mock.MagicMock) -> None:
        fault = exception.ImageUnacceptable(image_id="i", reason="no")
        instance = make.instance()
        reports.tell(None, instance, "host", "what", fault)
        event.event_start.assert_called_once_with(
            None, instance.uuid, "what", want_result=False, host="host"
        )
        event.event_finish_with_failure.assert_called_once_with(
            None, instance.uuid, "what", exc_val=fault, exc_tb=mock.ANY, want_result=False
        )
        assert "no" in event.event_finish_with_failure.call_args[1]["exc_tb"]

    def test_without_an_action_there_is_nobody_to_tell(self, event: mock.MagicMock) -> None:
        event.event_start.side_effect = exception.InstanceActionNotFound(
            request_id="r", instance_uuid="i"
        )
        reports.tell(None, make.instance(), "host", "what", exception.NovaException())
        event.event_finish_with_failure.assert_not_called()


class TestAttachInterface:
    @pytest.mark.parametrize("where", ["plug_new", "tags", "save"])
    def test_a_port_that_is_not_attached_is_taken_away(
        self,
        where: str,
        docker_driver: Any,
        spawn: Any,
        wiring: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        instance = spawn()
        if where == "plug_new":
            wiring.plug_new.side_effect = exceptions.NetworkError("ovsdb")
        elif where == "tags":
            monkeypatch.setattr(tags, "of_interfaces", mock.Mock(side_effect=OSError("database")))
        else:
            monkeypatch.setattr(objects.Instance, "save", mock.Mock(side_effect=OSError("rpc")))
        extra = port()
        with pytest.raises(exception.InterfaceAttachFailed):
            docker_driver.attach_interface(None, instance, None, extra)
        wiring.unplug_dead.assert_called_once_with(instance, [extra])

    def test_also_where_time_is_up(self, docker_driver: Any, spawn: Any, wiring: Any) -> None:
        wiring.plug_new.side_effect = KeyboardInterrupt
        instance = spawn()
        with pytest.raises(KeyboardInterrupt):
            docker_driver.attach_interface(None, instance, None, port())
        assert wiring.unplug_dead.called

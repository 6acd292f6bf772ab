# SPDX-License-Identifier: Apache-2.0
"""Instances are started, stopped and removed."""

from __future__ import annotations

from typing import Any

import pytest
from nova import exception, objects
from nova.compute import power_state
from nova.network import model
from oslo_utils import timeutils

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import names, workload
from novadocker.tests.make import IMAGE_ID, port
from novadocker.virt.docker.engine import containers
from novadocker.virt.docker.face import lookups


class TestLife:
    def state(self, docker_driver: Any, instance: Any) -> int:
        return docker_driver.get_info(instance).state

    def test_states_follow_what_is_done(self, docker_driver: Any, spawn: Any) -> None:
        instance = spawn(make.instance())
        for action, expected in (
            (docker_driver.pause, power_state.PAUSED),
            (docker_driver.pause, power_state.PAUSED),
            (docker_driver.unpause, power_state.RUNNING),
            (docker_driver.unpause, power_state.RUNNING),
            (docker_driver.power_off, power_state.SHUTDOWN),
            (docker_driver.power_off, power_state.SHUTDOWN),
            (lambda instance: docker_driver.power_on(None, instance, []), power_state.RUNNING),
            (docker_driver.soft_delete, power_state.SHUTDOWN),
            (docker_driver.restore, power_state.RUNNING),
            (lambda instance: docker_driver.power_off(instance, 5), power_state.SHUTDOWN),
            (
                lambda instance: docker_driver.resume_state_on_host_boot(None, instance, [], None),
                power_state.RUNNING,
            ),
        ):
            action(instance)
            assert self.state(docker_driver, instance) == expected

    @pytest.mark.parametrize("kind", ["SOFT", "HARD"])
    @pytest.mark.parametrize("before", ["pause", "power_off", "unpause"])
    def test_reboot_works_from_every_state(
        self, kind: str, before: str, docker_driver: Any, spawn: Any
    ) -> None:
        instance = spawn(make.instance())
        getattr(docker_driver, before)(instance)
        docker_driver.reboot(None, instance, [], kind)
        assert self.state(docker_driver, instance) == power_state.RUNNING

    def test_stop_waits_no_longer_than_the_cap(
        self, docker_driver: Any, spawn: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instance = spawn(make.instance())
        waits = []
        stop = engine._stop
        monkeypatch.setattr(
            engine, "_stop", lambda name, timeout: waits.append(timeout) or stop(name, timeout)
        )
        docker_driver.power_off(instance, timeout=60)
        assert waits == [10]

    def test_who_does_not_run_is_disconnected(
        self, docker_driver: Any, spawn: Any, wiring: Any
    ) -> None:
        instance = spawn(make.instance())
        for call, up in (
            (docker_driver.pause, False),
            (docker_driver.unpause, True),
            (docker_driver.power_off, False),
        ):
            call(instance)
            assert wiring.set_links.call_args[0][1] is up
        wiring.set_links.side_effect = exceptions.NetworkError("no")
        docker_driver.power_off(instance)

    @pytest.mark.parametrize(
        ("done", "vm_state", "connected"),
        [("pause", "paused", False), ("power_off", "stopped", False), (None, "active", True)],
    )
    def test_ports_of_who_does_not_run_are_plugged_disconnected(
        self,
        done: str | None,
        vm_state: str,
        connected: bool,
        docker_driver: Any,
        spawn: Any,
        wiring: Any,
    ) -> None:
        instance = spawn(make.instance())
        if done is not None:
            getattr(docker_driver, done)(instance)
        instance.vm_state = vm_state
        docker_driver.plug_vifs(instance, [port()])
        assert wiring.plug.call_args[0][3] is connected
        docker_driver.attach_interface(None, instance, None, port())
        assert wiring.plug_new.call_args[0][3] is connected

    def test_who_is_about_to_be_paused_stays_frozen(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        docker_driver.pause(instance)
        # As far as Nova had come when it was killed.
        instance.task_state = "pausing"
        docker_driver.plug_vifs(instance, [])
        assert self.state(docker_driver, instance) == power_state.PAUSED

    def test_pause_that_fails_is_a_fault(self, docker_driver: Any, spawn: Any) -> None:
        instance = spawn(make.instance(), power_on=False)
        with pytest.raises(exceptions.Conflict):
            docker_driver.pause(instance)

    def test_an_instance_without_a_container_is_not_found(self, docker_driver: Any) -> None:
        gone = make.instance()
        for call in (
            docker_driver.get_info,
            docker_driver.power_off,
            docker_driver.pause,
            lambda instance: docker_driver.reboot(None, instance, [], "HARD"),
            lambda instance: docker_driver.get_console_output(None, instance),
        ):
            with pytest.raises(exception.InstanceNotFound):
                call(gone)
        assert not docker_driver.instance_exists(gone)

    def test_a_network_that_went_with_the_host_is_made_again(
        self, docker_driver: Any, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        instance = spawn(make.instance())
        for name in names(instance):
            engine.call("kill", name)
        wiring.reset_mock()
        docker_driver.power_on(None, instance, [port()])
        assert [call[0] for call in wiring.method_calls] == ["unplug_dead", "plug"]

    def test_a_workload_in_a_namespace_that_is_gone_is_restarted(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        engine.call("kill", f"nova-sandbox-{instance.uuid}")
        engine.calls.clear()
        docker_driver.power_on(None, instance, [])
        assert engine.calls.index("kill") < engine.calls.index("start", engine.calls.index("kill"))
        assert self.state(docker_driver, instance) == power_state.RUNNING

    def test_one_that_is_restored_gets_its_network_again(
        self, docker_driver: Any, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        instance = spawn(make.instance())
        docker_driver.soft_delete(instance)
        engine.call("kill", f"nova-sandbox-{instance.uuid}")
        instance.info_cache = objects.InstanceInfoCache(network_info=model.NetworkInfo([port()]))
        docker_driver.restore(instance)
        assert wiring.plug.call_args[0][1] == [port()]
        assert self.state(docker_driver, instance) == power_state.RUNNING

    def test_what_a_container_cannot_do_has_a_reason(self, docker_driver: Any, spawn: Any) -> None:
        instance = spawn(make.instance())
        with pytest.raises(NotImplementedError) as refused:
            docker_driver.suspend(None, instance)
        assert "Use pause" in refused.value.format_message()
        with pytest.raises(exception.MigrationPreCheckError, match="live"):
            docker_driver.check_can_live_migrate_destination(None, instance, {}, {})
        assert self.state(docker_driver, instance) == power_state.RUNNING

    def test_both_are_made_again_where_the_sandbox_was_removed(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        engine.call("remove_container", f"nova-sandbox-{instance.uuid}")
        docker_driver.power_on(None, instance, [])
        assert engine.names() == names(instance)
        assert (
            workload(engine, instance)["Config"]["Labels"]["org.openstack.nova.image_id"]
            == IMAGE_ID
        )
        docker_driver.destroy(None, instance, [])
        assert not any("nova-docker/instance" in str(image) for image in engine.images.values())

    def test_destroy_leaves_nothing_and_may_be_repeated(
        self, docker_driver: Any, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        instance = spawn(make.instance())
        docker_driver.destroy(None, instance, [port()])
        assert engine.names() == set()
        wiring.unplug.assert_called_with(instance, [port()])
        docker_driver.destroy(None, instance, None)
        docker_driver.cleanup(None, instance, [port()])

    def test_a_port_that_stays_is_told_after_all_else_is_gone(
        self, docker_driver: Any, spawn: Any, engine: Any, wiring: Any
    ) -> None:
        instance = spawn(make.instance())
        wiring.unplug.side_effect = exceptions.NetworkError("no")
        with pytest.raises(exceptions.NetworkError):
            docker_driver.destroy(None, instance, [port()])
        assert engine.names() == set()
        docker_driver.rescue(None, spawn(instance), [], make.image_meta(), "", None)
        with pytest.raises(exceptions.NetworkError):
            docker_driver.destroy(None, instance, [port()])
        assert engine.names() == set()

    def test_password(self, docker_driver: Any, spawn: Any, engine: Any) -> None:
        instance = spawn(make.instance())
        docker_driver.set_admin_password(instance, "secret")
        (asked,) = engine.execs
        assert asked["environment"] == {"NOVA_ADMIN_PASSWORD": "secret"}
        # Neither its output nor its directory is the image's to choose.
        assert (asked["stdout"], asked["stderr"], asked["workdir"]) == (False, False, "/")
        engine.exec_code = 127
        with pytest.raises(exception.SetAdminPasswdNotSupported):
            docker_driver.set_admin_password(instance, "secret")

    def test_a_password_program_without_end_is_not_waited_for(
        self, docker_driver: Any, spawn: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instance = spawn(make.instance())
        engine.exec_code = None
        passed = []
        monkeypatch.setattr(containers.time, "sleep", passed.append)
        monkeypatch.setattr(containers.time, "monotonic", lambda: sum(passed))
        with pytest.raises(exceptions.EngineError, match="has not ended after 30 s"):
            docker_driver.set_admin_password(instance, "secret")
        assert 30 < sum(passed) < 32
        assert len(passed) < 50

    def test_the_console_log_has_an_end(
        self, new_driver: Any, spawn: Any, engine: Any, option: Any
    ) -> None:
        instance = spawn(make.instance())
        assert workload(engine, instance)["HostConfig"]["LogConfig"] == {
            "Type": "local",
            "Config": {"max-size": "10m", "max-file": "3", "mode": "non-blocking"},
        }
        option("log_max_size", "200k")
        option("log_max_files", 1)
        other = make.instance()
        new_driver().spawn(None, other, make.image_meta(), [], None, {}, [])
        assert workload(engine, other)["HostConfig"]["LogConfig"]["Config"] == {
            "max-size": "200k",
            "max-file": "1",
            "mode": "non-blocking",
        }

    @pytest.mark.parametrize(
        ("option_set", "specs", "terminal"),
        [
            (None, {}, False),
            (True, {}, True),
            (None, {"docker:tty": "true"}, True),
            (None, {"docker:tty": "no"}, False),
        ],
    )
    def test_a_terminal_is_asked_for_and_input_stays_open(
        self,
        option_set: bool | None,
        specs: dict[str, str],
        terminal: bool,
        new_driver: Any,
        engine: Any,
        option: Any,
    ) -> None:
        if option_set is not None:
            option("tty", option_set)
        instance = make.instance()
        instance.flavor = make.flavor(extra_specs=specs)
        new_driver().spawn(None, instance, make.image_meta(), [], None, {}, [])
        asked = workload(engine, instance)["asked"]
        assert (asked["tty"], asked["stdin_open"]) == (terminal, True)

    def test_a_new_namespace_is_wired_before_anything_runs_in_it(
        self,
        docker_driver: Any,
        spawn: Any,
        engine: Any,
        wiring: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        instance = spawn(make.instance())
        waits: list[list[str]] = []
        monkeypatch.setattr(
            docker_driver.parts.waiting,
            "until_wired",
            lambda _instance, _ports: waits.append(list(engine.calls)),
        )
        docker_driver.power_off(instance)
        docker_driver.power_on(None, instance, [port()])
        assert waits == []
        for name in names(instance):
            engine.call("kill", name) if "sandbox" in name else docker_driver.power_off(instance)
        engine.calls.clear()
        docker_driver.power_on(None, instance, [port()])
        # The sandbox runs by then, and the workload does not.
        assert [calls.count("start") for calls in waits] == [1]
        assert engine.calls.count("start") == 2

    def test_console_is_the_end_of_the_log(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        engine.log = b"x" * 200_000 + b"\xff end"
        output = docker_driver.get_console_output(None, instance)
        assert output.endswith("\ufffd end")
        assert len(output) == lookups.MAX_CONSOLE_BYTES


class TestOptions:
    """Options of the host that have changed since an instance was made."""

    @pytest.fixture
    def instance(self, spawn: Any) -> Any:
        return spawn(make.instance(), network_info=[port()])

    def capabilities(self, engine: Any, instance: Any) -> list[str]:
        return list(workload(engine, instance)["HostConfig"]["CapAdd"])

    def test_a_hard_reboot_brings_them_and_keeps_all_files(
        self, instance: Any, new_driver: Any, engine: Any, option: Any
    ) -> None:
        before = workload(engine, instance)
        option("default_capabilities", ["KILL"])
        later = new_driver()
        later.reboot(None, instance, [port()], "SOFT")
        assert workload(engine, instance)["Id"] == before["Id"]
        later.reboot(None, instance, [port()], "HARD")
        assert self.capabilities(engine, instance) == ["KILL"]
        assert engine.names() == names(instance)
        assert "commit" in engine.calls
        assert later.get_info(instance).state == power_state.RUNNING
        # The sandbox and its ports stay.
        sandbox = engine._find(f"nova-sandbox-{instance.uuid}")["Id"]
        assert workload(engine, instance)["HostConfig"]["NetworkMode"] == f"container:{sandbox}"
        again = workload(engine, instance)["Id"]
        later.reboot(None, instance, [port()], "HARD")
        assert workload(engine, instance)["Id"] == again

    def test_a_terminal_is_one_of_them(
        self, instance: Any, new_driver: Any, engine: Any, option: Any
    ) -> None:
        option("tty", True)
        new_driver().reboot(None, instance, [], "HARD")
        assert workload(engine, instance)["Config"]["Tty"]

    @pytest.mark.parametrize("verb", ["commit", "create_container"])
    def test_where_there_is_no_way_to_them_it_keeps_its_own(
        self, verb: str, instance: Any, new_driver: Any, engine: Any, option: Any
    ) -> None:
        own = workload(engine, instance)["Id"]
        option("default_capabilities", ["KILL"])
        engine.failing[verb] = exceptions.EngineError("no space left on device", 500)
        later = new_driver()
        later.reboot(None, instance, [port()], "HARD")
        assert workload(engine, instance)["Id"] == own
        assert later.get_info(instance).state == power_state.RUNNING
        del engine.failing[verb]
        later.reboot(None, instance, [port()], "HARD")
        assert self.capabilities(engine, instance) == ["KILL"]

    def test_what_is_not_allowed_any_more_keeps_nobody_from_rebooting(
        self, new_driver: Any, engine: Any, option: Any, image_meta: Any
    ) -> None:
        instance = make.instance()
        instance.flavor = make.flavor(extra_specs={"docker:privileged": "true"})
        option("allow_privileged", True)
        new_driver().spawn(None, instance, image_meta, [], None, {}, [])
        option("allow_privileged", False)
        later = new_driver()
        later.reboot(None, instance, [], "HARD")
        assert later.get_info(instance).state == power_state.RUNNING

    def test_who_has_former_ones_is_told(
        self, instance: Any, docker_driver: Any, new_driver: Any, option: Any, caplog: Any
    ) -> None:
        assert docker_driver.get_diagnostics(instance)["options_outdated"] == 0
        option("default_capabilities", ["KILL"])
        later = new_driver()
        assert later.get_diagnostics(instance)["options_outdated"] == 1
        caplog.set_level("INFO")
        docker_driver.plug_vifs(instance, [port()])
        assert "former options" not in caplog.text
        later.plug_vifs(instance, [port()])
        assert "former options until its next hard reboot" in caplog.text


class TestRestarts:
    """Workloads that the engine starts again, as long as Nova wants them to run."""

    ASKED = ("on-failure:3", {"Name": "on-failure", "MaximumRetryCount": 3})

    @pytest.fixture(params=["flavor", "image"])
    def instance(self, request: Any, spawn: Any) -> Any:
        made = make.instance()
        if request.param == "flavor":
            made.flavor = make.flavor(extra_specs={"docker:restart": self.ASKED[0]})
        else:
            made.system_metadata = {"image_docker:restart": self.ASKED[0]}
        return spawn(made)

    def policy(self, engine: Any, instance: Any) -> dict[str, Any]:
        return dict(workload(engine, instance)["HostConfig"]["RestartPolicy"])

    def test_who_is_to_run_has_what_flavor_or_image_ask_for(
        self, instance: Any, docker_driver: Any, engine: Any
    ) -> None:
        assert self.policy(engine, instance) == self.ASKED[1]
        docker_driver.power_off(instance)
        assert self.policy(engine, instance)["Name"] == "no"
        # Before it is stopped: whoever is killed may be started again.
        asked = [verb for verb in engine.calls if verb in ("update_container", "kill")]
        assert asked[-2:] == ["update_container", "kill"]
        docker_driver.power_on(None, instance, [])
        assert self.policy(engine, instance) == self.ASKED[1]
        docker_driver.reboot(None, instance, [], "HARD")
        assert self.policy(engine, instance) == self.ASKED[1]

    def test_who_is_put_aside_is_not_started_again(
        self, instance: Any, docker_driver: Any, engine: Any, image_meta: Any
    ) -> None:
        docker_driver.rescue(None, instance, [], image_meta, "", None)
        aside = engine._find(f"nova-{instance.uuid}-rescued")["HostConfig"]
        assert aside["RestartPolicy"]["Name"] == "no"
        docker_driver.unrescue(None, instance)
        assert self.policy(engine, instance) == self.ASKED[1]

    def test_who_does_not_run_yet_has_none(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        made = make.instance()
        made.flavor = make.flavor(extra_specs={"docker:restart": "always"})
        instance = spawn(made, power_on=False)
        assert self.policy(engine, instance)["Name"] == "no"
        docker_driver.power_on(None, instance, [])
        assert self.policy(engine, instance)["Name"] == "always"

    def test_who_is_about_to_be_started_again_runs(
        self, instance: Any, docker_driver: Any, engine: Any
    ) -> None:
        workload(engine, instance)["State"] = {"Status": "restarting", "Running": True}
        assert docker_driver.get_info(instance).state == power_state.RUNNING
        workload(engine, instance)["RestartCount"] = 2
        assert docker_driver.get_diagnostics(instance)["restarts"] == 2
        # There is nothing to freeze.
        with docker_driver.parts.workloads.frozen(f"nova-{instance.uuid}"):
            assert "pause" not in engine.calls

    def test_what_nobody_knows_is_refused_for_new_ones(self, spawn: Any, engine: Any) -> None:
        made = make.instance()
        made.system_metadata = {"image_docker:restart": "often"}
        with pytest.raises(exception.ImageUnacceptable, match="'often' is not"):
            spawn(made)
        made.flavor = make.flavor(extra_specs={"docker:restart": "seldom"})
        with pytest.raises(exception.InvalidInput, match="'seldom' is not"):
            spawn(made)
        assert engine.names() == set()
        # It has lived with it.
        made.launched_at = timeutils.utcnow()
        assert self.policy(engine, spawn(made))["Name"] == "no"


class TestHealth:
    CHECK = {"Test": ["CMD", "true"], "Interval": 1}

    @pytest.fixture
    def of_image(self, engine: Any) -> None:
        for image in engine.images.values():
            image["Config"]["Healthcheck"] = self.CHECK

    def test_an_images_check_is_run_and_told(
        self, of_image: Any, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        asked = workload(engine, instance)["asked"]["healthcheck"]
        assert asked["test"] == ["CMD", "true"]
        assert asked["interval"] == 30_000_000_000
        workload(engine, instance)["State"]["Health"] = {"Status": "unhealthy"}
        assert docker_driver.get_diagnostics(instance)["health"] == "unhealthy"

    def test_who_is_made_anew_keeps_it(
        self, of_image: Any, new_driver: Any, spawn: Any, engine: Any, option: Any
    ) -> None:
        instance = spawn(make.instance())
        option("default_capabilities", ["KILL"])
        new_driver().reboot(None, instance, [], "HARD")
        assert workload(engine, instance)["asked"]["healthcheck"]["test"] == ["CMD", "true"]

    def test_a_host_may_run_none(
        self, of_image: Any, new_driver: Any, engine: Any, option: Any, image_meta: Any
    ) -> None:
        option("health_check_interval", 0)
        instance = make.instance()
        new_driver().spawn(None, instance, image_meta, [], None, {}, [])
        assert workload(engine, instance)["asked"]["healthcheck"] == {"test": ["NONE"]}

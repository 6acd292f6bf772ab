# SPDX-License-Identifier: Apache-2.0
"""Instances outlive faults of the engine, and whoever removes containers."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from nova import exception

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import when
from novadocker.virt.docker.engine import kept, names

KILLED = exceptions.EngineUnreachable("killed")


@pytest.fixture
def instance(docker_driver: Any, image_meta: Any) -> Any:
    made = make.instance()
    docker_driver.spawn(None, made, image_meta, [], None, {}, [])
    return made


class Faults:
    """Lets one request fail.

    :ivar left: how many are to be made until then
    """

    def __init__(self, ask: Any, left: int, fault: BaseException, done: bool) -> None:
        self._ask, self._fault, self._done = ask, fault, done
        self.left = left

    def call(self, *args: Any, **more: Any) -> Any:
        self.left -= 1
        if self.left != 0:
            return self._ask(*args, **more)
        if self._done:
            self._ask(*args, **more)
        raise self._fault


def box(engine: Any, instance: Any) -> Any:
    return engine._find(f"nova-{instance.uuid}")


def remove(engine: Any, instance: Any, *, sandbox: bool) -> None:
    name = names.sandbox_name if sandbox else names.workload_name
    engine._remove_container(name(instance.uuid), force=True)


def resized(docker_driver: Any, instance: Any) -> None:
    """Resize an instance on its host by making it anew, and do not confirm it."""
    make.other_options(docker_driver)
    info = docker_driver.migrate_disk_and_power_off(
        None, instance, "192.0.2.1", instance.flavor, []
    )
    docker_driver.finish_migration(None, None, instance, info, [], None, True, {})


def kept_images(engine: Any) -> list[str]:
    return [
        tag
        for image in engine.images.values()
        for tag in image["RepoTags"]
        if tag.startswith(kept.REPOSITORY)
    ]


class TestTheSandboxIsGone:
    @pytest.mark.parametrize(
        ("verb", "number", "done"),
        [
            ("commit", 1, False),
            ("create_container", 1, True),
            ("create_container", 2, False),
            ("create_container", 2, True),
            ("remove_container", 1, False),
            ("remove_container", 2, False),
            ("remove_container", 2, True),
            ("rename", 1, False),
            ("rename", 1, True),
        ],
    )
    def test_a_fault_of_the_engine_loses_nothing(
        self, verb: str, number: int, done: bool, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        remove(engine, instance, sandbox=True)
        when(engine, verb, number, KILLED, done)
        with pytest.raises(exceptions.EngineUnreachable):
            docker_driver.power_on(None, instance, [])
        docker_driver.power_on(None, instance, [])
        assert box(engine, instance)["State"]["Running"]
        # What was in it is in it.
        assert len(engine.images[box(engine, instance)["Image"]]["RootFS"]["Layers"]) > 1
        docker_driver.destroy(None, instance, [])
        assert not engine.names()
        assert not kept_images(engine)
        assert all(image["RepoTags"] for image in engine.images.values())

    def test_what_the_host_does_not_allow_any_more_loses_nothing(
        self, new_driver: Any, option: Any, engine: Any, image_meta: Any
    ) -> None:
        option("allow_privileged", True)
        instance = make.instance()
        instance.flavor.extra_specs = {"docker:privileged": "true"}
        new_driver().spawn(None, instance, image_meta, [], None, {}, [])
        option("allow_privileged", False)
        remove(engine, instance, sandbox=True)
        for _ in range(2):
            with pytest.raises(exceptions.DriverError, match="allow_privileged"):
                new_driver().power_on(None, instance, [])
            assert box(engine, instance)
        option("allow_privileged", True)
        new_driver().power_on(None, instance, [])
        assert box(engine, instance)["State"]["Running"]


class TestTheOptionsHaveChanged:
    """A hard reboot makes the container anew: it is cut short, or fails, at every step."""

    @pytest.fixture
    def changed(self, docker_driver: Any, instance: Any) -> Any:
        make.other_options(docker_driver)
        return docker_driver

    def outdated(self, driver: Any, instance: Any) -> int:
        return int(driver.get_diagnostics(instance)["options_outdated"])

    def has_its_files(self, engine: Any, instance: Any, own: str) -> bool:
        container = box(engine, instance)
        layers = engine.images[container["Image"]]["RootFS"]["Layers"]
        return container["Id"] == own or len(layers) > 1

    @pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("fault", [KILLED, exceptions.EngineError("no", 500), SystemExit()])
    @pytest.mark.parametrize("then", ["reboot", "power_on"])
    def test_nothing_is_lost(
        self,
        then: str,
        fault: BaseException,
        done: bool,
        docker_driver: Any,
        engine: Any,
        image_meta: Any,
    ) -> None:
        ask = engine.call
        former = docker_driver.parts.workloads._isolation
        for step in range(1, 100):
            docker_driver.parts.workloads._isolation = former
            instance = make.instance()
            docker_driver.spawn(None, instance, image_meta, [], None, {}, [])
            own = box(engine, instance)["Id"]
            make.other_options(docker_driver)
            faults = Faults(ask, step, fault, done)
            engine.call = faults.call
            with contextlib.suppress(type(fault), exception.NovaException):
                docker_driver.reboot(None, instance, [], "HARD")
                # Who is told of no fault runs.
                assert box(engine, instance)["State"]["Running"], step
            engine.call = ask
            if faults.left > 0:
                assert step > 10
                return
            if then == "reboot":
                docker_driver.reboot(None, instance, [], "HARD")
                assert not self.outdated(docker_driver, instance), step
            else:
                docker_driver.power_on(None, instance, [])
            assert box(engine, instance)["State"]["Running"], step
            assert self.has_its_files(engine, instance, own), step
            docker_driver.destroy(None, instance, [])
            assert not engine.names(), step
            assert not kept_images(engine), step
        raise AssertionError("it has no end")

    @pytest.mark.parametrize("sandbox", [True, False], ids=["sandbox", "no sandbox"])
    @pytest.mark.parametrize("then", ["reboot", "power_on"])
    def test_one_that_the_engine_removes_by_half_is_the_new_one(
        self, then: str, sandbox: bool, changed: Any, engine: Any, instance: Any
    ) -> None:
        own, remove_container = box(engine, instance), engine._remove_container
        if not sandbox:
            remove(engine, instance, sandbox=True)

        def busy(name: str, **more: Any) -> None:
            if name != f"nova-{instance.uuid}":
                return remove_container(name, **more)
            own["State"] = {"Status": "dead", "Running": False}
            raise exceptions.EngineError("device or resource busy", 500)

        def alive(verb: Any) -> Any:
            def ask(name: str, *args: Any, **more: Any) -> Any:
                if engine._find(name)["State"]["Status"] == "dead":
                    raise exceptions.Conflict("is dead", 409)
                return verb(name, *args, **more)

            return ask

        engine._remove_container = busy
        engine._commit, engine._start = alive(engine._commit), alive(engine._start)
        for _ in range(2):
            with pytest.raises(exceptions.EngineError):
                changed.reboot(None, instance, [], "HARD")
        engine._remove_container = remove_container
        arguments = ("HARD",) if then == "reboot" else ()
        getattr(changed, then)(None, instance, [], *arguments)
        assert box(engine, instance)["State"]["Running"]
        assert box(engine, instance)["Id"] != own["Id"]
        assert self.has_its_files(engine, instance, own["Id"])
        assert not self.outdated(changed, instance)


class TestTheWorkloadIsGone:
    @pytest.mark.field_case("K9.6")
    @pytest.mark.parametrize("action", ["power_on", "reboot"])
    def test_it_is_made_from_the_image_that_was_kept(
        self, action: str, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        resized(docker_driver, instance)
        docker_driver.confirm_migration(None, None, instance, [])
        remove(engine, instance, sandbox=True)
        remove(engine, instance, sandbox=False)
        if action == "reboot":
            docker_driver.reboot(None, instance, [], "HARD")
        else:
            docker_driver.power_on(None, instance, [])
        assert box(engine, instance)["State"]["Running"]
        assert engine.images[box(engine, instance)["Image"]]["RepoTags"] == kept_images(engine)

    @pytest.mark.parametrize("aside", ["resize", "rescued", "new"])
    def test_the_one_that_was_put_aside_is_taken(
        self, aside: str, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        identity = box(engine, instance)["Id"]
        engine._rename(f"nova-{instance.uuid}", f"nova-{instance.uuid}-{aside}")
        docker_driver.power_on(None, instance, [])
        assert box(engine, instance)["Id"] == identity
        assert box(engine, instance)["State"]["Running"]

    @pytest.mark.field_case("K9.6")
    def test_what_was_pruned_is_named_with_what_is_lost(
        self, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        docker_driver.power_off(instance)
        remove(engine, instance, sandbox=False)
        with pytest.raises(exceptions.EngineError, match=r"docker system prune.*rebuild the serv"):
            docker_driver.power_on(None, instance, [])

    @pytest.mark.parametrize("action", ["power_on", "reboot"])
    def test_what_never_was_is_not_made(self, action: str, docker_driver: Any, engine: Any) -> None:
        more = ("HARD",) if action == "reboot" else ()
        with pytest.raises(exception.InstanceNotFound):
            getattr(docker_driver, action)(None, make.instance(), [], *more)
        assert not engine.names()


class TestTheKeptImage:
    def test_it_goes_with_an_instance_that_was_resized_and_is_rescued(
        self, docker_driver: Any, engine: Any, instance: Any, image_meta: Any
    ) -> None:
        resized(docker_driver, instance)
        docker_driver.confirm_migration(None, None, instance, [])
        docker_driver.rescue(None, instance, [], image_meta, "pw", None)
        docker_driver.destroy(None, instance, [])
        assert not engine.names()
        assert not kept_images(engine)

    def test_it_does_not_hide_why_a_second_resize_fails(
        self, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        resized(docker_driver, instance)
        docker_driver.confirm_migration(None, None, instance, [])
        engine.failing["commit"] = exceptions.EngineError("no space left on device", 500)
        with pytest.raises(exceptions.EngineError, match="no space left"):
            resized(docker_driver, instance)
        del engine.failing["commit"]
        docker_driver.power_on(None, instance, [])
        assert box(engine, instance)["State"]["Running"]
        docker_driver.destroy(None, instance, [])
        assert not engine.names()
        assert not kept_images(engine)

    def test_it_does_not_stay_on_the_host_that_an_instance_has_left(
        self, docker_driver: Any, engine: Any, instance: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resized(docker_driver, instance)
        docker_driver.confirm_migration(None, None, instance, [])
        assert kept_images(engine)
        monkeypatch.setattr(
            "novadocker.virt.docker.instances.migrations.Migrations._upload",
            lambda *_args: "temporary",
        )
        docker_driver.migrate_disk_and_power_off(None, instance, "192.0.2.99", instance.flavor, [])
        assert kept_images(engine)
        docker_driver.confirm_migration(None, None, instance, [])
        assert not engine.names()
        assert not kept_images(engine)


class TestResize:
    @pytest.fixture(autouse=True)
    def _left_over(self, docker_driver: Any, engine: Any, instance: Any) -> None:
        """Have what a resize leaves that could not be confirmed."""
        resized(docker_driver, instance)
        assert f"nova-{instance.uuid}-resize" in engine.names()
        make.other_options(docker_driver)

    def test_what_an_earlier_one_has_left_is_no_obstacle(
        self, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        identity = box(engine, instance)["Id"]
        resized(docker_driver, instance)
        assert engine._find(f"nova-{instance.uuid}-resize")["Id"] == identity

    @pytest.mark.parametrize("done", [False, True])
    @pytest.mark.parametrize(
        ("verb", "number"), [("remove_container", 1), ("rename", 1), ("remove_container", 2)]
    )
    def test_an_instance_that_cannot_be_put_aside_stays_and_runs(
        self, verb: str, number: int, done: bool, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        when(engine, verb, number, KILLED, done)
        with pytest.raises(exception.InstanceFaultRollback, match="killed"):
            docker_driver.migrate_disk_and_power_off(
                None, instance, "192.0.2.1", instance.flavor, []
            )
        assert box(engine, instance)["State"]["Running"]

    def test_an_engine_that_is_away_does_not_put_it_into_error(
        self, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        docker_driver.power_off(instance)
        docker_driver.power_on(None, instance, [])
        engine.failing.update(kill=KILLED, start=KILLED, remove_container=KILLED)
        with pytest.raises(exception.InstanceFaultRollback):
            docker_driver.migrate_disk_and_power_off(
                None, instance, "192.0.2.1", instance.flavor, []
            )
        engine.failing.clear()
        assert box(engine, instance)


class TestUnrescue:
    @pytest.mark.parametrize(
        "fault",
        [
            exceptions.NotFound("Could not find the file /mnt/rescue/. in container", 404),
            exceptions.EngineError("lstat /mnt/rescue/.: not a directory", 500),
            exceptions.EngineError("evalSymlinksInScope: too many links in /mnt/rescue", 500),
        ],
    )
    def test_who_removed_the_mount_point_has_nothing_to_copy(
        self, fault: Exception, docker_driver: Any, engine: Any, instance: Any, image_meta: Any
    ) -> None:
        identity = box(engine, instance)["Id"]
        docker_driver.rescue(None, instance, [], image_meta, "pw", None)
        engine.failing["get_archive"] = fault
        docker_driver.unrescue(None, instance)
        assert box(engine, instance)["Id"] == identity
        assert box(engine, instance)["State"]["Running"]
        assert f"nova-{instance.uuid}-rescued" not in engine.names()

    def test_what_cannot_be_copied_stays(
        self, docker_driver: Any, engine: Any, instance: Any, image_meta: Any
    ) -> None:
        docker_driver.rescue(None, instance, [], image_meta, "pw", None)
        engine.failing["get_archive"] = exceptions.EngineError("no space left", 500)
        with pytest.raises(exceptions.EngineError, match="no space left"):
            docker_driver.unrescue(None, instance)
        del engine.failing["get_archive"]
        docker_driver.unrescue(None, instance)
        assert box(engine, instance)["State"]["Running"]

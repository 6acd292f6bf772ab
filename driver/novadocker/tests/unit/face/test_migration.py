# SPDX-License-Identifier: Apache-2.0
"""Resize and cold migration, as Nova asks for them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from nova import context, exception, objects
from nova.compute import task_states

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import names, when, workload
from novadocker.tests.make import HOST
from novadocker.virt.docker.engine import limits

CONTEXT = context.RequestContext("user", "project", is_admin=False)


def leave(docker_driver: Any, instance: Any, flavor: Any = None, dest: str = HOST) -> str:
    """Begin a resize, as Nova does."""
    left: str = docker_driver.migrate_disk_and_power_off(
        CONTEXT, instance, dest, flavor or instance.flavor, []
    )
    return left


def arrive(
    docker_driver: Any, instance: Any, flavor: Any, left: str, power_on: bool = True
) -> None:
    instance.flavor = flavor
    docker_driver.finish_migration(
        CONTEXT, None, instance, left, [], None, False, {}, power_on=power_on
    )


def resize(docker_driver: Any, instance: Any, flavor: Any) -> None:
    arrive(docker_driver, instance, flavor, leave(docker_driver, instance, flavor))


def revert(docker_driver: Any, instance: Any, flavor: Any, power_on: bool = True) -> None:
    """Take a resize back, as Nova does."""
    instance.task_state = task_states.RESIZE_REVERTING
    docker_driver.destroy(CONTEXT, instance, [])
    instance.flavor = flavor
    docker_driver.finish_revert_migration(CONTEXT, instance, [], None, power_on=power_on)
    instance.task_state = None


def limits_of(engine: Any, instance: Any) -> dict[str, int]:
    return limits.changeable(workload(engine, instance)["HostConfig"])


LARGE = {
    "memory_mb": 512,
    "vcpus": 3,
    "swap": 64,
    "extra_specs": {
        "quota:cpu_shares": "512",
        "quota:cpu_period": "50000",
        "docker:pids_limit": "99",
    },
}
LARGE_LIMITS = {
    "Memory": 512 << 20,
    "MemorySwap": 576 << 20,
    "CpuPeriod": 50_000,
    "CpuQuota": 150_000,
    "CpuShares": 512,
    "PidsLimit": 99,
}
SMALL_LIMITS = {
    "Memory": 256 << 20,
    "MemorySwap": 256 << 20,
    "CpuPeriod": 100_000,
    "CpuQuota": 200_000,
    "CpuShares": 1024,
    "PidsLimit": 4096,
}


class TestResizeInPlace:
    """A resize on one host is a change of limits, and nothing else."""

    @pytest.fixture(autouse=True)
    def _record(self, migrations: Any) -> None:
        """Nova's record of it."""

    @pytest.fixture
    def instance(self, spawn: Any) -> Any:
        return spawn(make.instance())

    def test_it_changes_limits_of_the_same_container_in_the_same_sandbox(
        self, docker_driver: Any, engine: Any, instance: Any, wiring: Any
    ) -> None:
        before, images = set(engine.containers), set(engine.images)
        assert limits_of(engine, instance) == SMALL_LIMITS
        engine.calls.clear()
        wiring.reset_mock()
        left = leave(docker_driver, instance, make.flavor(**LARGE))
        assert not workload(engine, instance)["State"]["Running"]
        arrive(docker_driver, instance, make.flavor(**LARGE), left)
        docker_driver.confirm_migration(CONTEXT, None, instance, [])
        assert limits_of(engine, instance) == LARGE_LIMITS
        assert workload(engine, instance)["State"]["Running"]
        assert set(engine.containers) == before
        assert set(engine.images) == images
        assert not {"commit", "export", "rename", "create_container"} & set(engine.calls)
        assert engine.calls.count("update_container") == 1
        wiring.unplug.assert_not_called()

    def test_its_revert_changes_them_back(
        self, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        before = set(engine.containers)
        resize(docker_driver, instance, make.flavor(**LARGE))
        engine.calls.clear()
        revert(docker_driver, instance, make.flavor())
        assert limits_of(engine, instance) == SMALL_LIMITS
        assert workload(engine, instance)["State"]["Running"]
        assert set(engine.containers) == before
        assert not {"commit", "export", "rename", "create_container"} & set(engine.calls)
        docker_driver.destroy(CONTEXT, instance, [])
        assert engine.names() == set()

    def test_one_that_was_stopped_stays_stopped(
        self, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        docker_driver.power_off(instance)
        left = leave(docker_driver, instance, make.flavor(**LARGE))
        arrive(docker_driver, instance, make.flavor(**LARGE), left, power_on=False)
        assert limits_of(engine, instance) == LARGE_LIMITS
        revert(docker_driver, instance, make.flavor(), power_on=False)
        assert limits_of(engine, instance) == SMALL_LIMITS
        assert not workload(engine, instance)["State"]["Running"]

    def test_after_hundreds_it_has_not_a_layer_more(
        self, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        image = workload(engine, instance)["Image"]
        for number in range(150):
            resize(docker_driver, instance, make.flavor(memory_mb=256 + number))
        assert workload(engine, instance)["Image"] == image
        assert limits_of(engine, instance)["Memory"] == 405 << 20

    @pytest.mark.parametrize("done", [False, True])
    @pytest.mark.parametrize("ends", ["power_on", "reboot", "revert"])
    @pytest.mark.parametrize(
        ("verb", "number"),
        [("inspect_container", n) for n in range(1, 7)]
        + [("update_container", 1), ("start", 1), ("kill", 1), ("remove_container", 1)],
    )
    def test_a_crash_at_any_step_loses_nothing(
        self,
        verb: str,
        number: int,
        ends: str,
        done: bool,
        docker_driver: Any,
        engine: Any,
        instance: Any,
    ) -> None:
        before = set(engine.containers)
        when(engine, verb, number, SystemExit("killed"), done)
        with contextlib.suppress(SystemExit):
            resize(docker_driver, instance, make.flavor(**LARGE))
        setattr(engine, f"_{verb}", getattr(type(engine), f"_{verb}").__get__(engine))
        wanted = LARGE_LIMITS if instance.flavor.memory_mb == 512 else SMALL_LIMITS
        if ends == "revert":
            # As Nova does at its start, or the user.
            instance.flavor, wanted = make.flavor(), SMALL_LIMITS
            docker_driver.finish_revert_migration(CONTEXT, instance, [], None)
        elif ends == "reboot":
            docker_driver.reboot(CONTEXT, instance, [], "HARD")
        else:
            docker_driver.power_off(instance)
            docker_driver.power_on(CONTEXT, instance, [])
        assert limits_of(engine, instance) == wanted
        assert workload(engine, instance)["State"]["Running"]
        assert set(engine.containers) == before

    @pytest.mark.parametrize(
        "change",
        [
            {"extra_specs": {"docker:privileged": "true"}},
            {"root_gb": 6},
        ],
    )
    def test_what_cannot_be_changed_takes_another_container(
        self, change: Any, new_driver: Any, engine: Any, image_meta: Any, option: Any
    ) -> None:
        option("allow_privileged", True)
        engine.quota = True
        docker_driver = new_driver()
        docker_driver.parts.facts.disk_quota = True
        instance = make.instance()
        docker_driver.spawn(CONTEXT, instance, image_meta, [], None, {}, [])
        own = workload(engine, instance)["Id"]
        resize(docker_driver, instance, make.flavor(**change))
        assert engine._find(f"nova-{instance.uuid}-resize")["Id"] == own
        host_config = workload(engine, instance)["HostConfig"]
        assert bool(host_config.get("Privileged")) == ("extra_specs" in change)
        assert host_config["StorageOpt"] == {"size": f"{change.get('root_gb', 5)}G"}
        revert(docker_driver, instance, make.flavor())
        assert engine.names() == names(instance)

    def test_what_the_host_does_not_allow_is_refused_before_it_stops(
        self, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        flavor = make.flavor(extra_specs={"docker:privileged": "true"})
        with pytest.raises(exception.InstanceFaultRollback, match="allow_privileged"):
            leave(docker_driver, instance, flavor)
        assert workload(engine, instance)["State"]["Running"]
        assert "kill" not in engine.calls

    def test_one_of_an_earlier_release_is_made_anew_once(
        self, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        del workload(engine, instance)["Config"]["Labels"]["org.openstack.nova.fixed"]
        resize(docker_driver, instance, make.flavor(**LARGE))
        assert f"nova-{instance.uuid}-resize" in engine.names()
        docker_driver.confirm_migration(CONTEXT, None, instance, [])
        resize(docker_driver, instance, make.flavor())
        assert f"nova-{instance.uuid}-resize" not in engine.names()

    def test_one_that_left_under_an_earlier_release_arrives(
        self, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        make.other_options(docker_driver)
        left = json.loads(leave(docker_driver, instance))
        del left["stays"]
        arrive(docker_driver, instance, make.flavor(**LARGE), json.dumps(left))
        assert limits_of(engine, instance) == LARGE_LIMITS

    def test_a_flavor_that_it_lived_with_does_not_keep_it_from_starting(
        self, docker_driver: Any, engine: Any, instance: Any
    ) -> None:
        docker_driver.power_off(instance)
        instance.flavor = make.flavor(extra_specs={"quota:cpu_quota": "5"})
        docker_driver.power_on(CONTEXT, instance, [])
        assert limits_of(engine, instance) == SMALL_LIMITS


class TestRevert:
    """Of what there is here, only what has come from another host goes."""

    @pytest.fixture
    def instance(self, spawn: Any) -> Any:
        made = spawn(make.instance())
        made.task_state = task_states.RESIZE_REVERTING
        return made

    def test_who_has_come_from_another_host_goes(
        self, docker_driver: Any, engine: Any, instance: Any, migrations: Any
    ) -> None:
        migrations.return_value.source_compute = "another"
        docker_driver.destroy(CONTEXT, instance, [])
        assert engine.names() == set()

    def test_nova_is_asked_for_the_migration_that_is_reverted(
        self, docker_driver: Any, engine: Any, instance: Any, migrations: Any
    ) -> None:
        instance.migration_context = objects.MigrationContext(migration_id=42)
        docker_driver.destroy(CONTEXT, instance, [])
        assert migrations.call_args[0][1] == 42
        assert not workload(engine, instance)["State"]["Running"]

    def test_without_novas_record_nothing_goes(
        self, docker_driver: Any, engine: Any, instance: Any, migrations: Any
    ) -> None:
        migrations.side_effect = exception.MigrationNotFound(migration_id=42)
        with pytest.raises(exception.MigrationNotFound):
            docker_driver.destroy(CONTEXT, instance, [])
        assert engine.names() == names(instance)
        instance.task_state = task_states.DELETING
        docker_driver.destroy(CONTEXT, instance, [])
        assert engine.names() == set()


class TestMigration:
    """Containers that are put aside."""

    @pytest.fixture
    def spawn(self, spawn: Any, docker_driver: Any) -> Any:
        """Whoever is resized has to be made anew."""

        def spawned(instance: Any) -> Any:
            made = spawn(instance)
            make.other_options(docker_driver)
            return made

        return spawned

    def test_resize_on_one_host_confirmed(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        info = docker_driver.migrate_disk_and_power_off(
            None, instance, "192.0.2.1", instance.flavor, []
        )
        assert engine.names() == {f"nova-{instance.uuid}-resize"}
        instance.flavor = make.flavor(memory_mb=512)
        docker_driver.finish_migration(None, None, instance, info, [], None, False, {})
        assert workload(engine, instance)["HostConfig"]["Memory"] == 512 << 20
        assert workload(engine, instance)["State"]["Running"]
        assert docker_driver.parts.workloads.states_by_uuid()[instance.uuid].value == "running"
        docker_driver.confirm_migration(None, None, instance, [])
        assert engine.names() == names(instance)

    def test_resize_on_one_host_reverted(self, docker_driver: Any, spawn: Any, engine: Any) -> None:
        instance = spawn(make.instance())
        info = docker_driver.migrate_disk_and_power_off(None, instance, HOST, instance.flavor, [])
        instance.flavor = make.flavor(memory_mb=512)
        docker_driver.finish_migration(
            None, None, instance, info, [], None, False, {}, power_on=False
        )
        assert not workload(engine, instance)["State"]["Running"]
        instance.task_state = task_states.RESIZE_REVERTING
        docker_driver.destroy(None, instance, [])
        assert engine.names() == {f"nova-{instance.uuid}-resize"}
        instance.flavor = make.flavor()
        docker_driver.finish_revert_migration(None, instance, [], None)
        assert engine.names() == names(instance)
        assert workload(engine, instance)["HostConfig"]["Memory"] == 256 << 20

    def test_images_of_an_instance_that_was_made_anew_twice_go_with_it(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        before = set(engine.images)
        for _ in range(2):
            info = docker_driver.migrate_disk_and_power_off(
                None, instance, HOST, instance.flavor, []
            )
            docker_driver.finish_migration(None, None, instance, info, [], None, False, {})
            make.other_options(docker_driver)
        instance.task_state = task_states.RESIZE_REVERTING
        docker_driver.destroy(None, instance, [])
        # The first image has lost its name to the second, which is gone.
        assert any(not image["RepoTags"] for image in engine.images.values())
        instance.task_state = None
        docker_driver.destroy(None, instance, [])
        assert set(engine.images) == before

    def test_an_instance_that_is_deleted_takes_its_old_self_with_it(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        docker_driver.migrate_disk_and_power_off(None, instance, HOST, instance.flavor, [])
        docker_driver.destroy(None, instance, [])
        assert engine.names() == set()

    def test_one_that_had_not_left_when_nova_compute_was_killed_stays(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        own = workload(engine, instance)["Id"]
        docker_driver.power_off(instance)
        docker_driver.finish_revert_migration(None, instance, [], None, power_on=False)
        assert not workload(engine, instance)["State"]["Running"]
        docker_driver.finish_revert_migration(None, instance, [], None)
        assert workload(engine, instance)["Id"] == own
        assert workload(engine, instance)["State"]["Running"]

    def test_one_that_was_put_aside_when_nova_compute_was_killed_is_rebooted(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        docker_driver.migrate_disk_and_power_off(None, instance, HOST, instance.flavor, [])
        docker_driver.reboot(None, instance, [], "HARD")
        assert engine.names() == names(instance)
        assert workload(engine, instance)["State"]["Running"]

    def test_one_that_cannot_leave_goes_on(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        engine.failing["commit"] = exceptions.EngineError("no space", 500)
        with pytest.raises(exception.InstanceFaultRollback):
            docker_driver.migrate_disk_and_power_off(
                None, instance, "elsewhere", instance.flavor, []
            )
        assert engine.names() == names(instance)
        assert workload(engine, instance)["State"]["Running"]

    def test_a_root_disk_is_not_made_smaller(self, docker_driver: Any, spawn: Any) -> None:
        instance = spawn(make.instance())
        docker_driver.parts.facts.disk_quota = True
        with pytest.raises(exception.InstanceFaultRollback):
            docker_driver.migrate_disk_and_power_off(
                None, instance, HOST, make.flavor(root_gb=1), []
            )

    def test_one_that_cannot_arrive_leaves_nothing_but_its_old_self(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = spawn(make.instance())
        info = docker_driver.migrate_disk_and_power_off(None, instance, HOST, instance.flavor, [])
        engine.failing["commit"] = exceptions.EngineError("no space", 500)
        with pytest.raises(exceptions.EngineError):
            docker_driver.finish_migration(None, None, instance, info, [], None, False, {})
        assert engine.names() == {f"nova-{instance.uuid}-resize"}

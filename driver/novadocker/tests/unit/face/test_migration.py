# SPDX-License-Identifier: Apache-2.0
"""Resize and cold migration, as Nova asks for them."""

from typing import Any

import pytest
from nova import exception
from nova.compute import task_states

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import names, workload
from novadocker.tests.make import HOST


class TestMigration:
    def test_resize_on_one_host_confirmed(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        info = docker_driver.migrate_disk_and_power_off(None, one, "192.0.2.1", one.flavor, [])
        assert engine.names() == {f"nova-{one.uuid}-resize"}
        one.flavor = make.flavor(memory_mb=512)
        docker_driver.finish_migration(None, None, one, info, [], None, False, {})
        assert workload(engine, one)["HostConfig"]["Memory"] == 512 << 20
        assert workload(engine, one)["State"]["Running"]
        assert docker_driver.parts.workloads.states_by_uuid()[one.uuid].value == "running"
        docker_driver.confirm_migration(None, None, one, [])
        assert engine.names() == names(one)

    def test_resize_on_one_host_reverted(self, docker_driver: Any, spawn: Any, engine: Any) -> None:
        one = spawn(make.instance())
        info = docker_driver.migrate_disk_and_power_off(None, one, HOST, one.flavor, [])
        one.flavor = make.flavor(memory_mb=512)
        docker_driver.finish_migration(None, None, one, info, [], None, False, {}, power_on=False)
        assert not workload(engine, one)["State"]["Running"]
        one.task_state = task_states.RESIZE_REVERTING
        docker_driver.destroy(None, one, [])
        assert engine.names() == {f"nova-{one.uuid}-resize"}
        one.flavor = make.flavor()
        docker_driver.finish_revert_migration(None, one, [], None)
        assert engine.names() == names(one)
        assert workload(engine, one)["HostConfig"]["Memory"] == 256 << 20

    def test_images_of_an_instance_that_was_made_anew_twice_go_with_it(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        before = set(engine.images)
        for _ in range(2):
            info = docker_driver.migrate_disk_and_power_off(None, one, HOST, one.flavor, [])
            docker_driver.finish_migration(None, None, one, info, [], None, False, {})
        one.task_state = task_states.RESIZE_REVERTING
        docker_driver.destroy(None, one, [])
        # The first image has lost its name to the second, which is gone.
        assert any(not image["RepoTags"] for image in engine.images.values())
        one.task_state = None
        docker_driver.destroy(None, one, [])
        assert set(engine.images) == before

    def test_an_instance_that_is_deleted_takes_its_old_self_with_it(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        docker_driver.migrate_disk_and_power_off(None, one, HOST, one.flavor, [])
        docker_driver.destroy(None, one, [])
        assert engine.names() == set()

    def test_one_that_had_not_left_when_nova_compute_was_killed_stays(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        own = workload(engine, one)["Id"]
        docker_driver.power_off(one)
        docker_driver.finish_revert_migration(None, one, [], None, power_on=False)
        assert not workload(engine, one)["State"]["Running"]
        docker_driver.finish_revert_migration(None, one, [], None)
        assert workload(engine, one)["Id"] == own
        assert workload(engine, one)["State"]["Running"]

    def test_one_that_was_put_aside_when_nova_compute_was_killed_is_rebooted(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        docker_driver.migrate_disk_and_power_off(None, one, HOST, one.flavor, [])
        docker_driver.reboot(None, one, [], "HARD")
        assert engine.names() == names(one)
        assert workload(engine, one)["State"]["Running"]

    def test_one_that_cannot_leave_goes_on(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        engine.failing["commit"] = exceptions.EngineError("no space", 500)
        with pytest.raises(exception.InstanceFaultRollback):
            docker_driver.migrate_disk_and_power_off(None, one, "elsewhere", one.flavor, [])
        assert engine.names() == names(one)
        assert workload(engine, one)["State"]["Running"]

    def test_a_root_disk_is_not_made_smaller(self, docker_driver: Any, spawn: Any) -> None:
        one = spawn(make.instance())
        docker_driver.parts.facts.disk_quota = True
        with pytest.raises(exception.InstanceFaultRollback):
            docker_driver.migrate_disk_and_power_off(None, one, HOST, make.flavor(root_gb=1), [])

    def test_one_that_cannot_arrive_leaves_nothing_but_its_old_self(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        one = spawn(make.instance())
        info = docker_driver.migrate_disk_and_power_off(None, one, HOST, one.flavor, [])
        engine.failing["commit"] = exceptions.EngineError("no space", 500)
        with pytest.raises(exceptions.EngineError):
            docker_driver.finish_migration(None, None, one, info, [], None, False, {})
        assert engine.names() == {f"nova-{one.uuid}-resize"}

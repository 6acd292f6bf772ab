# SPDX-License-Identifier: Apache-2.0
"""How many requests to the engine an action takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from nova import context
from nova.compute import task_states

from novadocker.tests import make
from novadocker.tests.make import HOST, port

CONTEXT = context.RequestContext("user", "project", is_admin=False)


@pytest.fixture
def counted(engine: Any) -> Callable[[], list[str]]:
    """Return the requests since the last call; a configuration of a host is made without any."""

    def counted() -> list[str]:
        made = [verb for verb in engine.calls if verb != "create_host_config"]
        engine.calls.clear()
        return made

    return counted


@pytest.fixture
def instance(docker_driver: Any, spawn: Any, counted: Any) -> Any:
    docker_driver.parts.sandboxes.ensure_image()
    made = spawn(make.instance(), network_info=[port()])
    counted()
    return made


def test_spawn(docker_driver: Any, spawn: Any, counted: Any) -> None:
    docker_driver.parts.sandboxes.ensure_image()
    counted()
    spawn(make.instance(), network_info=[port()])
    assert len(counted()) == 6


@pytest.mark.parametrize(
    ("reboot_type", "most"),
    [("HARD", 6), ("SOFT", 5)],
)
def test_reboot(
    reboot_type: str, most: int, docker_driver: Any, instance: Any, counted: Any
) -> None:
    docker_driver.reboot(CONTEXT, instance, [port()], reboot_type)
    assert len(counted()) == most


def test_stop_and_start(docker_driver: Any, instance: Any, counted: Any) -> None:
    docker_driver.power_off(instance, timeout=5)
    assert len(counted()) == 3
    docker_driver.power_on(CONTEXT, instance, [port()])
    assert len(counted()) == 3


@pytest.mark.parametrize("running", [True, False])
def test_destroy(running: bool, docker_driver: Any, instance: Any, counted: Any) -> None:
    if not running:
        docker_driver.power_off(instance)
        counted()
    docker_driver.destroy(CONTEXT, instance, [port()])
    assert len(counted()) <= 5


def test_lookups(docker_driver: Any, instance: Any, counted: Any) -> None:
    for look in (
        lambda: docker_driver.get_info(instance),
        docker_driver.list_instance_uuids,
        lambda: docker_driver.get_available_resource(HOST),
        lambda: docker_driver.instance_exists(instance),
    ):
        look()
        assert len(counted()) == 1


def test_resize(docker_driver: Any, instance: Any, counted: Any, migrations: Any) -> None:
    left = docker_driver.migrate_disk_and_power_off(
        CONTEXT, instance, HOST, instance.flavor, [port()]
    )
    instance.flavor = make.flavor(memory_mb=512)
    docker_driver.finish_migration(CONTEXT, None, instance, left, [port()], None, False, {})
    assert len(counted()) <= 12
    instance.task_state = task_states.RESIZE_REVERTING
    docker_driver.destroy(CONTEXT, instance, [port()])
    instance.flavor = make.flavor()
    docker_driver.finish_revert_migration(CONTEXT, instance, [port()], None)
    assert len(counted()) <= 12

# SPDX-License-Identifier: Apache-2.0
"""What is written into an instance, holes included, is measured before the engine writes it out."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from nova import context, exception

from novadocker import exceptions
from novadocker.tests import make
from novadocker.virt.docker.engine import containers, room

CONTEXT = context.RequestContext("admin", "admins", is_admin=True)
TIB = 1 << 40


@pytest.fixture
def one(spawn: Any) -> Any:
    return spawn(make.instance())


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def set_free(size_bytes: int) -> None:
        usage = mock.Mock(free=room.RESERVE_BYTES + size_bytes)
        monkeypatch.setattr(room.shutil, "disk_usage", lambda _path: usage)

    return set_free


def _snapshot(docker_driver: Any, one: Any) -> None:
    docker_driver.snapshot(CONTEXT, one, "image", mock.Mock())


def _resize(docker_driver: Any, one: Any) -> None:
    docker_driver.migrate_disk_and_power_off(CONTEXT, one, "192.0.2.1", one.flavor, [])


def _migrate(docker_driver: Any, one: Any) -> None:
    docker_driver.migrate_disk_and_power_off(CONTEXT, one, "198.51.100.9", one.flavor, [])


def _recreate(docker_driver: Any, one: Any) -> None:
    docker_driver.parts.instances.recreate(one)


def _copy(docker_driver: Any, one: Any) -> None:
    name = containers.workload_name(one.uuid)
    docker_driver.parts.workloads.copy(name, "/", name, "/mnt")


def _copy_back(docker_driver: Any, one: Any) -> None:
    name = containers.workload_name(one.uuid)
    docker_driver.parts.workloads.copy(name, "/mnt", name, "/")


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (_snapshot, exception.ImageUnacceptable),
        (_resize, exception.InstanceFaultRollback),
        (_migrate, exception.InstanceFaultRollback),
        (_recreate, exceptions.ImageRefused),
        (_copy, exceptions.ImageRefused),
        (_copy_back, exceptions.ImageRefused),
    ],
)
def test_a_file_with_a_hole_is_never_written_out(
    act: Callable[[Any, Any], None],
    fault: type[Exception],
    docker_driver: Any,
    engine: Any,
    one: Any,
) -> None:
    engine.size_rw = 16 * TIB
    engine.calls.clear()
    with pytest.raises(fault, match="holes in them included"):
        act(docker_driver, one)
    assert not {"commit", "export", "get_archive", "put_archive", "get_image"} & set(engine.calls)
    # It is what it was, and runs.
    assert engine._find(f"nova-{one.uuid}")["State"]["Running"]


def test_what_fits_to_the_byte_is_committed(
    docker_driver: Any, engine: Any, one: Any, free: Callable[[int], None]
) -> None:
    name = containers.workload_name(one.uuid)
    engine.size_rw = 5000
    free(5000)
    docker_driver.parts.workloads.commit(name, "x", "y", 5000)
    with pytest.raises(exceptions.ImageRefused, match="max_image_size_gb allows 4999"):
        docker_driver.parts.workloads.commit(name, "x", "y", 4999)
    free(4999)
    with pytest.raises(exceptions.ImageRefused, match="its host has space for 4999"):
        docker_driver.parts.workloads.commit(name, "x", "y")


def test_a_copy_of_all_files_takes_those_of_the_image_along(
    docker_driver: Any, engine: Any, one: Any, free: Callable[[int], None]
) -> None:
    name = containers.workload_name(one.uuid)
    free(5500)
    engine.size_rw = 5000
    docker_driver.parts.workloads.require_room(name)
    with pytest.raises(exceptions.ImageRefused, match="have 6000 bytes"):
        docker_driver.parts.workloads.require_room(name, whole=True)

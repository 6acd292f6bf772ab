# SPDX-License-Identifier: Apache-2.0
"""What is written into an instance, holes included, is measured before the engine writes it out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from nova import context, exception, objects
from nova.compute import vm_states

from novadocker import exceptions
from novadocker.tests import make
from novadocker.virt.docker.engine import names, room
from novadocker.virt.docker.host import space

CONTEXT = context.RequestContext("admin", "admins", is_admin=True)
TIB = 1 << 40


def _snapshot(docker_driver: Any, spawned: Any) -> None:
    docker_driver.snapshot(CONTEXT, spawned, "image", mock.Mock())


def _resize(docker_driver: Any, spawned: Any) -> None:
    # Its root disk is to have a limit: it has to be made anew.
    docker_driver.parts.facts.disk_quota = True
    docker_driver.migrate_disk_and_power_off(CONTEXT, spawned, "192.0.2.1", spawned.flavor, [])


def _migrate(docker_driver: Any, spawned: Any) -> None:
    docker_driver.migrate_disk_and_power_off(CONTEXT, spawned, "198.51.100.9", spawned.flavor, [])


def _recreate(docker_driver: Any, spawned: Any) -> None:
    docker_driver.parts.instances.recreate(spawned)


def _rescue(docker_driver: Any, spawned: Any) -> None:
    docker_driver.rescue(CONTEXT, spawned, [], objects.ImageMeta.from_dict({}), "", None)


def _unrescue(docker_driver: Any, spawned: Any) -> None:
    engine = docker_driver.parts.engine
    engine.size_rw, size = 0, engine.size_rw
    _rescue(docker_driver, spawned)
    rescuing = engine._find(f"nova-{spawned.uuid}")["Id"]
    engine.size_rw = size
    engine.calls.clear()
    try:
        docker_driver.unrescue(CONTEXT, spawned)
    finally:
        # What was repaired is there still.
        assert engine._find(f"nova-{spawned.uuid}")["Id"] == rescuing


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (_snapshot, exception.ImageUnacceptable),
        (_resize, exception.InstanceFaultRollback),
        (_migrate, exception.InstanceFaultRollback),
        (_recreate, exceptions.HostFull),
        (_rescue, exception.ComputeResourcesUnavailable),
        (_unrescue, exception.ComputeResourcesUnavailable),
    ],
)
def test_a_file_with_a_hole_is_never_written_out(
    act: Callable[[Any, Any], None],
    fault: type[Exception],
    docker_driver: Any,
    engine: Any,
    spawned: Any,
) -> None:
    engine.size_rw = 16 * TIB
    engine.calls.clear()
    with pytest.raises(fault, match="holes in them included"):
        act(docker_driver, spawned)
    assert not {"commit", "export", "get_archive", "put_archive", "get_image"} & set(engine.calls)
    # It is what it was, and runs.
    assert engine._find(f"nova-{spawned.uuid}")["State"]["Running"]


def test_what_fits_to_the_byte_is_committed(
    docker_driver: Any, engine: Any, spawned: Any, leave_free: Callable[[int], None]
) -> None:
    name = names.workload_name(spawned.uuid)
    engine.size_rw = 5000
    leave_free(5000)
    docker_driver.parts.workloads.commit(name, "x", "y", 5000)
    with pytest.raises(exceptions.ImageRefused, match="max_image_size_gb allows 4999"):
        docker_driver.parts.workloads.commit(name, "x", "y", 4999)
    leave_free(4999)
    with pytest.raises(exceptions.HostFull, match="its host has space for 4999"):
        docker_driver.parts.workloads.commit(name, "x", "y")


def test_a_copy_of_all_files_takes_those_of_the_image_along(
    docker_driver: Any, engine: Any, spawned: Any, leave_free: Callable[[int], None]
) -> None:
    name = names.workload_name(spawned.uuid)
    leave_free(5500)
    engine.size_rw = 5000
    docker_driver.parts.workloads.room.require(name)
    with pytest.raises(exceptions.HostFull, match="have 6000 bytes"):
        docker_driver.parts.workloads.room.require(name, whole=True)


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("state", ["running", "paused", "exited"])
def test_it_is_frozen_while_it_is_measured_and_committed(
    state: str, fits: bool, docker_driver: Any, engine: Any, spawned: Any
) -> None:
    name = names.workload_name(spawned.uuid)
    container = engine._find(name)
    engine._set(container, state)
    engine.size_rw = 5000
    frozen = []
    listed, commit = engine._containers, engine._commit
    engine._containers = lambda **asked: [
        frozen.append(container["State"]["Status"]),
        listed(**asked),
    ][1]
    engine._commit = lambda *args, **asked: [
        frozen.append(container["State"]["Status"]),
        commit(*args, **asked),
    ][1]
    with contextlib.nullcontext() if fits else pytest.raises(exceptions.ImageRefused):
        docker_driver.parts.workloads.commit(name, "x", "y", 5000 if fits else 4999)
    assert set(frozen) == {"exited" if state == "exited" else "paused"}
    assert len(frozen) == 1 + fits
    assert container["State"]["Status"] == state


def test_what_a_crash_has_left_frozen_runs_again(
    docker_driver: Any, engine: Any, spawned: Any
) -> None:
    container = engine._find(names.workload_name(spawned.uuid))
    for believed, then in ((vm_states.PAUSED, "paused"), (vm_states.ACTIVE, "running")):
        engine._set(container, "paused")
        spawned.vm_state = believed
        docker_driver.plug_vifs(spawned, [])
        assert container["State"]["Status"] == then


def test_an_instance_that_is_nowhere_else_needs_no_reserve(
    docker_driver: Any, engine: Any, spawned: Any, leave_free: Callable[[int], None]
) -> None:
    leave_free(5000 - space.RESERVE_BYTES)
    engine.size_rw = 5000
    _recreate(docker_driver, spawned)
    with pytest.raises(exception.ComputeResourcesUnavailable, match="operator has to make space"):
        _snapshot(docker_driver, spawned)
    engine.size_rw = 5001
    with pytest.raises(exceptions.HostFull, match="its host has space for 5000"):
        _recreate(docker_driver, spawned)


def test_a_rescue_begins_only_where_it_can_end(
    docker_driver: Any, engine: Any, spawned: Any, leave_free: Callable[[int], None]
) -> None:
    leave_free(11_999)
    engine.size_rw = 5000
    engine.calls.clear()
    with pytest.raises(exception.ComputeResourcesUnavailable, match="operator has to make space"):
        _rescue(docker_driver, spawned)
    assert not {"stop", "kill"} & set(engine.calls)
    leave_free(12_000)
    _rescue(docker_driver, spawned)
    # The copy has taken its part; of the reserve, too.
    leave_free(5000 - space.RESERVE_BYTES)
    docker_driver.unrescue(CONTEXT, spawned)
    assert engine._find(f"nova-{spawned.uuid}")["State"]["Running"]


def test_a_data_directory_that_is_not_seen_is_measured_where_it_would_be(
    engine: Any, spawned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = mock.Mock()
    monkeypatch.setattr(room.LOG, "warning", warning)
    measured = room.Room(engine, str(tmp_path / "not" / "here"))
    identity = engine._find(f"nova-{spawned.uuid}")["Id"]
    measured.require(identity)
    measured.require(identity)
    ((_text, told),) = [call.args for call in warning.mock_calls]
    assert told["seen"] == str(tmp_path)


def test_a_data_directory_that_cannot_be_read_is_named_with_its_option(
    engine: Any, spawned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", mock.Mock(side_effect=PermissionError("no")))
    with pytest.raises(exceptions.DriverError, match=r"\[docker\]root_directory"):
        room.Room(engine, None).require(engine._find(f"nova-{spawned.uuid}")["Id"])


def test_a_commit_has_its_space_until_it_is_done(
    docker_driver: Any, engine: Any, spawned: Any, leave_free: Callable[[int], None]
) -> None:
    name = names.workload_name(spawned.uuid)
    leave_free(8000)
    engine.size_rw = 5000
    commit = engine._commit

    def during(*args: Any, **asked: Any) -> Any:
        with pytest.raises(exceptions.HostFull, match="has space for 3000"):
            docker_driver.parts.workloads.room.require(name)
        return commit(*args, **asked)

    engine._commit = during
    docker_driver.parts.workloads.commit(name, "x", "y")
    docker_driver.parts.workloads.room.require(name)


def test_a_copy_of_a_rescue_has_its_space_until_it_is_done(
    docker_driver: Any, engine: Any, spawned: Any, leave_free: Callable[[int], None]
) -> None:
    leave_free(12_000)
    engine.size_rw = 5000
    put, seen = engine._put_archive, []

    def during(*args: Any) -> Any:
        seen.append(space.LEDGER.left("/"))
        return put(*args)

    engine._put_archive = during
    _rescue(docker_driver, spawned)
    assert set(seen) == {0}
    assert space.LEDGER.left("/") == 12_000


def test_a_snapshot_is_reserved_where_the_engine_copies_it_and_where_it_is_spooled(
    docker_driver: Any, engine: Any, spawned: Any, leave_free: Callable[[int], None]
) -> None:
    commit = engine._commit

    def committed(*args: Any, **asked: Any) -> Any:
        made = commit(*args, **asked)
        engine.images[made["Id"]]["Size"] = 7000
        return made

    engine._commit = committed
    engine.calls.clear()
    leave_free(6999)
    with pytest.raises(exception.ComputeResourcesUnavailable, match="a copy of the snapshot takes"):
        _snapshot(docker_driver, spawned)
    leave_free(13_999)
    with pytest.raises(exception.ComputeResourcesUnavailable, match="has 7000 bytes"):
        _snapshot(docker_driver, spawned)
    assert "get_image" not in engine.calls


def test_a_host_without_space_is_not_blamed_on_the_image(
    engine: Any, new_driver: Any, leave_free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nova tries another host after ComputeResourcesUnavailable, and none after the others."""
    engine.images.clear()
    leave_free(10)
    with pytest.raises(exception.ComputeResourcesUnavailable, match="has 10 left"):
        new_driver().spawn(None, make.instance(), make.image_meta(), [], None, {}, [])

# SPDX-License-Identifier: Apache-2.0
"""What is written into an instance, holes included, is measured before the engine writes it out."""

import contextlib
import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from nova import context, exception, objects
from nova.compute import vm_states

from novadocker import exceptions
from novadocker.tests import make
from novadocker.virt.docker.engine import names, room

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
        monkeypatch.setattr(room, "_used_files", lambda _directory: 0)

    return set_free


def _snapshot(docker_driver: Any, one: Any) -> None:
    docker_driver.snapshot(CONTEXT, one, "image", mock.Mock())


def _resize(docker_driver: Any, one: Any) -> None:
    # Its root disk is to have a limit: it has to be made anew.
    docker_driver.parts.facts.disk_quota = True
    docker_driver.migrate_disk_and_power_off(CONTEXT, one, "192.0.2.1", one.flavor, [])


def _migrate(docker_driver: Any, one: Any) -> None:
    docker_driver.migrate_disk_and_power_off(CONTEXT, one, "198.51.100.9", one.flavor, [])


def _recreate(docker_driver: Any, one: Any) -> None:
    docker_driver.parts.instances.recreate(one)


def _rescue(docker_driver: Any, one: Any) -> None:
    docker_driver.rescue(CONTEXT, one, [], objects.ImageMeta.from_dict({}), "", None)


def _unrescue(docker_driver: Any, one: Any) -> None:
    engine = docker_driver.parts.engine
    engine.size_rw, size = 0, engine.size_rw
    _rescue(docker_driver, one)
    rescuing = engine._find(f"nova-{one.uuid}")["Id"]
    engine.size_rw = size
    engine.calls.clear()
    try:
        docker_driver.unrescue(CONTEXT, one)
    finally:
        # What was repaired is there still.
        assert engine._find(f"nova-{one.uuid}")["Id"] == rescuing


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
    name = names.workload_name(one.uuid)
    engine.size_rw = 5000
    free(5000)
    docker_driver.parts.workloads.commit(name, "x", "y", 5000)
    with pytest.raises(exceptions.ImageRefused, match="max_image_size_gb allows 4999"):
        docker_driver.parts.workloads.commit(name, "x", "y", 4999)
    free(4999)
    with pytest.raises(exceptions.HostFull, match="its host has space for 4999"):
        docker_driver.parts.workloads.commit(name, "x", "y")


def test_a_copy_of_all_files_takes_those_of_the_image_along(
    docker_driver: Any, engine: Any, one: Any, free: Callable[[int], None]
) -> None:
    name = names.workload_name(one.uuid)
    free(5500)
    engine.size_rw = 5000
    docker_driver.parts.workloads.room.require(name)
    with pytest.raises(exceptions.HostFull, match="have 6000 bytes"):
        docker_driver.parts.workloads.room.require(name, whole=True)


@pytest.mark.parametrize("size", [-1, None])
def test_what_the_engine_cannot_measure_is_refused(
    size: int | None, docker_driver: Any, engine: Any, one: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.size_rw = size or 0
    if size is None:
        monkeypatch.setattr(engine, "_containers", lambda **_asked: [{}])
    with pytest.raises(exceptions.ImageRefused, match="engine cannot tell"):
        docker_driver.parts.workloads.room.require(f"nova-{one.uuid}", 20 << 30)


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("state", ["running", "paused", "exited"])
def test_it_is_frozen_while_it_is_measured_and_committed(
    state: str, fits: bool, docker_driver: Any, engine: Any, one: Any
) -> None:
    name = names.workload_name(one.uuid)
    found = engine._find(name)
    engine._set(found, state)
    engine.size_rw = 5000
    frozen = []
    listed, commit = engine._containers, engine._commit
    engine._containers = lambda **asked: [frozen.append(found["State"]["Status"]), listed(**asked)][
        1
    ]
    engine._commit = lambda *args, **asked: [
        frozen.append(found["State"]["Status"]),
        commit(*args, **asked),
    ][1]
    with contextlib.nullcontext() if fits else pytest.raises(exceptions.ImageRefused):
        docker_driver.parts.workloads.commit(name, "x", "y", 5000 if fits else 4999)
    assert set(frozen) == {"exited" if state == "exited" else "paused"}
    assert len(frozen) == 1 + fits
    assert found["State"]["Status"] == state


def test_what_a_crash_has_left_frozen_runs_again(docker_driver: Any, engine: Any, one: Any) -> None:
    found = engine._find(names.workload_name(one.uuid))
    for believed, then in ((vm_states.PAUSED, "paused"), (vm_states.ACTIVE, "running")):
        engine._set(found, "paused")
        one.vm_state = believed
        docker_driver.plug_vifs(one, [])
        assert found["State"]["Status"] == then


def test_an_instance_that_is_nowhere_else_needs_no_reserve(
    docker_driver: Any, engine: Any, one: Any, free: Callable[[int], None]
) -> None:
    free(5000 - room.RESERVE_BYTES)
    engine.size_rw = 5000
    _recreate(docker_driver, one)
    with pytest.raises(exception.ComputeResourcesUnavailable, match="operator has to make space"):
        _snapshot(docker_driver, one)
    engine.size_rw = 5001
    with pytest.raises(exceptions.HostFull, match="its host has space for 5000"):
        _recreate(docker_driver, one)


def test_a_rescue_begins_only_where_it_can_end(
    docker_driver: Any, engine: Any, one: Any, free: Callable[[int], None]
) -> None:
    free(11_999)
    engine.size_rw = 5000
    engine.calls.clear()
    with pytest.raises(exception.ComputeResourcesUnavailable, match="operator has to make space"):
        _rescue(docker_driver, one)
    assert not {"stop", "kill"} & set(engine.calls)
    free(12_000)
    _rescue(docker_driver, one)
    # The copy has taken its part; of the reserve, too.
    free(5000 - room.RESERVE_BYTES)
    docker_driver.unrescue(CONTEXT, one)
    assert engine._find(f"nova-{one.uuid}")["State"]["Running"]


def test_with_the_store_of_containerd_the_files_are_counted_as_they_are_written(
    docker_driver: Any, engine: Any, one: Any, free: Callable[[int], None]
) -> None:
    engine.driver_status = [["driver-type", "io.containerd.snapshotter.v1"]]
    read = []

    def export(_name: str) -> Any:
        for _ in range(1000):
            read.append(1000)
            yield b"\0" * 1000

    engine._export = export
    free(1_000_000)
    name = names.workload_name(one.uuid)
    docker_driver.parts.workloads.room.require(name)
    read.clear()
    with pytest.raises(exceptions.ImageRefused, match="holes in them included"):
        docker_driver.parts.workloads.room.require(name, 5000)
    assert sum(read) == 6000


def test_a_data_directory_that_is_not_seen_is_measured_where_it_would_be(
    engine: Any, one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = mock.Mock()
    monkeypatch.setattr(room.LOG, "warning", warning)
    measured = room.Room(engine, str(tmp_path / "not" / "here"))
    identity = engine._find(f"nova-{one.uuid}")["Id"]
    measured.require(identity)
    measured.require(identity)
    ((_text, told),) = [call.args for call in warning.mock_calls]
    assert told["seen"] == str(tmp_path)


def test_a_data_directory_that_cannot_be_read_is_named_with_its_option(
    engine: Any, one: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", mock.Mock(side_effect=PermissionError("no")))
    with pytest.raises(exceptions.DriverError, match=r"\[docker\]root_directory"):
        room.Room(engine, None).require(engine._find(f"nova-{one.uuid}")["Id"])


def _claim(directory: Path, size_bytes: int, **more: Any) -> room.Claim:
    return room.Claim(str(directory), size_bytes, lambda left: f"{left} left", **more)


def test_space_is_given_away_once(tmp_path: Path, free: Callable[[int], None]) -> None:
    free(100)
    ledger = room.Ledger()
    one = _claim(tmp_path, 60)
    with ledger.hold(one):
        with pytest.raises(exceptions.HostFull, match="40 left"):
            ledger.hold(_claim(tmp_path, 41)).__enter__()
        # What has been written is not free any more, and not awaited either.
        one.written_bytes = 10
        free(90)
        with ledger.hold(_claim(tmp_path, 40)):
            assert ledger.left(str(tmp_path)) == 0
    assert ledger.left(str(tmp_path)) == 90


def test_claims_of_one_who_has_too_little_are_given_back(
    tmp_path: Path, free: Callable[[int], None]
) -> None:
    free(100)
    ledger = room.Ledger()
    with (
        pytest.raises(exceptions.HostFull, match="40 left"),
        ledger.hold(_claim(tmp_path, 60), _claim(tmp_path, 41)),
    ):
        pass
    assert ledger.left(str(tmp_path)) == 100


def test_other_file_systems_are_counted_apart(
    tmp_path: Path, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    free(100)
    ledger = room.Ledger()
    other = _claim(tmp_path, 60)
    other.device += 1
    with ledger.hold(other):
        assert ledger.left(str(tmp_path)) == 100


def test_threads_that_ask_at_once_get_no_more_than_there_is(
    tmp_path: Path, free: Callable[[int], None]
) -> None:
    free(100)
    ledger = room.Ledger()
    all_asked = threading.Barrier(20)

    def ask() -> bool:
        try:
            with ledger.hold(_claim(tmp_path, 30)):
                all_asked.wait(30)
                return True
        except exceptions.HostFull:
            all_asked.wait(30)
            return False

    with futures.ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(lambda _number: ask(), range(20))) == 3
    assert ledger.left(str(tmp_path)) == 100


def test_files_take_more_than_what_is_in_them(
    docker_driver: Any,
    engine: Any,
    one: Any,
    free: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine says bytes; a million files of one byte each take 5 GB of a disk."""
    name = names.workload_name(one.uuid)
    engine.size_rw = 5000
    free(5000 + 1000 * room.FILE_BYTES)
    monkeypatch.setattr(room, "_used_files", lambda _directory: 1000)
    engine.calls.clear()
    docker_driver.parts.workloads.room.require(name)
    assert "export" not in engine.calls
    # Most of them are of somebody else: those in the container are counted, at 512 bytes a header.
    monkeypatch.setattr(room, "_used_files", lambda _directory: 1001)
    engine._export = lambda _name: [b"\0" * (6000 + 999 * 512 + 511)]
    docker_driver.parts.workloads.room.require(name)
    engine._export = lambda _name: [b"\0" * (6000 + 1001 * 512)]
    with pytest.raises(exceptions.HostFull, match=r"have 5000 bytes.* and take up to \d+ more"):
        docker_driver.parts.workloads.room.require(name)


def test_a_file_system_that_counts_no_files_has_them_counted(
    docker_driver: Any, engine: Any, one: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = {"f_frsize": 4096, "f_blocks": 1 << 30, "f_bfree": 1 << 30, "f_bavail": 1 << 30}
    counted = mock.Mock(f_files=0, f_ffree=0, **blocks)
    monkeypatch.setattr(room.os, "statvfs", lambda _directory: counted)
    engine.calls.clear()
    docker_driver.parts.workloads.room.require(names.workload_name(one.uuid))
    assert "export" in engine.calls


def test_a_commit_has_its_space_until_it_is_done(
    docker_driver: Any, engine: Any, one: Any, free: Callable[[int], None]
) -> None:
    name = names.workload_name(one.uuid)
    free(8000)
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
    docker_driver: Any, engine: Any, one: Any, free: Callable[[int], None]
) -> None:
    free(12_000)
    engine.size_rw = 5000
    put, seen = engine._put_archive, []

    def during(*args: Any) -> Any:
        seen.append(room.LEDGER.left("/"))
        return put(*args)

    engine._put_archive = during
    _rescue(docker_driver, one)
    assert set(seen) == {0}
    assert room.LEDGER.left("/") == 12_000


def test_a_snapshot_is_reserved_where_the_engine_copies_it_and_where_it_is_spooled(
    docker_driver: Any, engine: Any, one: Any, free: Callable[[int], None]
) -> None:
    commit = engine._commit

    def committed(*args: Any, **asked: Any) -> Any:
        made = commit(*args, **asked)
        engine.images[made["Id"]]["Size"] = 7000
        return made

    engine._commit = committed
    engine.calls.clear()
    free(6999)
    with pytest.raises(exception.ComputeResourcesUnavailable, match="a copy of the snapshot takes"):
        _snapshot(docker_driver, one)
    free(13_999)
    with pytest.raises(exception.ComputeResourcesUnavailable, match="has 7000 bytes"):
        _snapshot(docker_driver, one)
    assert "get_image" not in engine.calls


def test_a_host_without_space_is_not_blamed_on_the_image(
    engine: Any, new_driver: Any, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nova tries another host after ComputeResourcesUnavailable, and none after the others."""
    engine.images.clear()
    free(10)
    with pytest.raises(exception.ComputeResourcesUnavailable, match="has 10 left"):
        new_driver().spawn(None, make.instance(), make.image_meta(), [], None, {}, [])

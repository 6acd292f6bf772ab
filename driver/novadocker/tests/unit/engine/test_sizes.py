# SPDX-License-Identifier: Apache-2.0
"""The size of a container's files is what the engine writes: holes, inodes and last blocks too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from novadocker import exceptions
from novadocker.virt.docker.engine import names, sizes


@pytest.mark.parametrize("size", [-1, None])
def test_what_the_engine_cannot_measure_is_refused(
    size: int | None, docker_driver: Any, engine: Any, spawned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.size_rw = size or 0
    if size is None:
        monkeypatch.setattr(engine, "_containers", lambda **_asked: [{}])
    with pytest.raises(exceptions.ImageRefused, match="engine cannot tell"):
        docker_driver.parts.workloads.room.require(f"nova-{spawned.uuid}", 20 << 30)


def test_with_the_store_of_containerd_the_files_are_counted_as_they_are_written(
    docker_driver: Any, engine: Any, spawned: Any, leave_free: Callable[[int], None]
) -> None:
    engine.driver_status = [["driver-type", "io.containerd.snapshotter.v1"]]
    read = []

    def export(_name: str) -> Any:
        for _ in range(1000):
            read.append(1000)
            yield b"\0" * 1000

    engine._export = export
    leave_free(1_000_000)
    name = names.workload_name(spawned.uuid)
    docker_driver.parts.workloads.room.require(name)
    read.clear()
    with pytest.raises(exceptions.ImageRefused, match="holes in them included"):
        docker_driver.parts.workloads.room.require(name, 5000)
    assert sum(read) == 6000


def test_files_take_more_than_what_is_in_them(
    docker_driver: Any,
    engine: Any,
    spawned: Any,
    leave_free: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine says bytes; a million files of one byte each take 5 GB of a disk."""
    name = names.workload_name(spawned.uuid)
    engine.size_rw = 5000
    leave_free(5000 + 1000 * sizes.FILE_BYTES)
    monkeypatch.setattr(sizes, "_used_files", lambda _directory: 1000)
    engine.calls.clear()
    docker_driver.parts.workloads.room.require(name)
    assert "export" not in engine.calls
    # Most of them are of somebody else: those in the container are counted, at 512 bytes a header.
    monkeypatch.setattr(sizes, "_used_files", lambda _directory: 1001)
    engine._export = lambda _name: [b"\0" * (6000 + 999 * 512 + 511)]
    docker_driver.parts.workloads.room.require(name)
    engine._export = lambda _name: [b"\0" * (6000 + 1001 * 512)]
    with pytest.raises(exceptions.HostFull, match=r"have 5000 bytes.* and take up to \d+ more"):
        docker_driver.parts.workloads.room.require(name)


def test_a_file_system_that_counts_no_files_has_them_counted(
    docker_driver: Any, engine: Any, spawned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = {"f_frsize": 4096, "f_blocks": 1 << 30, "f_bfree": 1 << 30, "f_bavail": 1 << 30}
    counted = mock.Mock(f_files=0, f_ffree=0, **blocks)
    monkeypatch.setattr(sizes.os, "statvfs", lambda _directory: counted)
    engine.calls.clear()
    docker_driver.parts.workloads.room.require(names.workload_name(spawned.uuid))
    assert "export" in engine.calls

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from novadocker import exceptions
from novadocker.virt.docker.host import space
from novadocker.virt.docker.images import spool

MIB = 1 << 20


@pytest.fixture
def place(tmp_path: Path) -> spool.Spool:
    return spool.Spool(str(tmp_path / "shared"), "host.example/7")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def set_free(size_bytes: int) -> None:
        monkeypatch.setattr(spool.shutil, "disk_usage", lambda _path: mock.Mock(free=size_bytes))

    return set_free


def test_what_others_have_in_the_same_directory_is_left_alone(
    place: spool.Spool, tmp_path: Path
) -> None:
    others = (tmp_path / "shared" / "instances" / "x", tmp_path / "shared" / "novadocker-other")
    for directory in others:
        directory.mkdir(parents=True)
        (directory / "data").write_text("precious")
    ours = tmp_path / "shared" / "novadocker-host.example_7"
    (ours / "left").mkdir(parents=True)
    place.clean()
    assert [(directory / "data").read_text() for directory in others] == ["precious"] * 2
    assert list(ours.iterdir()) == []
    assert sorted(os.listdir(tmp_path / "shared")) == [
        "instances",
        "novadocker-host.example_7",
        "novadocker-other",
    ]


def test_it_is_made_for_nobody_else(place: spool.Spool) -> None:
    place.clean()
    assert os.stat(place.path).st_mode & 0o777 == 0o700


def test_a_link_in_its_place_is_not_followed(place: spool.Spool, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").mkdir()
    (tmp_path / "shared").mkdir()
    os.symlink(tmp_path / "precious", place.path)
    with pytest.raises(exceptions.DriverError, match="not nova-compute's own"):
        place.clean()
    assert (tmp_path / "precious" / "data").exists()


def test_a_directory_of_somebody_elses_is_not_used(
    place: spool.Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool.os, "geteuid", lambda: 12345)
    with pytest.raises(exceptions.DriverError, match="not nova-compute's own"), place.lend():
        pass


def test_what_is_lent_is_deleted_whatever_happens(place: spool.Spool) -> None:
    with pytest.raises(RuntimeError), place.lend() as directory:
        Path(directory, "file").write_text("x")
        raise RuntimeError
    assert os.listdir(place.path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_the_hosts_matter(code: int, place: spool.Spool) -> None:
    with pytest.raises(exceptions.HostFull, match="no space for it in"), place.lend():
        raise OSError(code, "full")
    assert os.listdir(place.path) == []


def test_other_faults_of_a_disk_are_none(place: spool.Spool) -> None:
    with pytest.raises(PermissionError), place.lend():
        raise PermissionError(errno.EACCES, "no")


def test_a_reserve_is_left_and_nothing_is_promised_twice(
    place: spool.Spool, free: Any, tmp_path: Path
) -> None:
    free(space.RESERVE_BYTES + 100)
    first, two = str(tmp_path / "one"), str(tmp_path / "two")
    with place.promise(first, 60):
        with pytest.raises(exceptions.HostFull, match=r"has 41 bytes and .* has 40 left"):
            place.promise(two, 41).__enter__()
        with place.promise(two, 40):
            pass
        # What has come already is no longer awaited.
        Path(first).write_bytes(b"x" * 50)
        free(space.RESERVE_BYTES + 50)
        with place.promise(two, 40):
            pass
    with place.promise(two, 50):
        pass
    free(0)
    with pytest.raises(exceptions.HostFull, match="has 0 left"), place.promise(two, 1):
        pass


def test_all_promises_are_kept(place: spool.Spool, free: Any, tmp_path: Path) -> None:
    free(space.RESERVE_BYTES + 100)
    first, two, three = (str(tmp_path / name) for name in ("one", "two", "three"))
    # One that is larger than Glance said takes nothing from the others twice.
    Path(three).write_bytes(b"x" * 50)
    with place.promise(first, 30), place.promise(two, 30), place.promise(three, 1):
        with pytest.raises(exceptions.HostFull, match="has 40 left"):
            place.promise(str(tmp_path / "four"), 41).__enter__()
        with place.promise(str(tmp_path / "four"), 40):
            pass


def test_a_bomb_ends_where_the_space_of_the_others_begins(
    place: spool.Spool, free: Any, tmp_path: Path
) -> None:
    path = tmp_path / "bomb"

    def parts() -> Any:
        while True:
            free(space.RESERVE_BYTES + 5 * MIB - (path.stat().st_size if path.exists() else 0))
            yield b"\0" * MIB

    place.clean()
    refused = pytest.raises(exceptions.HostFull, match=r"no space for it: .* after 3145728 by")
    with place.promise(str(tmp_path / "other"), 2 * MIB), refused:
        place.write(str(path), parts(), 100 * MIB, "it")
    assert path.stat().st_size == 3 * MIB


def test_up_to_its_limit_a_file_is_written(place: spool.Spool, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    place.clean()
    place.write(path, [b"123", b"45"], 5, "it")
    assert Path(path).read_bytes() == b"12345"
    with pytest.raises(exceptions.ImageRefused, match="it has more than the 4 bytes"):
        place.write(path, [b"123", b"45"], 4, "it")

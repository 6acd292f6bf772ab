# SPDX-License-Identifier: Apache-2.0
"""Space on a file system is claimed, and never given away twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from novadocker import exceptions
from novadocker.virt.docker.host import space


def _claim(directory: Path, size_bytes: int, **more: Any) -> space.Claim:
    return space.Claim(str(directory), size_bytes, lambda left: f"{left} left", **more)


def test_space_is_given_away_once(tmp_path: Path, leave_free: Callable[[int], None]) -> None:
    leave_free(100)
    ledger = space.Ledger()
    held = _claim(tmp_path, 60)
    with ledger.hold(held):
        with pytest.raises(exceptions.HostFull, match="40 left"):
            ledger.hold(_claim(tmp_path, 41)).__enter__()
        # What has been written is not free any more, and not awaited either.
        held.written_bytes = 10
        leave_free(90)
        with ledger.hold(_claim(tmp_path, 40)):
            assert ledger.left(str(tmp_path)) == 0
    assert ledger.left(str(tmp_path)) == 90


def test_claims_of_one_who_has_too_little_are_given_back(
    tmp_path: Path, leave_free: Callable[[int], None]
) -> None:
    leave_free(100)
    ledger = space.Ledger()
    with (
        pytest.raises(exceptions.HostFull, match="40 left"),
        ledger.hold(_claim(tmp_path, 60), _claim(tmp_path, 41)),
    ):
        pass
    assert ledger.left(str(tmp_path)) == 100


def test_other_file_systems_are_counted_apart(
    tmp_path: Path, leave_free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_free(100)
    ledger = space.Ledger()
    other = _claim(tmp_path, 60)
    other.device += 1
    with ledger.hold(other):
        assert ledger.left(str(tmp_path)) == 100


def test_threads_that_ask_at_once_get_no_more_than_there_is(
    tmp_path: Path, leave_free: Callable[[int], None]
) -> None:
    leave_free(100)
    ledger = space.Ledger()
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

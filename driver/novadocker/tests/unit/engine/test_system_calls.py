# SPDX-License-Identifier: Apache-2.0
"""What an engine's own filter of system calls lacks."""

from __future__ import annotations

from typing import Any

import pytest

from novadocker.virt.docker.engine import system_calls

INFO = {"SecurityOptions": ["name=seccomp,profile=default"]}


def told(version: str, runc: str = "1.1.5+ds1", profile: str = "engine") -> list[str]:
    """Return what is told, by the word that it is known by."""
    answer: dict[str, Any] = {"Version": version}
    if runc:
        answer["Components"] = [{"Name": "Engine"}, {"Name": "runc", "Version": runc}]
    words = ("clone3", "io_uring", "runc")
    lacks = system_calls.lacks(answer, INFO, profile)
    return [word for lack in lacks for word in words if word in lack.told]


@pytest.mark.parametrize(
    ("version", "lacking"),
    [
        ("20.10.5+dfsg1", ["clone3", "io_uring"]),
        ("20.10.9", ["clone3", "io_uring"]),
        ("20.10.10", ["io_uring"]),
        ("20.10.24+dfsg1", ["io_uring"]),
        ("24.0.9", ["io_uring"]),
        ("25.0.0-rc.1", []),
        ("29.1.0", []),
    ],
)
def test_an_engine_is_as_old_as_its_filter(version: str, lacking: list[str]) -> None:
    assert told(version) == lacking
    # That of the driver's is as old as the driver.
    assert "io_uring" not in told(version, profile="own")
    # A profile of the operator's is not the engine's.
    assert told(version, profile="/etc/profile.json") == []


@pytest.mark.parametrize(
    ("runc", "lacking"),
    [
        ("1.0.0-rc92", ["runc"]),
        ("1.0.0~rc92+ds1-5", ["runc"]),
        ("0.1.1", ["runc"]),
        ("1.0.0-rc93", []),
        ("1.0.0~rc93+ds1-5+deb11u5", []),
        ("1.0.0", []),
        ("", []),
    ],
)
def test_new_system_calls_are_runcs(runc: str, lacking: list[str]) -> None:
    assert told("29.0.0", runc) == lacking
    assert told("29.0.0", runc, profile="/etc/profile.json") == lacking


def test_no_filter_at_all_is_told_alone() -> None:
    (lack,) = system_calls.lacks({"Version": "20.10.5"}, {"SecurityOptions": []}, "own")
    assert "does not filter" in lack.told

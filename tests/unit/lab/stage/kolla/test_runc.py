# SPDX-License-Identifier: Apache-2.0
"""Containers get what the host has, where all there is was asked for."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from lab.stage.kolla.onhost import runc

HAD = frozenset({"CAP_CHOWN", "CAP_SYS_ADMIN"})


def process() -> dict[str, Any]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "effective": ["CAP_CHOWN"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": most + 1, "soft": most + 1}],
    }


def test_what_the_host_lacks_is_taken_away() -> None:
    asked = process()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    runc.trim(asked, HAD)
    assert asked["capabilities"] == {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]}
    assert asked["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": most, "soft": most}]


@pytest.mark.parametrize("option", ["--bundle", "--process"])
def test_containers_and_programs_in_them_are_trimmed(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _program, argv: called.append(argv))
    granted = tmp_path / "capabilities"
    granted.write_text("\n".join(HAD))
    monkeypatch.setattr(runc, "GRANTED", granted)
    described = tmp_path / "config.json"
    record = process()
    described.write_text(json.dumps({"process": record} if option == "--bundle" else record))
    place = tmp_path if option == "--bundle" else described

    runc.main(["--root", "/run", "create", option, str(place), "id"])

    trimmed = json.loads(described.read_text())
    assert trimmed.get("process", trimmed)["capabilities"]["bounding"] == ["CAP_CHOWN"]
    assert called == [[runc.RUNC, "--root", "/run", "create", option, str(place), "id"]]


def test_what_starts_nothing_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _program, argv: called.append(argv))
    runc.main(["--version"])
    assert called == [[runc.RUNC, "--version"]]

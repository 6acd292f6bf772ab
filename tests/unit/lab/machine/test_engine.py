# SPDX-License-Identifier: Apache-2.0
"""When the machine's engine is used, installed or started."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from collections.abc import Callable

import pytest

from lab.errors import EngineError
from lab.machine import engine


def machine(
    monkeypatch: pytest.MonkeyPatch, *, programs: set[str], version: str | None
) -> Callable[[], list[str]]:
    monkeypatch.setattr(engine.shutil, "which", lambda name: name if name in programs else None)
    monkeypatch.setattr(engine, "running_version", lambda: version)
    return engine.missing_packages


def test_an_engine_that_answers_needs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = machine(monkeypatch, programs={"docker", "iptables", "mmdebstrap"}, version="28.0")
    assert missing() == []


def test_a_bare_machine_gets_engine_firewall_and_mmdebstrap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = machine(monkeypatch, programs=set(), version=None)
    assert missing() == ["docker.io", "iptables", "mmdebstrap"]


def test_an_installed_engine_that_is_stopped_is_not_installed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs = {"docker", "dockerd", "iptables", "mmdebstrap"}
    assert machine(monkeypatch, programs=programs, version=None)() == []


def test_a_user_is_told_what_root_has_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    machine(monkeypatch, programs=set(), version=None)
    monkeypatch.setattr(engine.os, "geteuid", lambda: 1000)
    with pytest.raises(EngineError, match=r"run as root.*docker\.io iptables mmdebstrap"):
        engine.ensure(tmp_path / "log")


def test_an_engine_that_starts_is_not_started_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    answers = iter([None, None, None, "20.10"])
    monkeypatch.setattr(engine, "running_version", lambda: next(answers))
    monkeypatch.setattr(engine, "_install_missing", lambda _log: None)
    monkeypatch.setattr(engine, "_dockerd_is_running", lambda: True)
    monkeypatch.setattr(engine.pathlib.Path, "is_dir", lambda _path: False)
    monkeypatch.setattr(engine.os, "geteuid", lambda: 0)
    assert engine.ensure(tmp_path / "log", timeout_s=5) == "20.10"


def test_an_engine_with_a_socket_of_its_own_is_not_the_machines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    program = tmp_path / "dockerd"
    shutil.copy("/bin/cat", program)
    pipe = subprocess.PIPE
    with subprocess.Popen([program], stdin=pipe, stdout=pipe, bufsize=0) as other:
        assert other.stdin and other.stdout
        other.stdin.write(b"it runs\n")
        other.stdout.readline()
        try:
            monkeypatch.setattr(engine, "PID_FILE", tmp_path / "docker.pid")
            assert engine._dockerd_is_running() is False
            engine.PID_FILE.write_text(f"{other.pid}\n")
            assert engine._dockerd_is_running() is True
        finally:
            other.kill()
    assert engine._dockerd_is_running() is False

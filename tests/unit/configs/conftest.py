# SPDX-License-Identifier: Apache-2.0
"""Host steps in a root directory of their own, with the host's programs stood in for by scripts."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import pytest

CONFIGS = pathlib.Path(__file__).parents[3] / "heat_templates" / "configs"
LIBRARY = CONFIGS.parent / "library"
AGENT_PROGRAMS = CONFIGS.parent / "agent"
sys.path[:0] = [str(CONFIGS), str(CONFIGS.parent)]

from library import engine  # noqa: E402 - found through the path above
from library import step as steps  # noqa: E402

from novadocker_actions import host_package  # noqa: E402 - after it, as all that is ours

from .agent import answer  # noqa: E402 - after it, as all that is ours

# Makes a run of a step; puts a script in place of a program; lists such programs' calls.
Make = Callable[..., steps.Step]
Programs = Callable[[str, str], None]
Calls = Callable[[], list[str]]

STEPS = sorted(path.stem for path in CONFIGS.glob("*.py"))
MODULES = sorted(path.stem for path in LIBRARY.glob("*.py"))
AGENT = sorted(path.stem for path in AGENT_PROGRAMS.glob("*.py"))


@pytest.fixture(autouse=True)
def no_engine_of_this_machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep steps from the machine's own Docker Engine, which a test must not depend on."""
    monkeypatch.setattr(engine, "DOCKER_SOCKET", str(tmp_path / "no-engine"))


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return the place of the package of host steps."""
    path = tmp_path_factory.mktemp("package") / "novadocker-host.pyz"
    path.write_bytes(host_package.build())
    return path


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a directory that stands for the host's root."""
    place = tmp_path / "root"
    for name in ("etc", "run", "var/lib", "var/log"):
        (place / name).mkdir(parents=True)
    return place


@pytest.fixture
def make_step(root: pathlib.Path) -> Callable[..., steps.Step]:
    """Return a function that makes a run of a step below that root."""

    def make(name: str, mode: str = "apply", **settings: Any) -> steps.Step:
        return steps.Step(name, mode, settings, root)

    return make


@pytest.fixture
def programs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that puts a shell script in place of a program of the host.

    Each call is noted, one line a call, in the file ``calls`` beside the scripts.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(steps, "SYSTEM_PATH", f"{folder}:/usr/bin:/bin")

    def put(name: str, body: str) -> None:
        script = folder / name
        script.write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/calls\n{body}\n')
        script.chmod(0o755)

    return put


@pytest.fixture
def calls(tmp_path: pathlib.Path) -> Callable[[], list[str]]:
    """Return a function that lists the calls of stood-in programs."""

    def read() -> list[str]:
        path = tmp_path / "bin" / "calls"
        return path.read_text().splitlines() if path.exists() else []

    return read


@pytest.fixture
def outcomes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the program with its places below a directory, and heat-config-notify stood in for."""
    spec = importlib.util.spec_from_file_location("outcomes", AGENT_PROGRAMS / "outcomes.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, place in {
        "HOME": "home",
        "CONFIGS": "run/heat-config",
        "DEPLOYED": "deployed",
        "SCRIPTS": "scripts",
        "HOOKS": "hooks",
        "WAKE": "wake.conf",
        "OPERATOR_KEYS": "operator.pub",
        "UNSIGNED": "unsigned",
    }.items():
        monkeypatch.setattr(module, name, tmp_path / place)
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks/script").touch()
    (tmp_path / "hooks/novadocker").touch()
    (tmp_path / "home/bin").mkdir(parents=True)
    (tmp_path / "deployed").mkdir()
    answer(tmp_path)
    return module

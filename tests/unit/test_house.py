# SPDX-License-Identifier: Apache-2.0
"""The code keeps the rules of the house, and a rule that is broken is told with its place."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def house() -> Any:
    """The program of the proof."""
    spec = importlib.util.spec_from_file_location("house", TOP / "tools/proofs/house.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    sys.modules["house"] = program  # dataclasses look their module up
    spec.loader.exec_module(program)
    return program


@pytest.fixture
def copy(house: Any, tmp_path: Path) -> Path:
    """A copy of the code in which a rule may be broken."""
    for module in house.House(TOP).modules:
        target = tmp_path / module.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / module.path, target)
    return tmp_path


def test_the_code_keeps_the_rules(house: Any) -> None:
    assert house.broken(house.House(TOP)) == []


DRIVER = "driver/novadocker/virt/docker"


@pytest.mark.parametrize(
    ("path", "line", "told"),
    [
        (
            f"{DRIVER}/engine/lxcfs.py",
            "from novadocker.virt.docker.face import faults",
            "docker.face.faults: the wing engine is not above the wing face",
        ),
        (
            f"{DRIVER}/images/layers.py",
            "from novadocker.virt.docker import volumes",
            "imports novadocker.virt.docker.volumes: the wing images is not above the wing volumes",
        ),
        (
            f"{DRIVER}/face/faults.py",
            "from novadocker.virt.docker.face import rescue",
            "a circle of imports: ",
        ),
        (
            f"{DRIVER}/network/tags.py",
            "from nova import exception",
            "names nova.exception, which is the face's to do",
        ),
        (
            "lab/hosts/ssh.py",
            "def late():\n    from lab.stage import demo",
            "imports lab.stage.demo: the wing hosts is not above the wing stage",
        ),
        (
            "lab/stage/demo.py",
            "from novadocker_actions import inputs",
            "of the room actions, which lab may not",
        ),
        ("lab/errors.py", "\n".join(["VALUE = 1"] * 450), "lines, more than 450"),
        (
            "lab/errors.py",
            "def long():\n" + "\n".join(["    pass"] * 60),
            "lab/errors.py:long: has 61 lines, more than 60",
        ),
        (
            "heat_templates/library/faults.py",
            "\n".join(["VALUE = 1"] * 230),
            "lines, more than 230",
        ),
        ("lab/strange.py", "", "is in no wing of the room lab"),
    ],
)
def test_a_broken_rule_is_told_with_its_place(
    house: Any, copy: Path, path: str, line: str, told: str
) -> None:
    before = set(house.broken(house.House(copy)))
    with open(copy / path, "a") as file:
        file.write(f"\n{line}\n")
    new = set(house.broken(house.House(copy))) - before
    assert any(told in fault and (path in fault or "circle" in told) for fault in new), new


def test_a_reason_that_nothing_needs_is_struck_off(
    house: Any, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "LONG", {**house.LONG, "lab/errors.py": "it was long"})
    monkeypatch.setattr(house, "NAME_NOVA_EXCEPTIONS", {"novadocker.conf": "it did"})
    faults = house.broken(house.House(copy))
    assert "lab/errors.py: is not too long, strike it off the list of reasons" in faults
    assert "novadocker.conf: does not name nova.exception, strike it off the exceptions" in faults

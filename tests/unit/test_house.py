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
PROGRAM = TOP / "tools/proofs/house/stands.py"


@pytest.fixture(scope="module")
def house() -> Any:
    """The program of the proof."""
    sys.path.append(str(PROGRAM.parent))  # where its data are
    spec = importlib.util.spec_from_file_location("house", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    sys.modules["house"] = program  # dataclasses look their module up
    spec.loader.exec_module(program)
    return program


@pytest.fixture
def copy(house: Any, tmp_path: Path) -> Path:
    """A copy of the code in which a rule may be broken."""
    for path in house.files(TOP):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / path, tmp_path / path)
    for path in house.files(TOP, ".rst"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / path, tmp_path / path)
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
        ("strange/one.py", "", "is in no room"),
        ("lab/hosts/utils.py", "", "has a name that says nothing"),
        ("tests/unit/common/one.py", "", "has a name that says nothing"),
        (
            f"{DRIVER}/engine/lxcfs.py",
            "from ..face import faults",
            "docker.face.faults: the wing engine is not above the wing face",
        ),
        (
            f"{DRIVER}/engine/__init__.py",
            "from .. import face",
            "docker.face: the wing engine is not above the wing face",
        ),
        (
            f"{DRIVER}/network/tags.py",
            "import nova\nGONE = nova.exception.InstanceNotFound",
            "names nova.exception, which is the face's to do",
        ),
        (
            f"{DRIVER}/network/tags.py",
            "from nova.compute import manager\nGONE = manager.exception.InstanceNotFound",
            "names nova.exception, which is the face's to do",
        ),
        (
            "heat_templates/agent/outcomes.py",
            "from library import faults",
            "of the room host steps, which agent may not",
        ),
        (
            f"{DRIVER}/network/tags.py",
            "def late():\n    import json",
            "imports within a function, without a reason",
        ),
        (
            "tests/unit/configs/test_host_keys.py",
            "from .test_agent import TestSecrets",
            "imports the test tests.unit.configs.test_agent",
        ),
        (
            "driver/novadocker/tests/test_conf.py",
            "from novadocker.tests.unit import test_alias",
            "imports the test novadocker.tests.unit.test_alias",
        ),
        *(
            (
                path,
                "try:\n    pass\nexcept OSError as fault:\n    pass",
                "catches an exception as fault, and not as err",
            )
            for path in (
                f"{DRIVER}/face/faults.py",
                "novadocker_actions/errors.py",
                "novadocker_client/errors.py",
                "dashboard/novadocker_dashboard/pages.py",
                "heat_templates/library/step.py",
                "lab/errors.py",
            )
        ),
        *(
            (path, line, f"calls a variable {name}, not what it holds")
            for path, name, line in (
                (f"{DRIVER}/face/faults.py", "found", "found = 1"),
                ("novadocker_actions/errors.py", "one", "NAMES = [one for one in ()]"),
                ("novadocker_client/errors.py", "one", "for _name, one in ():\n    pass"),
                ("dashboard/novadocker_dashboard/pages.py", "found", "def show(*, found): ..."),
                ("heat_templates/library/step.py", "one", "KEY = lambda one: 1"),
                ("lab/errors.py", "found", "class Finding:\n    found: str"),
                ("benchmarks/__init__.py", "found", "if (found := 1):\n    pass"),
                (
                    "tempest_plugin/plugin.py",
                    "one",
                    "match 1:\n    case [_, *one]:\n        pass",
                ),
                ("tempest_plugin/plugin.py", "found", "match 1:\n    case found:\n        pass"),
                ("tests/unit/test_contracts.py", "found", "def test_it(found): ..."),
                ("driver/novadocker/tests/make.py", "one", "one, other = 1, 2"),
            )
        ),
        ("tests/unit/strange/test_it.py", "", "has tests and no __init__.py"),
        (
            "lab/errors.py",
            'def name() -> str:\n    """The name of it."""',
            "the docstring of name begins with The, and not with what it does",
        ),
        (
            "heat_templates/library/step.py",
            'def is_so() -> bool:\n    """Tell whether it is so."""',
            "the docstring of is_so begins with Tell, and not with what it does",
        ),
        ("doc/source/index.rst", "word " * 20 + "more", "has 104 characters, more than 100"),
        ("README.rst", "word " * 20 + "more", "has 104 characters, more than 100"),
    ],
)
def test_a_broken_rule_is_told_with_its_place(
    house: Any, copy: Path, path: str, line: str, told: str
) -> None:
    before = set(house.broken(house.House(copy)))
    (copy / path).parent.mkdir(exist_ok=True)
    with open(copy / path, "a") as file:
        file.write(f"\n{line}\n")
    new = set(house.broken(house.House(copy))) - before
    places = (path, str(Path(path).parent), "a circle")
    assert any(told in fault and any(place in fault for place in places) for fault in new), new


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("lab/hosts", "lab: has no module lab.hosts, which the rules name"),
        ("heat_templates/agent", "agent: has no module agent, which the rules name"),
        ("benchmarks", "benchmarks: has no module benchmarks, which the rules name"),
    ],
)
def test_a_folder_that_the_rules_name_is_there(
    house: Any, copy: Path, folder: str, told: str
) -> None:
    (copy / folder).rename(copy / f"{folder}_moved")
    assert told in house.broken(house.House(copy))


def test_a_reason_that_nothing_needs_is_struck_off(
    house: Any, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "LONG", {**house.LONG, "lab/errors.py": "it was long"})
    monkeypatch.setattr(house, "LATE", {**house.LATE, "lab/errors.py": "it was late"})
    monkeypatch.setattr(house, "NAME_NOVA_EXCEPTIONS", {"novadocker.conf": "it did"})
    faults = house.broken(house.House(copy))
    assert "lab/errors.py: is not too long, strike it off the list of reasons" in faults
    assert (
        "lab/errors.py: imports nothing within a function, strike it off the list of reasons"
        in faults
    )
    assert "novadocker.conf: does not name nova.exception, strike it off the exceptions" in faults

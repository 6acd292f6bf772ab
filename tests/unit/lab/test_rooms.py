# SPDX-License-Identifier: Apache-2.0
"""Which room of the lab may import which: the cloud knows nothing of what it is brought up for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from lab.settings import LAB

# From below: a room imports itself and those before it.
ROOMS = ("machine", "hosts", "images", "client", "controlplane")
TOP = {"errors", "settings"}
HANDS_OVER = "__main__.py"


def imported() -> Iterator[tuple[str, str, str]]:
    """Give each import of the lab's own: the file, its room and the room that it imports."""
    for path in sorted(LAB.rglob("*.py")):
        name = str(path.relative_to(LAB))
        room = name.partition("/")[0] if "/" in name else ""
        for statement in ast.walk(ast.parse(path.read_text())):
            if isinstance(statement, ast.ImportFrom) and statement.module:
                modules = [f"{statement.module}.{alias.name}" for alias in statement.names]
            elif isinstance(statement, ast.Import):
                modules = [alias.name for alias in statement.names]
            else:
                continue
            for module in modules:
                if module.startswith("lab."):
                    yield name, room, module.split(".")[1]


def test_the_stage_is_imported_by_the_program_alone() -> None:
    importing = {name for name, room, to in imported() if to == "stage" and room != "stage"}
    assert importing == {HANDS_OVER}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_rooms_below_it_only(room: str) -> None:
    below = {*ROOMS[: ROOMS.index(room) + 1], *TOP}
    imports = {(name, to) for name, its_room, to in imported() if its_room == room}
    assert {(name, to) for name, to in imports if to not in below} == set()


def test_the_cloud_has_nothing_that_only_this_bundle_wants() -> None:
    own = re.compile(r"novadocker(?![- ]lab)|registry|lxcfs_path|heat_templates|workbook")
    general = [
        path
        for pattern in ("*.py", "*.sh")
        for path in LAB.rglob(pattern)
        if LAB / "stage" not in path.parents
    ]
    said = {str(path.relative_to(LAB)): own.findall(path.read_text()) for path in general}
    assert {name: words for name, words in said.items() if words} == {}


def test_every_room_is_known() -> None:
    folders = {path.parent.name for path in LAB.glob("*/__init__.py")}
    assert folders == {*ROOMS, "stage"}

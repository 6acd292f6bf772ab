# SPDX-License-Identifier: Apache-2.0
"""The rules of the house, and whether the code keeps them: who imports whom, how long things are.

    tools/proofs/house_stands [--top DIRECTORY]

The rules are the data that come first; the page contributor/style says what they are for. Imports
are read from the source and nothing is run, so that one within a function counts as well.
"""

from __future__ import annotations

import argparse
import ast
import collections
import functools
import graphlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MODULE_LINES = 450
# A file of the host steps' library is sent with each step: it is one idea, seen at once.
LIBRARY_LINES = 230
FUNCTION_LINES = 60


@dataclass(frozen=True)
class Room:
    """A room, and the order of its wings.

    :param root: the directory that its modules are imported from
    :param packages: what of the root it is, all modules right in it where none is named
    :param floors: from the top down; a wing imports from lower floors only, and from itself. The
        wings of a floor, by name, are beginnings of modules' names, of which the longest counts;
        one that begins with = is that module alone
    :param imports: other rooms that it may import
    """

    root: str
    packages: tuple[str, ...]
    floors: tuple[Mapping[str, tuple[str, ...]], ...]
    imports: tuple[str, ...] = ()


_DOCKER = "novadocker.virt.docker"

ROOMS: Mapping[str, Room] = {
    "driver": Room(
        "driver",
        ("novadocker",),
        (
            {"commands": ("novadocker.cmd",)},
            {"driver": (f"={_DOCKER}", f"{_DOCKER}.driver")},
            {"face": (f"{_DOCKER}.face",)},
            {"parts": (f"{_DOCKER}.parts",)},
            {"instances": (f"{_DOCKER}.instances",)},
            {
                "images": (f"{_DOCKER}.images",),
                "network": (f"{_DOCKER}.network",),
                "volumes": (f"{_DOCKER}.volumes",),
            },
            {"engine": (f"{_DOCKER}.engine",)},
            {"host": (f"{_DOCKER}.host",)},
            {
                "privsep": ("novadocker.privsep",),
                "base": ("novadocker.conf", "novadocker.compat", "novadocker._alias"),
            },
            {
                "exceptions": ("novadocker.exceptions",),
                "types": ("novadocker.types",),
                "package": ("=novadocker", "=novadocker.virt"),
            },
        ),
    ),
    "actions": Room(
        ".",
        ("novadocker_actions",),
        (
            {"commands": ("novadocker_actions.cmd",)},
            {"actions": ("novadocker_actions.actions",)},
            {"enrolment": ("novadocker_actions.enrolment",)},
            {"cloud": ("novadocker_actions.cloud",)},
            {"plan": ("novadocker_actions.plan", "novadocker_actions.step_settings")},
            {"host steps": ("novadocker_actions.host_steps",)},
            {
                "base": (
                    "novadocker_actions.errors",
                    "novadocker_actions.resources",
                    "=novadocker_actions",
                )
            },
        ),
    ),
    "host steps": Room(
        "heat_templates",
        ("configs", "library"),
        (
            {"steps": ("configs",)},
            {"program": ("library.outcome", "library.watchdog")},
            {"packages": ("library.packages", "library.apt_locks"), "host": ("library",)},
            {"run": ("library.step", "library.changes", "library.records")},
            {"base": ("library.faults", "library.files", "library.settings", "library.joined")},
        ),
    ),
    "lab": Room(
        ".",
        ("lab",),
        (
            # This bundle's part of it. The general part, below, knows no bundle.
            {"stage": ("lab.stage", "lab.__main__")},
            {"command line": ("lab.cli",)},
            {"lifecycle": ("lab.lifecycle",)},
            {"control plane": ("lab.controlplane",)},
            {"client": ("lab.client",), "images": ("lab.images",)},
            {"hosts": ("lab.hosts",)},
            {"machine": ("lab.machine",)},
            {"base": ("lab.settings", "lab.errors", "=lab")},
        ),
    ),
    "tempest plug-in": Room(
        ".",
        ("tempest_plugin",),
        (
            {"tests": ("tempest_plugin.tests",)},
            {"plug-in": ("tempest_plugin.plugin",)},
            {"services": ("tempest_plugin.services",), "base": ("tempest_plugin",)},
        ),
    ),
    "benchmarks": Room(
        ".", ("benchmarks",), ({"benchmarks": ("benchmarks",)},), ("lab", "actions")
    ),
    "reference": Room(
        "doc/ext",
        ("novadocker_reference",),
        ({"extension": ("novadocker_reference",)},),
        ("actions", "driver"),
    ),
}

# Nova's exceptions are named where the driver speaks Nova, and there only.
NOVA_EXCEPTIONS = "nova.exception"
SPEAK_NOVA = ("novadocker.virt.docker.face",)
NAME_NOVA_EXCEPTIONS: Mapping[str, str] = {
    "novadocker.compat": "finds what a release of Nova calls the end of a wait",
    "novadocker.virt.docker.network.waiting": "Nova's own wait raises it",
    "novadocker.virt.docker.instances.migrations": "the compute manager has to see its own class",
}

# Longer than the rule, with the reason.
LONG: Mapping[str, str] = {
    "heat_templates/configs/install_docker.py": (
        "one step from the package to the daemon's settings, with its undo; what other steps need"
        " of it is in the library"
    ),
}


@dataclass(frozen=True)
class Source:
    """What the rules ask of a module's text.

    :param imports: what it imports, with the line; `from a import b` is either `a.b` or `a`
    :param functions: their names and lengths
    """

    lines: int
    imports: tuple[tuple[tuple[str, ...], int], ...]
    functions: tuple[tuple[str, int], ...]


@functools.cache
def read(text: str) -> Source:
    """Return what there is to a module's text."""
    found: list[tuple[tuple[str, ...], int]] = []
    functions: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                found += [((alias.name,), node.lineno) for alias in names]
            case ast.ImportFrom(module=str(module), names=names):
                found += [((f"{module}.{alias.name}", module), node.lineno) for alias in names]
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                functions.append((name, (node.end_lineno or node.lineno) - node.lineno + 1))
    return Source(len(text.splitlines()), tuple(found), tuple(functions))


@dataclass(frozen=True)
class Module:
    """A module of a room.

    :param path: relative to the top
    """

    room: str
    name: str
    path: Path
    source: Source


@dataclass(frozen=True)
class Edge:
    """An import of one of our modules by another."""

    importer: Module
    imported: Module
    line: int


class House:
    """The code below a directory."""

    def __init__(self, top: Path) -> None:
        self.modules = [module for room in ROOMS for module in _modules(top, room)]
        # The scripts of host steps are imported by their bare names, and among themselves only.
        self._known = {(module.room, module.name): module for module in self.modules}
        self.edges = [edge for module in self.modules for edge in self._edges(module)]

    def _edges(self, module: Module) -> Iterator[Edge]:
        rooms = (module.room, *(room for room in ROOMS if ROOMS[room].packages))
        for names, line in module.source.imports:
            known = (self._known.get((room, name)) for name in names for room in rooms)
            imported = next((found for found in known if found is not None), None)
            if imported is not None and imported is not module:
                yield Edge(module, imported, line)


def _modules(top: Path, room: str) -> Iterator[Module]:
    """Yield a room's modules, its tests aside (those of the Tempest plug-in are the product)."""
    root = top / ROOMS[room].root
    folders = [root / package for package in ROOMS[room].packages]
    paths = [path for folder in folders for path in folder.rglob("*.py")] or root.glob("*.py")
    for path in sorted(paths):
        parts = path.relative_to(root).with_suffix("").parts
        if "tests" in parts and parts[0] != "tempest_plugin":
            continue
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield Module(room, name, path.relative_to(top), read(path.read_text()))


def wing_of(module: Module) -> tuple[int, str] | None:
    """Return a module's floor, counted from the top, and its wing; None where it has none."""
    best: tuple[int, int, str] | None = None
    for floor, wings in enumerate(ROOMS[module.room].floors):
        for wing, beginnings in wings.items():
            for start in beginnings:
                alone = module.name == start.removeprefix("=")
                within = not start or module.name.startswith(f"{start}.")
                if (alone or within) and (best is None or len(start) >= best[0]):
                    best = (len(start), floor, wing)
    return None if best is None else best[1:]


def homeless(house: House) -> Iterator[str]:
    """Yield the modules that are in no wing."""
    for module in house.modules:
        if wing_of(module) is None:
            yield f"{module.path}: is in no wing of the room {module.room}"


def upward(house: House) -> Iterator[str]:
    """Yield the imports that do not go down."""
    for edge in house.edges:
        importer, imported = edge.importer, edge.imported
        where = f"{importer.path}:{edge.line}: imports {imported.name}"
        if importer.room != imported.room:
            if imported.room not in ROOMS[importer.room].imports:
                yield f"{where}, of the room {imported.room}, which {importer.room} may not"
            continue
        above, below = wing_of(importer), wing_of(imported)
        if above and below and above != below and above[0] >= below[0]:
            yield f"{where}: the wing {above[1]} is not above the wing {below[1]}"


def circles(house: House) -> Iterator[str]:
    """Yield a circle of imports, where there is one."""
    below: dict[str, set[str]] = collections.defaultdict(set)
    for edge in house.edges:
        below[str(edge.importer.path)].add(str(edge.imported.path))
    try:
        graphlib.TopologicalSorter(below).prepare()
    except graphlib.CycleError as err:
        yield f"a circle of imports: {' <- '.join(err.args[1])}"


def speak_nova(house: House) -> Iterator[str]:
    """Yield who names Nova's exceptions and may not, and who may and does not."""
    names: set[str] = set()
    for module in house.modules:
        if module.room != "driver":
            continue
        lines = [line for said, line in module.source.imports if NOVA_EXCEPTIONS in said]
        if not lines or module.name.startswith(SPEAK_NOVA):
            continue
        names.add(module.name)
        if module.name not in NAME_NOVA_EXCEPTIONS:
            yield f"{module.path}:{lines[0]}: names {NOVA_EXCEPTIONS}, which is the face's to do"
    for name in NAME_NOVA_EXCEPTIONS:
        if name not in names:
            yield f"{name}: does not name {NOVA_EXCEPTIONS}, strike it off the exceptions"


def lengths(module: Module) -> Iterator[tuple[str, int, int]]:
    """Yield a module and its functions: name, length and the most that is allowed."""
    in_library = module.room == "host steps" and module.name.startswith("library.")
    yield str(module.path), module.source.lines, LIBRARY_LINES if in_library else MODULE_LINES
    for name, length in module.source.functions:
        yield f"{module.path}:{name}", length, FUNCTION_LINES


def too_long(house: House) -> Iterator[str]:
    """Yield what is too long and has no reason, and the reasons that nothing needs."""
    needed: set[str] = set()
    for module in house.modules:
        for name, length, most in lengths(module):
            if length > most:
                needed.add(name)
                if name not in LONG:
                    yield f"{name}: has {length} lines, more than {most}"
    for name in LONG.keys() - needed:
        yield f"{name}: is not too long, strike it off the list of reasons"


RULES = (homeless, upward, circles, speak_nova, too_long)


def broken(house: House) -> list[str]:
    """Return the rules that the code breaks, each with the place."""
    return [fault for rule in RULES for fault in rule(house)]


def show(house: House) -> None:
    """Print each room's wings: how many modules they have, and how often they import which."""
    for room in ROOMS:
        modules = [module for module in house.modules if module.room == room]
        print(f"{room}: {len(modules)} modules")
        for wing in (wing for floor in ROOMS[room].floors for wing in floor):
            own = [module for module in modules if (wing_of(module) or (0, ""))[1] == wing]
            to = collections.Counter(
                (wing_of(edge.imported) or (0, ""))[1] if edge.imported.room == room
                else f"the room {edge.imported.room}"
                for edge in house.edges
                if edge.importer in own
            )  # fmt: skip
            inside = to.pop(wing, 0)
            out = ", ".join(f"{name} {count}" for name, count in to.items()) or "nothing"
            print(f"  {wing:14} {len(own):3} modules, {inside:3} imports inside, of {out}")


def main() -> None:
    """Show the house; exit with 1 when one of its rules is broken."""
    parser = argparse.ArgumentParser(prog="tools/proofs/house_stands", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--top", type=Path, default=Path(__file__).parents[2], help="the checkout")
    house = House(parser.parse_args().top.resolve())
    show(house)
    faults = broken(house)
    for fault in faults:
        print(f"BROKEN {fault}")
    module = max(house.modules, key=lambda module: module.source.lines)
    functions = [found for module in house.modules for found in list(lengths(module))[1:]]
    function = max(functions, key=lambda found: found[1])
    wings = sum(len(floor) for room in ROOMS.values() for floor in room.floors)
    print(
        f"figures: {len(house.modules)} modules in {len(ROOMS)} rooms and {wings} wings,"
        f" {len(house.edges)} imports, {len(faults)} rules broken; longest module {module.path}"
        f" ({module.source.lines} lines), longest function {function[0]} ({function[1]})"
    )
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()

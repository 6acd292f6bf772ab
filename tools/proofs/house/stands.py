# SPDX-License-Identifier: Apache-2.0
"""The rules of the house, and whether the code keeps them: who imports whom, how long things are.

    tools/proofs/house_stands [--top DIRECTORY]

What they allow is the data of rooms.py; the page contributor/style says what they are for. Imports
are read from the source and nothing is run, so that one within a function counts as well. Of tests
only the names, their folders, and that they import no test, are looked at.
"""

from __future__ import annotations

import argparse
import collections
import graphlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rooms import (
    FUNCTION_LINES,
    LATE,
    LIBRARY_LINES,
    LINE_CHARACTERS,
    LONG,
    MODULE_LINES,
    NAME_NOVA_EXCEPTIONS,
    NO_BEGINNINGS,
    NO_NAMES,
    NO_VARIABLES,
    NOVA_EXCEPTIONS,
    OUTSIDE,
    OWN_TESTS,
    ROOMS,
    SPEAK_NOVA,
)
from sources import Source, read


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
        self.top = top
        self.files = list(files(top))
        self.modules = [module for room in ROOMS for module in self._modules(top, room)]
        self.tests = [
            Module("", ".".join(path.with_suffix("").parts), path, _source(top, path))
            for path in self.files
            if "tests" in path.parts
        ]
        # The scripts of host steps are imported by their bare names, and among themselves only.
        self._known = {(module.room, module.name): module for module in self.modules}
        self.edges = [edge for module in self.modules for edge in self._edges(module)]

    def _modules(self, top: Path, room: str) -> Iterator[Module]:
        """Yield a room's modules, its tests aside (the Tempest plug-in's are the product)."""
        root = Path(ROOMS[room].root)
        for path in self.files:
            if not path.is_relative_to(root):
                continue
            parts = path.relative_to(root).with_suffix("").parts
            if parts[0] in ROOMS[room].packages and _outside(path) is None:
                yield Module(room, _name(parts), path, _source(top, path, root))

    def _edges(self, module: Module) -> Iterator[Edge]:
        rooms = (module.room, *ROOMS)
        for names, line in module.source.imports:
            known = (self._known.get((room, name)) for name in names for room in rooms)
            imported = next((of_ours for of_ours in known if of_ours is not None), None)
            if imported is not None and imported is not module:
                yield Edge(module, imported, line)


def files(top: Path, suffix: str = ".py") -> Iterator[Path]:
    """Yield the files of a kind below a directory, relative to it."""
    for folder, below, names in os.walk(top):
        # Environments and caches begin with a dot; what was built is no source.
        below[:] = sorted(name for name in below if name[0] != "." and name != "build")
        yield from (
            (Path(folder) / name).relative_to(top)
            for name in sorted(names)
            if name.endswith(suffix)
        )


def _outside(path: Path) -> str | None:
    """Return the place outside of all rooms that a file is in, or None."""
    return next((place for place in OUTSIDE if path.is_relative_to(place)), None)


def _name(parts: tuple[str, ...]) -> str:
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _source(top: Path, path: Path, root: Path = Path()) -> Source:
    package = ".".join(path.relative_to(root).parent.parts)
    return read((top / path).read_text(), package)


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
    """Yield the modules that are in no wing, and the files that are in no room."""
    for module in house.modules:
        if wing_of(module) is None:
            yield f"{module.path}: is in no wing of the room {module.room}"
    at_home = {module.path for module in house.modules}
    for path in house.files:
        if path not in at_home and _outside(path) is None:
            yield f"{path}: is in no room"


def empty(house: House) -> Iterator[str]:
    """Yield the packages and beginnings of wings that no module has: whose rules rule nothing."""
    for room, rules in ROOMS.items():
        names = [module.name for module in house.modules if module.room == room]
        wings = (start for floor in rules.floors for starts in floor.values() for start in starts)
        for start in (*rules.packages, *wings):
            name = start.removeprefix("=")
            if not any(f"{known}.".startswith(f"{name}.") for known in names):
                yield f"{room}: has no module {name}, which the rules name"


def named_badly(house: House) -> Iterator[str]:
    """Yield the files whose name says nothing."""
    for path in house.files:
        if NO_NAMES.intersection(path.with_suffix("").parts):
            yield f"{path}: has a name that says nothing, one of {', '.join(sorted(NO_NAMES))}"


def import_tests(house: House) -> Iterator[str]:
    """Yield the tests that import a test of ours."""
    for module in house.tests:
        for names, line in module.source.imports:
            for name in names:
                package, *parts = name.split(".")
                if package in OWN_TESTS and any(part.startswith("test_") for part in parts):
                    yield f"{module.path}:{line}: imports the test {name}"


def loose_tests(house: House) -> Iterator[str]:
    """Yield the folders of tests that are no package, as the others are."""
    folders = {module.path.parent for module in house.tests}
    packages = {module.path.parent for module in house.tests if module.path.name == "__init__.py"}
    for folder in sorted(folders - packages):
        yield f"{folder}: has tests and no __init__.py"


def late(house: House) -> Iterator[str]:
    """Yield the imports within a function that have no reason, and the reasons without any."""
    needed: set[str] = set()
    for module in house.modules:
        for line in module.source.late:
            needed.add(str(module.path))
            if str(module.path) not in LATE:
                yield f"{module.path}:{line}: imports within a function, without a reason"
    for path in LATE.keys() - needed:
        yield f"{path}: imports nothing within a function, strike it off the list of reasons"


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


def _of_nova(name: str) -> bool:
    """Return whether a dotted name leads to Nova's exceptions, by whichever of Nova's modules."""
    first, *parts = name.split(".")
    return first == "nova" and "exception" in parts


def speak_nova(house: House) -> Iterator[str]:
    """Yield who names Nova's exceptions and may not, and who may and does not."""
    names: set[str] = set()
    for module in house.modules:
        if module.room != "driver":
            continue
        imported = ((said[0], line) for said, line in module.source.imports)
        lines = [line for said, line in (*imported, *module.source.named) if _of_nova(said)]
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


def caught_oddly(house: House) -> Iterator[str]:
    """Yield where an exception is caught under a name of its own."""
    for module in house.modules:
        for name, line in module.source.caught:
            if name != "err":
                yield f"{module.path}:{line}: catches an exception as {name}, and not as err"


def says_nothing(house: House) -> Iterator[str]:
    """Yield the variables and parameters whose names do not say what they hold."""
    for module in (*house.modules, *house.tests):
        for name, line in module.source.variables:
            if name in NO_VARIABLES:
                yield f"{module.path}:{line}: calls a variable {name}, not what it holds"


def begin_oddly(house: House) -> Iterator[str]:
    """Yield the functions whose docstring does not begin with what the function does."""
    for module in house.modules:
        for name, beginning, line in module.source.beginnings:
            if beginning.startswith(NO_BEGINNINGS):
                where = f"{module.path}:{line}: the docstring of {name}"
                yield f"{where} begins with {beginning.split()[0]}, and not with what it does"


def too_wide(house: House) -> Iterator[str]:
    """Yield the lines of pages that are too long, but for addresses, which cannot be broken.

    Pages that were generated from the code are as the code is.
    """
    for path in files(house.top, ".rst"):
        if "generated" in path.parts:
            continue
        for number, line in enumerate((house.top / path).read_text("utf-8").splitlines(), 1):
            if len(line) > LINE_CHARACTERS and "://" not in line:
                yield f"{path}:{number}: has {len(line)} characters, more than {LINE_CHARACTERS}"


RULES = (
    homeless,
    empty,
    named_badly,
    import_tests,
    loose_tests,
    upward,
    circles,
    late,
    speak_nova,
    too_long,
    caught_oddly,
    says_nothing,
    begin_oddly,
    too_wide,
)


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
    parser.add_argument("--top", type=Path, default=Path(__file__).parents[3], help="the checkout")
    house = House(parser.parse_args().top.resolve())
    show(house)
    faults = broken(house)
    for fault in faults:
        print(f"BROKEN {fault}")
    module = max(house.modules, key=lambda module: module.source.lines)
    functions = (length for module in house.modules for length in list(lengths(module))[1:])
    function = max(functions, key=lambda length: length[1])
    wings = sum(len(floor) for room in ROOMS.values() for floor in room.floors)
    print(
        f"figures: {len(house.modules)} modules in {len(ROOMS)} rooms and {wings} wings,"
        f" {len(house.edges)} imports, {len(faults)} rules broken; longest module {module.path}"
        f" ({module.source.lines} lines), longest function {function[0]} ({function[1]})"
    )
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()

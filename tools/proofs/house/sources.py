# SPDX-License-Identifier: Apache-2.0
"""What the rules of the house ask of a module's text; it is read, and nothing of it is run."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """What the rules ask of a module's text.

    :param imports: what it imports, with the line; `from a import b` is either `a.b` or `a`
    :param late: the lines of the imports within a function
    :param named: the attributes of imported modules, as dotted names from the import on, and lines
    :param functions: their names and lengths
    :param caught: as what exceptions are caught, and lines
    :param variables: the names that are given to variables and parameters, and lines
    :param beginnings: names of functions, the first words of their docstrings, and lines
    """

    lines: int
    imports: tuple[tuple[tuple[str, ...], int], ...]
    late: tuple[int, ...]
    named: tuple[tuple[str, int], ...]
    functions: tuple[tuple[str, int], ...]
    caught: tuple[tuple[str, int], ...]
    variables: tuple[tuple[str, int], ...]
    beginnings: tuple[tuple[str, str, int], ...]


@functools.cache
def read(text: str, package: str) -> Source:
    """Return what there is to a module's text.

    :param package: that the module is in, from which relative imports count
    """
    tree = ast.parse(text)
    imports: list[tuple[tuple[str, ...], int]] = []
    bound: dict[str, str] = {}
    functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    caught: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                imports += [((alias.name,), node.lineno) for alias in names]
                for alias in names:
                    bound[alias.asname or alias.name.split(".")[0]] = (
                        alias.name if alias.asname else alias.name.split(".")[0]
                    )
            case ast.ImportFrom(module=module, names=names, level=level):
                start = _from(module, level, package)
                imports += [((f"{start}.{alias.name}", start), node.lineno) for alias in names]
                bound |= {alias.asname or alias.name: f"{start}.{alias.name}" for alias in names}
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                functions.append(node)
            case ast.ExceptHandler(name=str(name)):
                caught.append((name, node.lineno))
    late = {
        node.lineno
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    return Source(
        len(text.splitlines()),
        tuple(imports),
        tuple(sorted(late)),
        tuple(_attributes(tree, bound)),
        tuple((node.name, (node.end_lineno or 0) - node.lineno + 1) for node in functions),
        tuple(caught),
        tuple(_variables(tree)),
        tuple(
            (node.name, f"{' '.join(docstring.split()[:2])} ", node.lineno)
            for node in functions
            if (docstring := ast.get_docstring(node))
        ),
    )


def _from(module: str | None, level: int, package: str) -> str:
    """Return the whole name of what an import begins with, its dots resolved."""
    parts = package.split(".")
    above = parts[: len(parts) - level + 1] if level else []
    return ".".join([*above, *([module] if module else [])])


def _variables(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id=name, ctx=ast.Store())
                | ast.arg(arg=name)
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
            ):
                yield name, node.lineno


def _attributes(tree: ast.Module, bound: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names: list[str] = []
            value: ast.expr = node
            while isinstance(value, ast.Attribute):
                names.insert(0, value.attr)
                value = value.value
            if isinstance(value, ast.Name) and value.id in bound:
                yield ".".join((bound[value.id], *names)), node.lineno

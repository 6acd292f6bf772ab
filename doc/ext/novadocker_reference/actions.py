# SPDX-License-Identifier: Apache-2.0
"""A page for each Mistral action, from its entry point, class and constructor."""

from __future__ import annotations

import importlib
import inspect
import tomllib
from pathlib import Path

from novadocker_reference import rst

GROUP = "mistral.actions"


def pages(pyproject: Path) -> dict[str, str]:
    """Return the pages by action name.

    :param pyproject: the file that declares the entry points
    :raises ValueError: when there is no action
    """
    groups = tomllib.loads(pyproject.read_text())["project"].get("entry-points", {})
    pages_by_name = {}
    for name, target in groups.get(GROUP, {}).items():
        module, _, attribute = target.partition(":")
        pages_by_name[name] = action_page(name, getattr(importlib.import_module(module), attribute))
    if not pages_by_name:
        raise ValueError(f"no {GROUP} in {pyproject}")
    return pages_by_name


def action_page(name: str, action: type) -> str:
    """Return the page of one action."""
    return rst.page(
        f".. _action-{name}:\n",
        rst.title(name),
        _docstring(action),
        rst.title("Parameters", "-"),
        rst.table(("Parameter", "Type", "Default"), parameters(action)),
        f"Class: ``{action.__module__}.{action.__qualname__}``\n",
    )


def parameters(action: type) -> list[tuple[str, str, str]]:
    """Return name, type and default of each parameter of the constructor."""
    rows = []
    for parameter in inspect.signature(action).parameters.values():
        default = rst.NOTHING if parameter.default is parameter.empty else parameter.default
        kind = "" if parameter.annotation is parameter.empty else str(parameter.annotation)
        rows.append((f"``{parameter.name}``", f"``{kind}``" if kind else "", rst.literal(default)))
    return rows


def _docstring(action: type) -> str:
    """Return the class's documentation and that of its constructor."""
    parts = [inspect.getdoc(action) or ""]
    constructor = action.__dict__.get("__init__")
    if constructor is not None and constructor.__doc__:
        parts.append(inspect.cleandoc(constructor.__doc__))
    return "\n\n".join(part for part in parts if part) + "\n"

# SPDX-License-Identifier: Apache-2.0
"""A page for each host step, from the script's own text."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from novadocker_reference import rst


def pages(configs: Path) -> dict[str, str]:
    """Return the pages by step.

    :param configs: the directory of the scripts
    :raises ValueError: when it holds no step
    """
    pages_by_step = {}
    for path in sorted(configs.glob("*.py")):
        module = ast.parse(path.read_text())
        settings = literal(module, "SETTINGS")
        if settings is not None:
            pages_by_step[path.stem] = step_page(
                path.stem, ast.get_docstring(module) or "", settings
            )
    if not pages_by_step:
        raise ValueError(f"no host step in {configs}")
    return pages_by_step


def literal(module: ast.Module, name: str) -> Any:
    """Return the value of a literal that a module assigns, None where it assigns none."""
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.literal_eval(node.value)  # type: ignore[attr-defined]
    return None


def step_page(name: str, documentation: str, settings: dict[str, Any]) -> str:
    """Return the page of one step."""
    required = settings.get("required", [])
    rows = []
    for key, schema in settings.get("properties", {}).items():
        default = schema.get("default", rst.NOTHING if key in required else "")
        rows.append((f"``{key}``", _type(schema),
                     "" if default == "" else rst.literal(default),
                     rst.prose(schema.get("description"))))  # fmt: skip
    return rst.page(
        f".. _step-{name}:\n",
        rst.title(name),
        rst.prose(documentation) + "\n",
        rst.title("Settings", "-"),
        rst.table(("Setting", "Type", "Default", "Meaning"), rows),
    )


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "any")
    return rst.literal(kind if isinstance(kind, str) else " or ".join(kind))

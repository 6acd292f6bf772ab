# SPDX-License-Identifier: Apache-2.0
"""A page for each Heat template, from its parameters, resources and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from novadocker_reference import rst


def pages(templates: Path) -> dict[str, str]:
    """Return the pages by template.

    :param templates: the directory of the templates
    :raises ValueError: when it holds no template
    """
    pages_by_template = {}
    for path in sorted(templates.glob("*.yaml")):
        template = yaml.safe_load(path.read_text())
        if "heat_template_version" in template:
            pages_by_template[path.stem] = template_page(path.name, template)
    if not pages_by_template:
        raise ValueError(f"no template in {templates}")
    return pages_by_template


def template_page(name: str, template: dict[str, Any]) -> str:
    """Return the page of one template."""
    return rst.page(
        f".. _template-{name.removesuffix('.yaml')}:\n",
        rst.title(name),
        rst.prose(template.get("description")) + "\n",
        rst.title("Parameters", "-"),
        rst.table(
            ("Parameter", "Type", "Default", "Meaning"),
            [_parameter(key, value) for key, value in template.get("parameters", {}).items()],
        ),
        rst.title("Resources", "-"),
        rst.table(
            ("Resource", "Type"),
            [
                (f"``{key}``", f"``{value['type']}``")
                for key, value in template.get("resources", {}).items()
            ],
        ),
        rst.title("Outputs", "-"),
        rst.table(
            ("Output", "Meaning"),
            [
                (f"``{key}``", rst.prose(value.get("description")))
                for key, value in template.get("outputs", {}).items()
            ],
        ),
    )


def _parameter(name: str, parameter: dict[str, Any]) -> tuple[str, str, str, str]:
    meaning = [rst.prose(parameter.get("description")), *_constraints(parameter)]
    return (
        f"``{name}``",
        f"``{parameter['type']}``",
        rst.literal(parameter.get("default", rst.NOTHING)),
        " ".join(part for part in meaning if part),
    )


def _constraints(parameter: dict[str, Any]) -> Iterator[str]:
    for constraint in parameter.get("constraints", []):
        for kind in ("allowed_values", "allowed_pattern", "range", "length", "custom_constraint"):
            if kind in constraint:
                yield f"{kind.replace('_', ' ').capitalize()}: {rst.literal(constraint[kind])}."

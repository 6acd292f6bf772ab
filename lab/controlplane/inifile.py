# SPDX-License-Identifier: Apache-2.0
"""Configuration as plain data, rendered in the form that oslo.config reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Value = str | int | bool | Sequence[str]
Options = Mapping[str, Value]
Sections = Mapping[str, Options]


def render(sections: Sections) -> str:
    """Return the text of a configuration file; empty sections are left out."""
    parts = []
    for name, options in sections.items():
        if not options:
            continue
        lines = [f"{key} = {text(value)}" for key, value in options.items()]
        parts.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(parts) + "\n"


def text(value: Value) -> str:
    """Return an option's value as it is written in a file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    return ",".join(value)

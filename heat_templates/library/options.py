# SPDX-License-Identifier: Apache-2.0
"""Options as oslo.config reads them from a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from library.faults import StepFailed

# What neither ends a section's name or an option's, nor begins another line.
NAME = r"[A-Za-z0-9_.:/+-]+"


def option_lines(section: str, values: Mapping[str, Any], where: str) -> str:
    """Return a section of a file: its name, and a line an option.

    :param where: of the settings the section stands in, for who reads the fault
    :raises StepFailed: naming an option that would be more than one, never showing its value
    """
    if not re.fullmatch(NAME, section):
        raise StepFailed(f"{where}: {section!r} is no name of a section")
    lines = (option_line(name, value, f"{where}.{section}") for name, value in values.items())
    return "".join([f"[{section}]\n", *lines])


def option_line(name: str, value: Any, where: str) -> str:
    """Return the line of an option.

    :param where: it stands, for who reads the fault
    :raises StepFailed: when it would be more than one, never showing its value
    """
    if not re.fullmatch(NAME, name):
        raise StepFailed(f"{where}: {name!r} is no name of an option")
    text = option_text(value)
    # What reads the file ends a line at a carriage return as well.
    if len(f"{text}.".splitlines()) > 1:
        raise StepFailed(f"{where}.{name} is more than one line")
    return f"{name} = {text}\n"


def option_text(value: Any) -> str:
    """Return an option's value as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)

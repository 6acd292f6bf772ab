# SPDX-License-Identifier: Apache-2.0
"""Pieces of reStructuredText."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

NOTHING = object()


def title(text: str, mark: str = "=") -> str:
    """Return a heading."""
    return f"{text}\n{mark * len(text)}\n"


def literal(value: Any) -> str:
    """Return a value as inline literal; as JSON where it is not a plain text."""
    if value is NOTHING:
        return "*required*"
    if isinstance(value, str):
        text = value if value else '""'
    else:
        text = json.dumps(value, default=str)
    text = " ".join(text.split())
    return f"``{text}``"


def prose(text: str | None) -> str:
    """Return a description as paragraphs in which only inline literals are markup."""
    pieces = re.split(r"(``.+?``)", textwrap.dedent(text or "").strip(), flags=re.DOTALL)
    return "".join(
        piece if piece.startswith("``") else re.sub(r"[*|`]|_(?=\W|$)", r"\\\g<0>", piece)
        for piece in pieces
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a list-table; an empty one says so in a sentence."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    body = [list(headings), *([*row] for row in rows)]
    if len(body) == 1:
        return "None.\n"
    for row in body:
        for index, cell in enumerate(row):
            bullet = "   * - " if index == 0 else "     - "
            first, *rest = (cell or "\\ ").split("\n")
            lines.append(bullet + first)
            lines += [f"       {line}".rstrip() for line in rest]
    return "\n".join(lines) + "\n"


def code(text: str, language: str = "yaml") -> str:
    """Return a literal block."""
    return f".. code-block:: {language}\n\n{textwrap.indent(text.rstrip(), '   ')}\n"


def page(*parts: str) -> str:
    """Join the parts of a page."""
    note = ".. This page is written from the code by doc/ext/novadocker_reference.\n"
    return "\n".join([note, *(part for part in parts if part)])

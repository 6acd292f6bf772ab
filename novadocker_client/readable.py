# SPDX-License-Identifier: Apache-2.0
"""JSON that hosts and other users have a say in, read so that all of it can be shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# How JSON writes half of a pair, which alone is no character: no page and no file can have it.
_HALVES = ("\\ud", "\\uD")


def loads(text: str) -> Any:
    """Return what JSON says, with a question mark for what is no character.

    :raises ValueError: when it is none, or more deeply nested than anything that a run writes
    """
    try:
        value = json.loads(text.encode(errors="replace"))
        if any(half in text for half in _HALVES):
            value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    except RecursionError as err:
        raise ValueError("it is nested too deeply") from err
    return value


def mapping(value: Any) -> dict[str, Any]:
    """Return an object that Mistral tells, whole or as JSON; {} for what is none.

    :param value: such as the output of an execution
    """
    if isinstance(value, str):
        try:
            value = loads(value)
        except ValueError:
            return {}
    return dict(value) if isinstance(value, Mapping) else {}

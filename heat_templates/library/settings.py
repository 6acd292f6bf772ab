# SPDX-License-Identifier: Apache-2.0
"""Settings of a step, checked on the host against the schema that the workflow checks too."""

from __future__ import annotations

import re
from typing import Any

from library.faults import SettingsError

JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def matches(pattern: str, value: str) -> bool:
    """Return whether a text matches a pattern, whose `$` is the end and no newline before it."""
    match = re.search(pattern, value)
    if match is None:
        return False
    return not pattern.endswith("$") or match.end() == len(value)


def with_defaults(value: Any, schema: dict[str, Any], where: str = "settings") -> Any:
    """Check a value against the part of JSON schema that steps use, and fill in defaults.

    :raises SettingsError: naming the field; never showing its value, which may be a secret
    """
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    fits = any(
        isinstance(value, JSON_TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
        for name in names
    )
    if names and not fits:
        raise SettingsError(f"{where}: expected {' or '.join(names)}, got {type(value).__name__}")
    if "enum" in schema and value not in schema["enum"]:
        raise SettingsError(f"{where}: must be one of {schema['enum']}")
    if isinstance(value, str) and not matches(schema.get("pattern", ""), value):
        raise SettingsError(f"{where}: does not match the pattern {schema['pattern']}")
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        raise SettingsError(f"{where}: must not be empty")
    if isinstance(value, (int, float)) and value < schema.get("minimum", value):
        raise SettingsError(f"{where}: must be at least {schema['minimum']}")
    if isinstance(value, (int, float)) and value > schema.get("maximum", value):
        raise SettingsError(f"{where}: must be at most {schema['maximum']}")
    if isinstance(value, list):
        items = schema.get("items", {})
        return [with_defaults(item, items, f"{where}[{n}]") for n, item in enumerate(value)]
    if isinstance(value, dict):
        return _object_with_defaults(value, schema, where)
    return value


def _object_with_defaults(
    value: dict[str, Any], schema: dict[str, Any], where: str
) -> dict[str, Any]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    unknown = sorted(set(value) - set(known))
    if unknown and others is False:
        raise SettingsError(
            f"{where}: unknown field {unknown[0]!r}; known are {', '.join(sorted(known)) or 'none'}"
        )
    missing = [name for name in schema.get("required", []) if name not in value]
    if missing:
        raise SettingsError(f"{where}.{missing[0]}: is required")
    filled = {name: sub["default"] for name, sub in known.items() if "default" in sub}
    filled.update(value)
    return {
        name: with_defaults(
            item, known.get(name, others if isinstance(others, dict) else {}), f"{where}.{name}"
        )
        for name, item in filled.items()
    }

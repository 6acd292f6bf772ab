# SPDX-License-Identifier: Apache-2.0
"""JSON schema as hosts read it: what they would refuse is refused before a run begins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema


def _pattern(
    _validator: Any, pattern: str, instance: Any, _schema: Any
) -> Iterator[jsonschema.ValidationError]:
    """Yield a fault where a text does not match; `$` is its end and no newline before it."""
    if not isinstance(instance, str):
        return
    match = re.search(pattern, instance)
    if match is None or (pattern.endswith("$") and match.end() != len(instance)):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})

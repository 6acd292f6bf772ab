# SPDX-License-Identifier: Apache-2.0
"""How large the fields are that Mistral keeps of executions, as Mistral measures them."""

from __future__ import annotations

import json
import sys
from typing import Any

import sqlalchemy as sa
from mistral.db.v2 import api as db_api


def size_of(field: Any) -> int:
    """Return how large a field is, by its text in the database or as Mistral measures it."""
    return max(len(json.dumps(field)), sys.getsizeof(str(field)))


def largest() -> tuple[int, str]:
    """Return the size of the largest field of all executions, and which one it is."""
    largest = (0, "")
    with db_api.transaction(read_only=True):
        for records in (
            db_api.get_workflow_executions(),
            db_api.get_task_executions(),
            db_api.get_action_executions(),
        ):
            for record in records:
                for column in sa.inspect(record).mapper.column_attrs:
                    value = getattr(record, column.key)
                    if isinstance(value, dict | list | str) and column.key != "spec":
                        largest = max(largest, (size_of(value), f"{record.name}.{column.key}"))
    return largest

# SPDX-License-Identifier: Apache-2.0
"""How long a host took for what it did, and how long it was out of service for that."""

from __future__ import annotations

import datetime
from typing import Any

from novadocker_actions.plan.rows import HostRow


def of(row: HostRow) -> dict[str, Any]:
    """Return what a report tells of a host's times, nothing of what there was none of."""
    told: dict[str, Any] = {}
    if row.seconds:
        told.update(seconds=round(sum(row.seconds.values()), 1), steps=row.seconds)
    if row.out_s:
        told["out_of_service_s"] = row.out_s
    if row.out_at:
        since = datetime.datetime.fromtimestamp(row.out_at, datetime.UTC)
        told["out_of_service_since"] = since.isoformat()
    return told

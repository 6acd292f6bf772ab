# SPDX-License-Identifier: Apache-2.0
"""What does not change any more is not asked for at each look: it is kept in Horizon's cache.

It is kept for the user who was allowed to see it, and nobody else is shown it.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.http import HttpRequest

from novadocker_client.connection import Cloud
from novadocker_client.progress import Progress
from novadocker_client.runs import Run, Runs, progress_of

KEPT_S = 3600
# memcached takes a megabyte at most.
LARGEST_BYTES = 900_000


@dataclass(frozen=True)
class Summary:
    """A run as the list shows it."""

    run: Run
    outcome: str
    message: str


def looked(request: HttpRequest, cloud: Cloud, run: Run) -> Progress:
    """Return how far a run has come; what had ended at the last look is not asked for again."""
    key = _key(request, "progress", run.id)
    packed = cache.get(key)
    before = Progress(settled=pickle.loads(zlib.decompress(packed))) if packed else None
    told = progress_of(cloud, run, before)
    if before is None or len(before.settled) != len(told.settled):
        packed = zlib.compress(pickle.dumps(dict(told.settled)), 1)
        if len(packed) <= LARGEST_BYTES:
            cache.set(key, packed, KEPT_S)
    return told


def listed(request: HttpRequest, cloud: Cloud, limit: int, marker: str) -> list[Summary]:
    """Return runs, the newest first.

    Reports are large: all are asked for once, and then only when another run has ended.
    """
    runs = Runs(cloud).list(limit=limit, marker=marker, outputs=False)
    keys = {run.id: _key(request, "summary", run.id) for run in runs if run.ended}
    known: dict[str, tuple[str, str]] = cache.get_many(list(keys.values())) if keys else {}
    if len(known) < len(keys):
        runs = Runs(cloud).list(limit=limit, marker=marker)
        known = {
            _key(request, "summary", run.id): (run.outcome, run.message)
            for run in runs
            if run.ended
        }
        cache.set_many(known, KEPT_S)
    return list(_summaries(request, Runs(cloud).with_waits(runs), known))


def _summaries(request: HttpRequest, runs: Sequence[Run], known: dict[str, Any]) -> Any:
    for run in runs:
        outcome, message = known.get(
            _key(request, "summary", run.id),
            (run.outcome, run.message if run.hold else run.state_info),
        )
        yield Summary(run, outcome, message)


def _key(request: HttpRequest, what: str, run_id: str) -> str:
    user = request.user
    return f"novadocker-{what}-{user.services_region}-{user.tenant_id}-{user.id}-{run_id}"

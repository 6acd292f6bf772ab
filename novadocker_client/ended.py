# SPDX-License-Identifier: Apache-2.0
"""Runs that have ended, as they are kept for when Mistral has expired their executions.

Each is an environment of Mistral's in the run's project, which the run has written at its end. The
name has the hash of the description, which is what a list shows, and that has the hash of the
variables: one that was altered is not shown. Whoever may write environments of the project can
make others all the same, so these are to be read, and no run is begun by them.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from novadocker_client import pages, readable
from novadocker_client.connection import MISTRAL, Cloud
from novadocker_client.errors import NotAllowed, NotFound, asking

# Names begin so; then come when the run began, the run, and the hash, with dashes between them.
ENDED = "novadocker-ended-"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAME = re.compile(rf"{ENDED}[0-9T]{{15}}-(?P<run>{_UUID})-(?P<hash>[0-9a-f]{{32}})")
_TOLD = ("workflow_name", "state", "description", "created_at", "updated_at")
_STATES = ("SUCCESS", "ERROR")
# Times of long before have none in some zones.
_FIRST_YEAR = 2000


def listed(cloud: Cloud, workflows: Collection[str]) -> list[dict[str, Any]]:
    """Return kept runs of the user's project, each once, as Mistral's API tells runs.

    Of their outputs they have the message, and what became of them.

    :param workflows: of which workflows, with the workbook's name
    """
    rows: dict[str, dict[str, Any]] = {}
    for environment in _environments(cloud, ENDED):
        if row := _summary(environment):
            rows.setdefault(row["id"], row)
    return [row for row in rows.values() if row["workflow_name"] in workflows]


def find(cloud: Cloud, run_id: str) -> dict[str, Any] | None:
    """Return a kept run with its inputs and its output, None where it is not kept.

    :raises NotFound: when it is not what the run has written
    """
    for environment in _environments(cloud, f"-{run_id}-"):
        row = _summary(environment)
        if row is None or row["id"] != run_id:
            continue
        with asking(MISTRAL, f"show the environment {environment['name']}"):
            record = cloud.mistral.environments.get(environment["name"]).to_dict()
        text = str(readable.mapping(record.get("variables")).get("items"))
        contents = pages.unpack(text) if pages.hashed(text) == row["contents"] else None
        if not isinstance(contents, Mapping):
            raise NotFound(MISTRAL, f"show the run {run_id}", "what is kept of it was altered")
        return {**row, "input": contents.get("input"), "output": contents.get("output")}
    return None


def _environments(cloud: Cloud, part: str) -> Iterator[dict[str, Any]]:
    """Yield the environments of the user's project whose names have a part, in the order of time.

    Of two for one run the first is the run's own, or as good as that: what was made after it had
    ended is not. There is none for a user who may not list them: runs have their executions for
    long.
    """
    own = cloud.project_id()
    try:
        with asking(MISTRAL, "list runs"):
            kept = cloud.mistral.environments.list(
                fields=["name", "description", "project_id", "created_at"],
                # Where Mistral cuts the list, the latest are in it.
                sort_keys="created_at",
                sort_dirs="desc",
                name=f"has:{part}",
            )
    except NotAllowed:
        return
    rows = [environment.to_dict() for environment in kept]
    # Another project may have some that everybody sees.
    yield from sorted(
        (row for row in rows if row.get("project_id") == own),
        key=lambda row: str(row.get("created_at") or ""),
    )


def _summary(environment: Mapping[str, Any]) -> dict[str, Any] | None:
    told = str(environment.get("description") or "")
    name = _NAME.fullmatch(str(environment["name"]))
    if name is None or pages.hashed(told) != name["hash"]:
        return None
    try:
        row = readable.loads(told)
        summary = {
            **{field: str(row[field]) for field in _TOLD},
            "id": name["run"],
            "contents": row["contents"],
            "output": {
                "message": str(row["message"]),
                "report": {"state": str(row["outcome"])},
            },
        }
        kept_at = str(environment.get("created_at") or "")
        return summary if _is_of_the_past(summary, kept_at) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_of_the_past(row: Mapping[str, Any], kept_at: str) -> bool:
    """Return whether it may be a run that had ended when it was kept: others would go first.

    :raises ValueError: when its times are none of Mistral's
    """
    for field in ("created_at", "updated_at"):
        if datetime.datetime.strptime(row[field], "%Y-%m-%d %H:%M:%S").year < _FIRST_YEAR:
            return False
    return row["state"] in _STATES and row["created_at"] <= (kept_at or row["created_at"])

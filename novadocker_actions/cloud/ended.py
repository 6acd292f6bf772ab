# SPDX-License-Identifier: Apache-2.0
"""Runs that have ended, as they are kept for when Mistral has expired their executions.

Each is an environment of Mistral's in the run's project: what a list shows of it is its
description, what it was given and has reported is in its variables. The name has the hash of the
description, which has that of the variables, so that one that was altered is known. Whoever may
write environments of the project can make others all the same: they are to be read, and clients
begin no run by them.

What was refused is not kept: there may be a secret in it, for which it was refused.
"""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mistralclient.api.v2.client import Client as Mistral

from novadocker_actions.cloud import runs
from novadocker_actions.errors import CloudError
from novadocker_actions.plan import packing

LOG = logging.getLogger(__name__)

# Names begin so; then come when the run began, the run, and the hash, with dashes between them.
ENDED = "novadocker-ended-"
# So many runs are kept, the latest.
MOST = 100
# What Mistral's times are like, and in names, which sort by it.
_TIME, _TIME_IN_NAMES = "%Y-%m-%d %H:%M:%S", "%Y%m%dT%H%M%S"
_TOLD_CHARS = 1000


@dataclass(frozen=True)
class Kept:
    """A run that has been kept.

    :param project_id: whose run it is, "" where that is not known
    :param name: of the environment that has it, "" where it could not be kept
    """

    project_id: str = ""
    name: str = ""


def keep(mistral: Mistral, run_id: str, output: Mapping[str, Any], *, accepted: bool) -> Kept:
    """Keep a run that ends, as far as that can be done: it ends as it does without.

    :param mistral: Mistral's client
    :param run_id: the run
    :param output: its message, url and report, and whether that is bad: it ends in an error then
    :param accepted: whether what it was given is in order
    """
    project_id = ""
    try:
        run = mistral.executions.get(run_id).to_dict()
        project_id = str(run.get("project_id") or "")
        name, told, text = _written(run, output, accepted=accepted)
        mistral.environments.create(
            name=name, description=told, variables={"items": text}, scope="private"
        )
    except CloudError as err:
        # An executor that was lost has written it: the same name has the same content.
        if err.status != 409:
            LOG.warning("The run %s is not kept for when its execution is gone: %s", run_id, err)
            return Kept(project_id)
    except (KeyError, TypeError, ValueError) as err:
        LOG.warning("What Mistral tells of the run %s is not kept: %r", run_id, err)
        return Kept(project_id)
    return Kept(project_id, name)


def _written(
    run: Mapping[str, Any], output: Mapping[str, Any], *, accepted: bool
) -> tuple[str, str, str]:
    """Return the environment's name, what a list shows, and the rest, packed."""
    given = run.get("input") or {} if accepted else {}
    given = json.loads(given) if isinstance(given, str) else given
    told = {name: output[name] for name in ("message", "url", "report")}
    text = _packed({"input": given, "output": told})
    if len(text) > packing.PACKED_CHARS:
        text = _packed({"input": {}, "output": told})
    if len(text) > packing.PACKED_CHARS:
        raise ValueError(f"it takes {len(text)} characters")
    began = datetime.datetime.fromisoformat(str(run["created_at"])[: len("2026-01-01 00:00:00")])
    summary = {
        "workflow_name": run["workflow_name"],
        "state": "ERROR" if output["bad"] else "SUCCESS",
        "description": str(run.get("description") or "")[:_TOLD_CHARS],
        "created_at": began.strftime(_TIME),
        "updated_at": datetime.datetime.now(datetime.UTC).strftime(_TIME),
        "message": str(output["message"])[:_TOLD_CHARS],
        "outcome": output["report"]["state"],
        "contents": packing.hashed(text),
    }
    shown = json.dumps(summary)
    return (
        f"{ENDED}{began.strftime(_TIME_IN_NAMES)}-{run['id']}-{packing.hashed(shown)}",
        shown,
        text,
    )


def run_of(name: str) -> str:
    """Return the run that a name is of, "" for the name of something else.

    :param name: of an environment
    """
    if not name.startswith(ENDED):
        return ""
    return name.removeprefix(ENDED).partition("-")[2][: runs.ID_CHARS]


def too_many(names: Iterable[str], own: str) -> list[str]:
    """Return the names that are to go: of older runs than are kept, and second ones of a run.

    :param names: of environments
    :param own: that of the run that ends, which stays
    """
    known: set[str] = {run_of(own)}
    going = []
    for name in sorted((name for name in names if run_of(name)), reverse=True):
        if name != own and (run_of(name) in known or len(known) >= MOST):
            going.append(name)
        known.add(run_of(name))
    return going


def _packed(contents: Mapping[str, Any]) -> str:
    return packing.compressed(json.dumps(contents, separators=(",", ":")))

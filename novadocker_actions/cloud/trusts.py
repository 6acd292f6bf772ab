# SPDX-License-Identifier: Apache-2.0
"""Trusts that runs have left: who ends a run from outside gives it no time to end its own."""

from __future__ import annotations

import json
import logging
from typing import Any

from keystoneauth1.exceptions import ClientException

from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import NovadockerError

LOG = logging.getLogger(__name__)

# Where a run's settings have its trusts: the one for uploads, and its own.
SETTINGS = ("upload_trust_id", "trust_id")
# The task whose settings those are.
_BEGIN = "begin"
_ENDED = ("SUCCESS", "ERROR", "CANCELLED")
_WORKBOOK = "novadocker."
# A trust lives for a day, and so many runs are looked through for what they left.
_RUNS = 200


def sweep(cloud: Cloud) -> list[str]:
    """End the trusts that the caller's ended runs have left; return them.

    Only what a run of this workbook says to be its own is touched. That some cannot be told or
    ended now is no fault: the next run tries again, and Keystone forgets them in the end.

    :param cloud: the services as the caller
    """
    try:
        # Mostly there is none but those of runs that are under way.
        ended = _of_ended_runs(cloud, set(cloud.trusts()))
    except (NovadockerError, ClientException) as err:
        LOG.warning("Trusts of earlier runs are left to expire: %s", err)
        return []
    for trust_id in ended:
        cloud.revoke(trust_id)
    return ended


def _of_ended_runs(cloud: Cloud, left: set[str]) -> list[str]:
    ended: list[str] = []
    for run in _runs(cloud) if left else []:
        own = left & _of(cloud, str(run.id))
        left -= own
        if run.state in _ENDED:
            ended += sorted(own)
        if not left:
            break
    return ended


def _runs(cloud: Cloud) -> list[Any]:
    newest_first = {"sort_keys": "created_at", "sort_dirs": "desc", "limit": _RUNS}
    fields = ["id", "workflow_name", "state"]
    executions = cloud.workflow.executions.list(
        fields=fields, nulls="task_execution_id", **newest_first
    )
    return [run for run in executions if str(run.workflow_name).startswith(_WORKBOOK)]


def _of(cloud: Cloud, run_id: str) -> set[str]:
    tasks = [task.to_dict() for task in cloud.workflow.tasks.list(run_id, name=_BEGIN)]
    settings = [_settings(task.get("published")) for task in tasks]
    return {str(values.get(name) or "") for values in settings for name in SETTINGS}


def _settings(published: Any) -> dict[str, Any]:
    value = json.loads(published) if isinstance(published, str) and published else published
    return dict((value or {}).get("settings") or {})

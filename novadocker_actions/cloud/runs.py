# SPDX-License-Identifier: Apache-2.0
"""Other runs that change hosts at the same time, as Mistral knows them."""

from __future__ import annotations

import json
from typing import Any

from novadocker_actions.cloud.clients import Service
from novadocker_actions.errors import CloudError

#: Workflows that change hosts.
CHANGING = ("novadocker.deploy", "novadocker.undeploy")
#: The task that publishes the hosts that a run is about.
_SELECT = "select_hosts"
_ACTIVE = ("RUNNING", "PAUSED")


def earlier(mistral: Service, run_id: str) -> list[dict[str, Any]]:
    """Return the active runs that were created before this one, in whatever project.

    The earlier run always wins, so two runs can never wait for each other.

    :param mistral: the workflow service
    :param run_id: this run's execution
    """
    own = mistral.get(f"/v2/executions/{run_id}")
    age = (own["created_at"], own["id"])
    found = []
    for workflow in CHANGING:
        for state in _ACTIVE:
            found += _executions(mistral, workflow, state)
    return [run for run in found if (run["created_at"], run["id"]) < age]


def _executions(mistral: Service, workflow: str, state: str) -> list[dict[str, Any]]:
    query = {"workflow_name": workflow, "state": state, "fields": "id,created_at,workflow_name"}
    try:
        answer = mistral.get("/v2/executions", params={**query, "all_projects": "true"})
    except CloudError as fault:
        if fault.status != 403:
            raise
        answer = mistral.get("/v2/executions", params=query)
    executions: list[dict[str, Any]] = answer["executions"]
    return executions


def hosts_of(mistral: Service, run_id: str) -> set[str] | None:
    """Return the hosts that a run is about, None while it does not say.

    :param mistral: the workflow service
    :param run_id: execution
    """
    tasks = mistral.get(f"/v2/executions/{run_id}/tasks", params={"name": _SELECT})["tasks"]
    for task in tasks:
        published = task.get("published") or {}
        if isinstance(published, str):
            published = json.loads(published)
        if "locked_hosts" in published:
            return set(published["locked_hosts"])
    return None

# SPDX-License-Identifier: Apache-2.0
"""Other runs that change hosts at the same time, as Mistral knows them."""

from __future__ import annotations

import json
from typing import Any

from mistralclient.api.v2.client import Client as Mistral

from novadocker_actions.errors import CloudError

# Workflows that change hosts.
CHANGING = ("novadocker.deploy", "novadocker.undeploy")
# The task that publishes the hosts that a run is about.
_SELECT = "select_hosts"
_ACTIVE = ("RUNNING", "PAUSED")


def earlier(mistral: Mistral, run_id: str) -> list[dict[str, Any]]:
    """Return the active runs that were created before this one, in whatever project.

    The earlier run always wins, so two runs can never wait for each other.

    :param mistral: Mistral's client
    :param run_id: this run's execution
    """
    own = mistral.executions.get(run_id)
    age = (own.created_at, own.id)
    return [run for run in others(mistral, run_id) if (run["created_at"], run["id"]) < age]


def others(mistral: Mistral, run_id: str) -> list[dict[str, Any]]:
    """Return the active runs that change hosts, but for one, in whatever project.

    :param mistral: Mistral's client
    :param run_id: that one
    """
    active = [
        execution.to_dict()
        for workflow in CHANGING
        for state in _ACTIVE
        for execution in _executions(mistral, workflow, state)
    ]
    return [run for run in active if run["id"] != run_id]


def _executions(mistral: Mistral, workflow: str, state: str) -> list[Any]:
    query = {"workflow_name": workflow, "state": state}
    fields = ["id", "created_at", "workflow_name"]
    try:
        executions = mistral.executions.list(fields=fields, **query, all_projects=True)
    except CloudError as err:
        if err.status != 403:
            raise
        executions = mistral.executions.list(fields=fields, **query)
    return list(executions)


def hosts_of(mistral: Mistral, run_id: str) -> Any:
    """Return the names of the hosts that a run is about, as it carries them; None as yet.

    :param mistral: Mistral's client
    :param run_id: execution
    """
    for task in mistral.tasks.list(run_id, name=_SELECT):
        published = task.to_dict().get("published") or {}
        if isinstance(published, str):
            published = json.loads(published)
        if "selected" in published:
            return published["selected"]["names"]
    return None


def is_active(mistral: Mistral, run_id: str) -> bool:
    """Return whether a run is under way, as far as Mistral shows it; one that is gone is not.

    :param mistral: Mistral's client
    :param run_id: execution
    """
    try:
        run = mistral.executions.get(run_id)
    except CloudError as err:
        if err.status not in (400, 403, 404):
            raise
        return False
    return run.state in _ACTIVE


def is_known(mistral: Mistral, run_id: str) -> bool:
    """Return whether Mistral has a run, ended or not.

    :param mistral: Mistral's client
    :param run_id: execution
    """
    try:
        mistral.executions.get(run_id)
    except CloudError as err:
        if err.status != 404:
            raise
        return False
    return True

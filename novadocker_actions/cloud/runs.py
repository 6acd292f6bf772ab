# SPDX-License-Identifier: Apache-2.0
"""Other runs that change hosts at the same time, as Mistral knows them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

from mistralclient.api.v2.client import Client as Mistral

from novadocker_actions.errors import CloudError
from novadocker_actions.plan.leftovers import ALIVE, GONE, LOST, WELL

LOG = logging.getLogger(__name__)

# Workflows that change hosts.
CHANGING = ("novadocker.deploy", "novadocker.undeploy", "novadocker.recover")
# Workflows that publish images.
UPLOADING = ("novadocker.deploy", "novadocker.preload_images")
# The task that publishes the hosts that a run is about.
_SELECT = "select_hosts"
# The task in which a run locks them, and its states in which it has not, and will look at all
# others before it does, if at all.
_LOCK, _NOT_LOCKED = "lock", ("", "IDLE", "WAITING", "ERROR", "CANCELLED", "SKIPPED")
# The task that publishes its settings, and those of them that hosts are made by.
_BEGIN = "begin"
_MAKING = ("docker", "driver_url", "driver_index")
# The name of an environment of Mistral's by which a run is asked to stop begins so; then comes
# the run. Anybody may make it who may cancel the run, which ends it less cleanly.
STOP = "novadocker-stop-"
# By which a batch is approved: then come the run, a dash and the batch's number.
APPROVE = "novadocker-approve-"
_ACTIVE = ("RUNNING", "PAUSED")
# Of the id of a run, in names of Mistral's environments.
ID_CHARS = 36


def ahead(mistral: Mistral, run_id: str) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the active runs that may come before this one, in whatever project.

    The earlier run wins, so two runs can never wait for each other. But times are of a second, and
    of the clock of one of Mistral's servers: a later run may have locked its hosts when this one
    was not there to be seen, and has won then.

    :param mistral: Mistral's client
    :param run_id: this run's execution, which has said which hosts it is about
    :return: each with whether it comes before this one; else it is just about to lock its hosts
    """
    own = mistral.executions.get(run_id)
    age = (own.created_at, own.id)
    for run in others(mistral, run_id):
        if (run["created_at"], run["id"]) < age:
            yield run, True
            continue
        state = _lock_of(mistral, run["id"])
        if state not in _NOT_LOCKED:
            yield run, state == "SUCCESS"


def _lock_of(mistral: Mistral, run_id: str) -> str:
    try:
        return next((str(task.state) for task in mistral.tasks.list(run_id, name=_LOCK)), "")
    except CloudError as err:
        if err.status != 404:
            raise
        return ""


def others(
    mistral: Mistral, run_id: str, workflows: tuple[str, ...] = CHANGING
) -> list[dict[str, Any]]:
    """Return the active runs of workflows, but for one, in whatever project.

    :param mistral: Mistral's client
    :param run_id: that one
    :param workflows: by default those that change hosts
    """
    active = [execution.to_dict() for execution in _active(mistral, workflows)]
    return [run for run in active if run["id"] != run_id]


def _active(mistral: Mistral, workflows: tuple[str, ...]) -> list[Any]:
    query = {"workflow_name": f"in:{','.join(workflows)}", "state": f"in:{','.join(_ACTIVE)}"}
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
    for published in _published(mistral, run_id, _SELECT):
        if "selected" in published:
            return published["selected"]["names"]
    return None


def settings_of(mistral: Mistral, run_id: str) -> dict[str, Any]:
    """Return what a run was told to make of hosts, {} when that is not known any more.

    :param mistral: Mistral's client
    :param run_id: execution
    """
    try:
        for published in _published(mistral, run_id, _BEGIN):
            known = published.get("settings") or {}
            return {name: known[name] for name in _MAKING if name in known}
    except CloudError as err:
        if err.status not in (400, 403, 404):
            raise
    return {}


def _published(mistral: Mistral, run_id: str, task: str) -> Iterator[dict[str, Any]]:
    for begun in mistral.tasks.list(run_id, name=task):
        published = begun.to_dict().get("published") or {}
        yield json.loads(published) if isinstance(published, str) else published


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


def is_asked_to_stop(mistral: Mistral, run_id: str) -> bool:
    """Return whether a run's operator has asked it to end with what is under way.

    :param mistral: Mistral's client
    :param run_id: execution
    """
    return _is_told(mistral, run_id, f"{STOP}{run_id}")


def is_approved(mistral: Mistral, run_id: str, batch: int) -> bool:
    """Return whether a run's operator has approved a batch.

    :param mistral: Mistral's client
    :param run_id: execution
    :param batch: its number, the first being 1
    """
    return _is_told(mistral, run_id, f"{APPROVE}{run_id}-{batch}")


def _is_told(mistral: Mistral, run_id: str, name: str) -> bool:
    """Return whether an environment of this name is in the run's project.

    Another project may have one that everybody sees, under any name: a run does not hear it. That
    it cannot be told is no reason to stop, and approves nothing.
    """
    try:
        told = mistral.environments.list(name=name, fields=["name", "project_id"])
        projects = {environment.project_id for environment in told}
        return bool(projects) and mistral.executions.get(run_id).project_id in projects
    except CloudError as err:
        LOG.warning("Whether there is %s is not known: %s", name, err)
        return False


def fate(mistral: Mistral, run_id: str) -> str:
    """Return what became of a run: ``ALIVE``, ``WELL``, ``LOST`` or ``GONE``.

    A caller who may not see other projects' runs cannot tell one of these from one that is gone, so
    it is taken for alive.

    :param mistral: Mistral's client
    :param run_id: execution
    """
    try:
        state = mistral.executions.get(run_id).state
    except CloudError as err:
        if err.status not in (400, 404):
            raise
        return GONE if _sees_all(mistral) else ALIVE
    if state in _ACTIVE:
        return ALIVE
    return WELL if state == "SUCCESS" else LOST


def _sees_all(mistral: Mistral) -> bool:
    try:
        mistral.executions.list(fields=["id"], limit=1, all_projects=True)
    except CloudError as err:
        if err.status != 403:
            raise
        return False
    return True


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

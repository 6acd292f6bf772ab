# SPDX-License-Identifier: Apache-2.0
"""What a run knows of many hosts lies in pages, of which its workflow carries but names.

Mistral copies what a workflow carries into each of its tasks, and holds no field above a limit: the
rows of ten thousand hosts can be in none. Two kinds of pages hold them:

* what a batch's own workflow has found is in the output of its execution, which stays as it is;
* what an action makes of all hosts is in environments of Mistral's. Anybody in the project can
  alter these, so the name of one has the hash of what is in it, and no other content is believed.

They are in Mistral and not in Heat, so that a run on whose services Heat is away can still be told
of. A run's last action deletes its pages, and those of runs that were lost; those of a report stay
for as long as its execution, or what is kept of the run after that.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from mistralclient.api.v2.client import Client as Mistral

from novadocker_actions.cloud import ended, runs
from novadocker_actions.errors import CloudError, PageLost
from novadocker_actions.plan import packing

LOG = logging.getLogger(__name__)

# What all lists that an action gives may take together and yet be carried as they are.
CARRIED_CHARS = 8_000
# Names of pages begin so; then comes the run.
WORKING, TOLD = "novadocker-page-", "novadocker-report-"
_PAGE, _EXECUTION = "page", "execution"
# What all names of runs' environments have in them, and what they are like: in an address, another
# one could name another thing of Mistral's, which a run would delete for whoever has made it.
_OURS, _NAME = "novadocker-", re.compile(r"[0-9A-Za-z-]+")


def keep(mistral: Mistral, run_id: str, lists: list[list[Any]]) -> list[Any]:
    """Return lists as a workflow carries them: as they are while they are short, else as pages.

    :param mistral: Mistral's client
    :param run_id: the run whose pages they are
    :param lists: such as the rows of batches, each of at most a hundred hosts
    """
    if len(json.dumps(lists)) <= CARRIED_CHARS:
        return lists
    return [write(mistral, WORKING, run_id, items) if items else [] for items in lists]


def write(mistral: Mistral, kind: str, run_id: str, items: list[Any]) -> dict[str, str]:
    """Write a page and return what names it.

    :param mistral: Mistral's client
    :param kind: ``WORKING`` or ``TOLD``
    :param run_id: the run whose page it is
    :param items: what is in it
    """
    text = packing.compressed(json.dumps(items, separators=(",", ":")))
    name = f"{kind}{run_id}-{packing.hashed(text)}"
    try:
        mistral.environments.create(
            name=name,
            description="Hosts of a run of novadocker. The run deletes it.",
            variables={"items": text},
            scope="private",
        )
    except CloudError as err:
        # An executor that was lost has written it: the same name has the same content.
        if err.status != 409:
            raise
    return {_PAGE: name}


def read(mistral: Mistral, value: Any) -> list[Any]:
    """Return a list from how a workflow carries it.

    :param mistral: Mistral's client
    :param value: a list, a packed one, or what names a page
    :raises PageLost: when the page is gone, or is another than was written
    """
    if not isinstance(value, dict):
        return packing.unpack(value)
    if _EXECUTION in value:
        execution = _found(mistral.executions.get, value[_EXECUTION]).to_dict()
        output = execution.get("output") or {}
        output = json.loads(output) if isinstance(output, str) else output
        if "rows" not in output:
            raise PageLost(f"execution {value[_EXECUTION]} has no hosts in its output")
        return packing.unpack(output["rows"])
    variables = _found(mistral.environments.get, value[_PAGE]).to_dict().get("variables") or {}
    variables = json.loads(variables) if isinstance(variables, str) else variables
    text = str(variables.get("items"))
    if not str(value[_PAGE]).endswith(f"-{packing.hashed(text)}"):
        raise PageLost(f"environment {value[_PAGE]} is not what the run has put there")
    return packing.unpack(text)


def _found(get: Any, name: str) -> Any:
    try:
        return get(name)
    except CloudError as err:
        if err.status != 404:
            raise
        raise PageLost(f"{name} is gone from Mistral") from err


def sweep(mistral: Mistral, run_id: str, own: ended.Kept) -> None:
    """Delete the pages of a run that ends, what it was told, and what is left of others.

    What cannot be deleted is left for the next run, and what other projects have for everybody is
    left alone: Mistral would delete it.

    :param mistral: Mistral's client
    :param run_id: the run that ends
    :param own: it, as it is kept
    """
    try:
        names = list(_names(mistral, own.project_id))
        going = ended.too_many(names, own.name)
        kept = {ended.run_of(name) for name in names if name not in going}
        for name in [*going, *_left_over(mistral, run_id, names, kept)]:
            mistral.environments.delete(name)
    except CloudError as err:
        LOG.warning("Pages of runs that have ended are left in Mistral's environments: %s", err)


def _names(mistral: Mistral, project_id: str) -> Iterator[str]:
    """Yield the names of a project's environments that may be those of runs.

    Mistral cuts lists (``[api] max_limit``), and an administrator's have those of all projects.
    """
    known: set[tuple[str, str]] = set()
    since: dict[str, str] = {}
    while True:
        listed = mistral.environments.list(
            fields=["name", "project_id", "created_at"],
            sort_keys="created_at",
            name=f"has:{_OURS}",
            **since,
        )
        new = {(str(item.project_id), str(item.name)) for item in listed} - known
        if not new:
            return
        known |= new
        own = sorted(name for owner, name in new if owner == project_id)
        yield from filter(_NAME.fullmatch, own)
        since = {"created_at": f"gte:{listed[-1].created_at}"}


def _left_over(
    mistral: Mistral, run_id: str, names: Iterable[str], kept: Collection[str]
) -> Iterable[str]:
    states: dict[str, tuple[bool, bool]] = {run_id: (True, False)}
    for name in names:
        kinds = (WORKING, TOLD, runs.STOP, runs.APPROVE)
        kind = next((kind for kind in kinds if name.startswith(kind)), "")
        owner = name[len(kind) :][: runs.ID_CHARS]
        if not kind or not owner or (kind == TOLD and owner in kept):
            continue
        if owner not in states:
            states[owner] = runs.is_known(mistral, owner), runs.is_active(mistral, owner)
        known, active = states[owner]
        if not known or (kind != TOLD and not active):
            yield name

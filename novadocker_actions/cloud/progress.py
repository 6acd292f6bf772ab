# SPDX-License-Identifier: Apache-2.0
"""How far hosts have come with what was pushed to them, before they tell an outcome.

A mailbox takes one signal a message: whatever comes in ends it. So hosts tell their progress to a
wait condition's handle beside their pool's keys, which keeps the last word of each of them. One
question tells of a whole pool. A word is signed as an outcome is, and ends nothing: what is missing
or is not the host's is passed over.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

from heatclient.v1.client import Client as Heat

from novadocker_actions.cloud import host_keys
from novadocker_actions.cloud.host_keys import HostKeys
from novadocker_actions.errors import CloudError
from novadocker_actions.plan.pending import Pending
from novadocker_actions.plan.rows import HostRow

LOG = logging.getLogger(__name__)

# What a host may say.
_WORD_CHARS = 2_000


def document(host: str, push_id: str, text_digest: str, number: int, step: str) -> bytes:
    """Return what the signature of a word covers.

    The host's side of it is ``word`` in heat_templates/agent/progress.py.

    :param host: name that the host is enrolled by
    :param push_id: the push that it is about
    :param text_digest: of the message, from :func:`novadocker_actions.cloud.messages.digest`
    :param number: which of its steps is under way, the first being 1
    :param step: that step's name
    """
    covered = ["novadocker-progress", host, push_id, text_digest, str(number), step]
    return json.dumps(covered, separators=(",", ":")).encode()


def note(heat: Heat, host_rows: Iterable[HostRow], keys: HostKeys) -> None:
    """Note at which step hosts are whose recipes are under way; one request a pool.

    :param heat: Heat's client
    :param host_rows: hosts
    :param keys: the hosts' pinned keys
    """
    by_stack: dict[str, list[tuple[HostRow, Pending]]] = {}
    for row in host_rows:
        if row.pending is not None and len(row.pending.steps) > 1:
            by_stack.setdefault(keys.stack_of(row.host), []).append((row, row.pending))
    by_stack.pop("", None)
    for stack, waiting in by_stack.items():
        words = _words(heat, stack)
        for row, pending in waiting:
            number = _number(row.host, pending, words.get(row.host), keys)
            pending.at = max(pending.at, number)


def _words(heat: Heat, stack: str) -> dict[str, Any]:
    try:
        return dict(heat.resources.metadata(stack, host_keys.PROGRESS) or {})
    except CloudError as err:
        # A pool that was enrolled by an earlier release has no handle.
        LOG.info("How far the hosts of %s have come is not known: %s", stack, err)
        return {}


def _number(host: str, pending: Pending, word: Any, keys: HostKeys) -> int:
    """Return the number of the step that a host says it is at, 0 for what is no word of its own."""
    data = word.get("data") if isinstance(word, dict) else None
    if not isinstance(data, str) or len(data) > _WORD_CHARS:
        return 0
    try:
        told = json.loads(data)
        number, step = told["number"], told["step"]
        if told["push_id"] != pending.push_id or pending.steps[number - 1] != step:
            # Of an earlier push, as a rule.
            return 0
    except (ValueError, RecursionError, LookupError, TypeError):
        return 0
    text = document(host, pending.push_id, pending.text_digest, number, step)
    if number < 1 or not host_keys.is_signed(keys.of(host), told.get("signature"), text):
        LOG.warning("What tells of the progress of %s is not signed by it", host)
        return 0
    return int(number)

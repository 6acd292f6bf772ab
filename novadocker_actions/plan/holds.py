# SPDX-License-Identifier: Apache-2.0
"""Between which batches a run waits, for what, and how long at most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from novadocker_actions.errors import Refused

# What a run waits for: that a time is over, or that its operator approves the next batch.
PAUSE = "pause"
APPROVAL = "approval"
# What the input of that name asks for.
NONE, CANARY, BATCHES = "none", "canary", "batches"
# A run's trust, and its lease of the hosts that it has staged, last for a day. So long after its
# beginning a run may wait: in what is left of the day it ends, and takes back what was staged.
LONGEST_S = 20 * 3600
# After how long a run that waits looks again whether it is to go on: the longer it has waited, the
# more seldom.
FIRST_LOOK_S, LAST_LOOK_S, _SHARE = 5, 60, 10


@dataclass(frozen=True)
class Hold:
    """What a run waits for before a batch.

    :param kind: ``PAUSE`` or ``APPROVAL``
    :param batch: number of the batch, the first being 1
    :param left: how many batches are left, with this one
    :param hosts: how many hosts it changes
    :param since: when the waiting began, in seconds since the epoch
    :param until: when it ends of itself
    """

    kind: str
    batch: int
    left: int
    hosts: int
    since: float
    until: float

    def look_s(self, now: float) -> int:
        """Return after how many seconds it is to be looked at again, 0 where it is over.

        :param now: seconds since the epoch
        """
        wanted = min(LAST_LOOK_S, max(FIRST_LOOK_S, (now - self.since) / _SHARE))
        return max(0, math.ceil(min(wanted, self.until - now)))


def kind_before(batch: int, settings: dict[str, Any]) -> str:
    """Return what a run waits for before a batch, "" for nothing.

    :param batch: number of the batch, the first being 1
    :param settings: the workflow's
    """
    if batch == 1:
        return ""
    asked = settings["approval"]
    if asked == BATCHES or (asked == CANARY and batch == 2):
        return APPROVAL
    return PAUSE if settings["batch_pause_s"] else ""


def before(batch: int, left: int, hosts: int, settings: dict[str, Any], now: float) -> Hold | None:
    """Return what a run waits for before a batch, None for nothing.

    :param batch: number of the batch, the first being 1
    :param left: how many batches are left, with this one
    :param hosts: how many hosts it changes
    :param settings: the workflow's, with until when the run may wait and begin batches
    :param now: seconds since the epoch
    """
    kind = kind_before(batch, settings) if hosts else ""
    if not kind:
        return None
    ends = [settings["hold_until"], settings["until"]]
    ends += [now + settings["batch_pause_s"]] if kind == PAUSE else []
    return Hold(kind, batch, left, hosts, now, min(end for end in ends if end is not None))


def require_bearable(batches: int, settings: dict[str, Any]) -> None:
    """Refuse pauses that are longer than a run may wait.

    :param batches: how many batches change hosts
    :param settings: the workflow's
    :raises Refused: naming the input
    """
    pauses = [number for number in range(2, batches + 1) if kind_before(number, settings) == PAUSE]
    most_s = min(LONGEST_S, settings["run_timeout_s"] or LONGEST_S)
    if settings["phase"] != "stage" and len(pauses) * settings["batch_pause_s"] >= most_s:
        raise Refused(
            "batch_pause_s",
            f"{len(pauses)} pauses between {batches} batches take "
            f"{len(pauses) * settings['batch_pause_s']} s, and the run has {most_s} s for all.",
            "Give shorter ones, larger batches, or select fewer hosts for each run.",
        )

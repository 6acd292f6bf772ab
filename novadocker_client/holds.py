# SPDX-License-Identifier: Apache-2.0
"""What runs wait for between two batches, as far as Mistral shows it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from novadocker_client import readable

# The task of a run that waits, and the workflow that it runs for that.
TASK = "hold"
WORKFLOW = "novadocker._hold"
APPROVAL = "approval"


@dataclass(frozen=True)
class Hold:
    """What a run waits for before a batch.

    :param approval: whether that is an approval; else it is that a time is over
    :param batch: number of the batch, the first being 1
    :param left: how many batches are left, with this one
    :param hosts: how many hosts it changes
    :param until: when the waiting ends of itself
    """

    approval: bool
    batch: int
    left: int
    hosts: int
    until: datetime.datetime

    def sentence(self, run_id: str) -> str:
        """Return it in words, with how the run is gone on with.

        :param run_id: the run
        """
        hosts = f"{self.hosts} host{'' if self.hosts == 1 else 's'}"
        batch = f"batch {self.batch} of {self.batch + self.left - 1}, {hosts}"
        until = self.until.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
        approve = f"openstack docker run approve {run_id}"
        if self.approval:
            return f"It waits for an approval of {batch}, until {until}: `{approve}`."
        return f"It pauses before {batch}, until {until}; `{approve}` has it go on at once."


def read(given: Any) -> Hold | None:
    """Return what the input of a workflow that waits says, None where it is another workflow's.

    :param given: the input, as Mistral tells it
    """
    hold = readable.mapping(given).get("hold")
    if not isinstance(hold, Mapping):
        return None
    try:
        return Hold(
            approval=hold.get("kind") == APPROVAL,
            batch=int(hold["batch"]),
            left=int(hold["left"]),
            hosts=int(hold["hosts"]),
            until=datetime.datetime.fromtimestamp(float(hold["until"]), datetime.UTC),
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        # Somebody has begun that workflow alone.
        return None

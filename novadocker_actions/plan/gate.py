# SPDX-License-Identifier: Apache-2.0
"""Whether a run goes on after a batch."""

from __future__ import annotations

from dataclasses import dataclass

from novadocker_actions.plan.holds import LONGEST_S

# How the reason begins with which a run ends as its operator wants it: he has asked it to, or has
# not approved its next batch.
ASKED, UNAPPROVED = "it was asked to stop", "nobody approved the next batch in time"


@dataclass(frozen=True)
class Decision:
    """What the gate says.

    :param go_on: whether to start the next batch
    :param reason: why not, "" when the run goes on or is at its end
    """

    go_on: bool
    reason: str = ""


def decide(
    failed: int,
    max_failed: int,
    left: int,
    *,
    timeout_s: int | None = None,
    late: bool = False,
    asked: bool = False,
    unapproved: bool = False,
    tired: bool = False,
) -> Decision:
    """Decide after a batch, over all that failed until now.

    :param failed: hosts that failed until now, or of which nothing is known
    :param max_failed: how many may fail
    :param left: how many batches would come next
    :param timeout_s: after which no batch is begun, for the reason
    :param late: whether that is over
    :param asked: whether the operator has asked the run to stop
    :param unapproved: whether the next batch was to be approved, and the time for that is over
    :param tired: whether the run would have to wait for longer than it may
    """
    if failed > max_failed:
        return Decision(
            False,
            f"{failed} hosts failed and max_failed is {max_failed}"
            + (f": {left} batches were not started" if left else ""),
        )
    if asked and left:
        return Decision(False, f"{ASKED}: {left} batches were not started")
    if unapproved and left:
        return Decision(False, f"{UNAPPROVED}: {left} batches were not started")
    if late and left:
        return Decision(False, f"{timeout_s} s are over: {left} batches were not started")
    if tired and left:
        hours = LONGEST_S // 3600
        return Decision(False, f"it has waited for {hours} hours: {left} batches were not started")
    return Decision(left > 0)

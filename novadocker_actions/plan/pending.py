# SPDX-License-Identifier: Apache-2.0
"""What a host was asked to do, and has not told the outcome of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pending:
    """A recipe that was pushed to a host and not yet collected.

    :param steps: in the order in which the host runs them
    :param deadline: seconds since the epoch after which the host is given up; it keeps it as well
    :param awaited: until when it is waited for after that, since Heat was away
    :param again: how often it was pushed anew since an outcome had come that was not the host's
    :param remark: whether it is but a remark when a step fails
    :param text_digest: of the message, which the host signs with its outcome
    :param at: which of the steps the host was at when it told last, the first being 1; 0 before
    """

    steps: list[str]
    mode: str
    push_id: str
    config_id: str
    deadline: int
    awaited: int = 0
    again: int = 0
    remark: bool = False
    text_digest: str = ""
    at: int = 0

    @property
    def told(self) -> str:
        """Return the names of the steps, for a sentence."""
        return ", ".join(self.steps)

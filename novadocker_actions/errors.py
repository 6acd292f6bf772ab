# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in this package."""

from __future__ import annotations

from typing import Any

# Status of a service that gave no answer at all.
NO_ANSWER = 0
# Statuses of a service that may answer in another way in a while.
PASSING = (NO_ANSWER, 429, 500, 502, 503, 504)


class NovadockerError(Exception):
    """Base of this package's errors."""


class Refused(NovadockerError):
    """The operator has to change something first; trying again alone does not help.

    :param field: the workflow input, or the thing, that is at fault
    :param problem: what is wrong with it
    :param remedy: what to do about it
    """

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        self.field = field
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{field}: {problem} {remedy}")

    def to_dict(self) -> dict[str, Any]:
        """Return the form in which a workflow carries a refusal."""
        return {"refused": True, "field": self.field, "message": str(self)}


class Stopped(Refused):
    """The operator has asked the run to stop, before anything was changed."""

    def __init__(self) -> None:
        super().__init__("run", "it was asked to stop before it had changed anything.", "")

    def to_dict(self) -> dict[str, Any]:
        """Return the form in which a workflow carries it."""
        return {**super().to_dict(), "stopped": True, "message": self.problem}


class CloudError(NovadockerError):
    """An OpenStack service answered a request with an error.

    :param service: service type, such as ``compute``
    :param request: method and path
    :param status: HTTP status, or NO_ANSWER
    :param text: what the service said
    """

    def __init__(self, service: str, request: str, status: int, text: str) -> None:
        self.service = service
        self.status = status
        # Of a service that is away, overloaded, or behind one that is.
        self.may_pass = status in PASSING
        answered = f"answered {request} with {status}" if status else f"did not answer {request}"
        super().__init__(f"{service} {answered}: {text}")

    def to_dict(self) -> dict[str, Any]:
        """Return the form in which a workflow carries that a service stayed away."""
        return {"away": self.service, "message": str(self)}


class HostBusy(NovadockerError):
    """A host belongs to another run.

    :param text: which one, and what to do
    :param uncollected: whether nothing is under way, but the other run has yet to collect it
    """

    def __init__(self, text: str, *, uncollected: bool = False) -> None:
        self.uncollected = uncollected
        super().__init__(text)


class PageLost(NovadockerError):
    """What a run has written of its hosts cannot be read again."""

    def to_dict(self) -> dict[str, Any]:
        """Return the form in which a workflow carries that it cannot go on with these hosts."""
        return {"lost": True, "message": f"{self}. Start a new run: it asks the hosts themselves."}


class MissingFile(NovadockerError):
    """A workbook, template or host script is neither in a checkout nor installed."""

# SPDX-License-Identifier: Apache-2.0
"""What can go wrong when the cloud is asked, told alike whichever client library asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import heatclient.exc
import requests
from keystoneauth1.exceptions import CatalogException, ClientException
from mistralclient.api.base import APIException
from openstack.exceptions import SDKException

_TEXT_CHARS = 1000


class ClientError(Exception):
    """The cloud did not do what it was asked.

    :param service: what was asked, such as ``Mistral``
    :param doing: what it was asked for, as ``show the run 1234``
    :param reason: what it said
    :param status: HTTP status, 0 where there was no answer
    """

    remedy = ""

    def __init__(self, service: str, doing: str, reason: str, status: int = 0) -> None:
        self.service, self.doing, self.reason, self.status = service, doing, reason, status
        answered = f" ({status})" if status else ""
        text = f"{service} does not {doing}{answered}: {reason.rstrip('.')}."
        super().__init__(f"{text} {self.remedy}" if self.remedy else text)


class LoginExpired(ClientError):
    """The session's token is not taken any more."""

    remedy = "Log in again."


class NotAllowed(ClientError):
    """The user's roles do not allow it."""

    remedy = "Use a user that the service's policy allows it, such as an administrator."


class NotFound(ClientError):
    """It is not there, or not any more; or the catalog has no such service."""


class Unavailable(ClientError):
    """The service is away or overloaded. It may be back in a moment."""

    remedy = "See whether the service is up, then repeat it."


class NotAccepted(ClientError):
    """The service understood it and refused it: something in it has to be another."""


class BadInput(Exception):
    """What was given does not fit, and nothing was asked of the cloud.

    :param name: of the input, or of the option
    :param problem: what is wrong with it
    :param remedy: what to do
    """

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        self.name, self.problem, self.remedy = name, problem, remedy
        super().__init__(f"{name}: {problem} {remedy}")


_KINDS: dict[int, type[ClientError]] = {
    400: NotAccepted,
    401: LoginExpired,
    403: NotAllowed,
    404: NotFound,
    409: NotAccepted,
    429: Unavailable,
}


def _status(fault: Exception) -> int:
    for name in ("error_code", "code", "http_status", "status_code"):
        value = getattr(fault, name, None)
        if isinstance(value, int):
            return value
    return 0


def _reason(fault: Exception) -> str:
    # Services put pages of HTML around some faults, and tracebacks into others.
    text = str(fault).removeprefix("ERROR: ").strip() or type(fault).__name__
    return text if len(text) <= _TEXT_CHARS else f"{text[:_TEXT_CHARS]}..."


@contextmanager
def asking(service: str, doing: str) -> Iterator[None]:
    """Turn the faults of all client libraries into :class:`ClientError`.

    :param service: what is asked
    :param doing: what it is asked for; "Mistral does not ..." ends with it
    :raises ClientError: of the class that says what to do about it
    """
    try:
        yield
    except (
        APIException,
        ClientException,
        SDKException,
        heatclient.exc.BaseException,
        requests.RequestException,
    ) as err:
        raise _told(service, doing, err) from err


def _told(service: str, doing: str, fault: Any) -> ClientError:
    status = _status(fault)
    if isinstance(fault, CatalogException):
        return NotFound(service, doing, f"the catalog has none: {_reason(fault)}")
    kind = _KINDS.get(status, ClientError if 400 <= status < 500 else Unavailable)
    return kind(service, doing, _reason(fault), status)

# SPDX-License-Identifier: Apache-2.0
"""How any service is asked: again while it is away, and with errors in one form.

OpenStack's clients take a :class:`ServiceAdapter` for their session, so none of them has to know.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import requests
import tenacity
from keystoneauth1 import adapter, exceptions

from novadocker_actions.errors import NO_ANSWER, CloudError, NovadockerError

Answer = TypeVar("Answer")

# No answer that is asked for is as long. What hosts have Heat keep is bounded by nothing else.
MOST_BYTES = 16 * 1024 * 1024
# Pauses between requests that a service cannot answer now: each is twice the one before.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1, 20


class Patience:
    """How long services are borne that are away: by a deadline, for all requests of an action.

    It begins with the first request that fails, so that many hosts do not wait one after the other.

    :param patience_s: 0 bears nothing
    """

    def __init__(self, patience_s: float = 0) -> None:
        self._patience_s = patience_s
        self._until: float | None = None

    def is_over(self, _attempt: object = None) -> bool:
        """Return whether a request that has just failed is not to be tried again."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._patience_s
        return now >= self._until


def _retrying(patience: Patience) -> tenacity.Retrying:
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_may_pass),
        wait=tenacity.wait_exponential(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        + tenacity.wait_random(0, FIRST_PAUSE_S),
        stop=patience.is_over,
        reraise=True,
    )


def of_keystone(patience: Patience, ask: Callable[[], Answer]) -> Answer:
    """Return what Keystone is asked for outside of a request to a service: a token, an address.

    :param patience: how long it is borne that Keystone is away
    :param ask: asks, by keystoneauth
    :raises CloudError: Keystone stays away, or refuses
    """

    def ask_once() -> Answer:
        try:
            return ask()
        except exceptions.ClientException as err:
            status = getattr(err, "http_status", NO_ANSWER)
            raise CloudError("identity", "a question about a token", status, str(err)) from err

    return _retrying(patience)(ask_once)


class ServiceAdapter(adapter.Adapter):
    """One service of the cloud: its errors are :class:`CloudError`, whatever client asks it.

    A request that the service cannot answer at the moment is repeated with growing pauses.

    :param session: an authenticated keystoneauth session
    :param service_type: such as ``compute``
    :param patience: how long that goes on
    :param options: keystoneauth's own, such as ``region_name``
    """

    def __init__(
        self,
        session: Any,
        service_type: str,
        patience: Patience | None = None,
        **options: Any,
    ) -> None:
        super().__init__(session, service_type, **{"connect_retries": 2, **options})
        self._patience = patience or Patience()
        self._retrying = _retrying(self._patience)

    @functools.cached_property
    def _endpoint(self) -> str:
        return of_keystone(self._patience, self._in_catalog).rstrip("/")

    def _in_catalog(self) -> str:
        with contextlib.suppress(exceptions.CatalogException):
            return str(self.get_endpoint() or "")
        return ""

    def in_catalog(self) -> bool:
        """Return whether the catalog has the service for this project."""
        return bool(self._endpoint)

    @property
    def url(self) -> str:
        """Return the service's address in the catalog, without a trailing slash.

        :raises NovadockerError: the catalog has none
        """
        if not self._endpoint:
            raise self._absent()
        return self._endpoint

    def _absent(self) -> NovadockerError:
        return NovadockerError(f"The catalog has no {self.service_type} service for this project.")

    def request(self, url: str, method: str, **options: Any) -> requests.Response:
        """Return the answer to a request, which is no error.

        :param url: path below the service's address, or a whole address
        :raises CloudError: the service answers with an error, or not at all
        :raises NovadockerError: the catalog has no such service
        """
        # A copy, for the threads of an action ask at the same time.
        return self._retrying.copy()(self._request_once, url, method, **options)

    def _request_once(self, url: str, method: str, **options: Any) -> requests.Response:
        service, request = str(self.service_type), f"{method} {url}"
        try:
            answer = super().request(url, method, **{**options, "raise_exc": False, "stream": True})
            length = int(answer.headers.get("Content-Length") or 0)
            if length <= MOST_BYTES:
                # All of it is read now, so the connection is free for the next request.
                _ = answer.content
        except exceptions.CatalogException as err:
            raise self._absent() from err
        except exceptions.ClientException as err:
            # No connection, or Keystone gave no token for it.
            status = getattr(err, "http_status", NO_ANSWER)
            raise CloudError(service, request, status, str(err)) from err
        except requests.RequestException as err:
            # The answer broke off.
            raise CloudError(service, request, NO_ANSWER, str(err)) from err
        if length > MOST_BYTES:
            answer.close()
            text = f"an answer of {length} bytes, more than {MOST_BYTES}"
            raise CloudError(service, request, answer.status_code, text)
        if answer.status_code >= 400:
            raise CloudError(service, request, answer.status_code, told(answer))
        return answer


def _may_pass(err: BaseException) -> bool:
    return isinstance(err, CloudError) and err.may_pass


def told(answer: requests.Response) -> str:
    """Return a service's own words for an error."""
    try:
        body = answer.json()
    except ValueError:
        return answer.text.strip()[:300]
    if isinstance(body, dict):
        for part in (body, *body.values()):
            if isinstance(part, dict) and (part.get("message") or part.get("faultstring")):
                return str(part.get("message") or part["faultstring"])[:300]
    return str(body)[:300]

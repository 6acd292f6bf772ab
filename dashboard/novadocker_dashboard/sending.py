# SPDX-License-Identifier: Apache-2.0
"""A form that is sent twice, by two clicks or by two operators at once, is carried out once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.cache import cache

# Name of the form's field that is another in each form that is shown.
FIELD = "once"
# As long as a form may lie open and be sent again.
KEPT_S = 3600
_BEGUN = ""


class SentBefore(Exception):
    """It has been sent before.

    :param result: what came of it, "" where that is not known yet
    """

    def __init__(self, result: str) -> None:
        self.result = result
        super().__init__("This has been sent already, and is done once only.")


class Sending:
    """A form as it is carried out.

    :param result: what came of it, for whoever sends it again
    """

    def __init__(self) -> None:
        self.result = _BEGUN


def token() -> str:
    """Return what tells a form from each other one."""
    return uuid.uuid4().hex


@contextmanager
def once(*what: str) -> Iterator[Sending]:
    """Carry something out unless it is or has been. What fails may be sent again.

    :param what: what it is: whatever else is not told apart
    :raises SentBefore: when it was sent before
    """
    key = "-".join(("novadocker-sent", *what))
    # Horizon's cache is shared by its processes, and adding to it is atomic in memcached.
    if not cache.add(key, _BEGUN, KEPT_S):
        raise SentBefore(cache.get(key) or _BEGUN)
    sending = Sending()
    try:
        yield sending
    except BaseException:
        cache.delete(key)
        raise
    cache.set(key, sending.result, KEPT_S)

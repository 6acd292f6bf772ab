# SPDX-License-Identifier: Apache-2.0
"""Images that were refused once are refused again without a download.

Glance's images do not change: what was found in one is there the next time, too. Only what follows
from the image alone is noted, never what a host lacks.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Mapping
from typing import Any

# Not for ever, as a later release of the engine or the driver may take the image.
KEPT_S = 3600
MAX_REFUSALS = 1000


class Refusals:
    """Reasons for which images were refused on this host, bounded in number and time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: collections.OrderedDict[tuple[Any, ...], tuple[float, str]] = (
            collections.OrderedDict()
        )

    def note(self, meta: Mapping[str, Any], reason: str) -> None:
        """Note why an image is refused.

        :param meta: Glance's description of the image
        """
        with self._lock:
            self._noted.pop(_identity(meta), None)
            self._noted[_identity(meta)] = (time.monotonic() + KEPT_S, reason)
            if len(self._noted) > MAX_REFUSALS:
                self._noted.popitem(last=False)

    def reason(self, meta: Mapping[str, Any]) -> str | None:
        """Return why an image was refused lately; None where it was not."""
        with self._lock:
            until, reason = self._noted.get(_identity(meta), (0.0, ""))
            if until > time.monotonic():
                return reason
            self._noted.pop(_identity(meta), None)
            return None


def _identity(meta: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what no other image has, and not this one after its data was replaced."""
    return tuple(
        str(meta.get(name)) if meta.get(name) is not None else None
        for name in ("id", "checksum", "size")
    )

# SPDX-License-Identifier: Apache-2.0
"""Configs of mailboxes that this executor has made or read: none is asked for twice."""

from __future__ import annotations

import collections
import threading
from typing import Any

# How many are remembered, and of which length: a message has 3 KB.
KNOWN_CONFIGS, KNOWN_CHARS = 3_000, 16_000


class KnownConfigs:
    """Configs of mailboxes that this executor has made or read, the last few thousand of them.

    Heat never changes a config, and gives its id to no other: so what was in one still is. A host's
    next message is made from the one before, which is in its mailbox as the host's deployment says.
    """

    def __init__(self) -> None:
        self._configs: collections.OrderedDict[str, dict[str, Any]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, config_id: str) -> dict[str, Any] | None:
        """Return a config, None when it is not known."""
        with self._lock:
            return self._configs.get(config_id)

    def put(self, config: dict[str, Any]) -> dict[str, Any]:
        """Know a config, unless it is a large one; return it."""
        if len(str(config.get("config") or "")) <= KNOWN_CHARS:
            with self._lock:
                self._configs[config["id"]] = config
                while len(self._configs) > KNOWN_CONFIGS:
                    self._configs.popitem(last=False)
        return config

    def forget(self, config_id: str = "") -> None:
        """Forget a config that is deleted, without an id all of them."""
        with self._lock:
            if config_id:
                self._configs.pop(config_id, None)
            else:
                self._configs.clear()


KNOWN = KnownConfigs()

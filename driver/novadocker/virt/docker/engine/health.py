# SPDX-License-Identifier: Apache-2.0
"""Health checks of images, which the engine runs in containers.

Each run takes the engine some time of the host's, which no flavor limits: how often it is, is not
for the image alone to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# None, not even the image's own.
NONE: Mapping[str, Any] = {"test": ["NONE"]}
_NS = 1_000_000_000
_KINDS = ("CMD", "CMD-SHELL")
# The engine's own where an image says nothing.
_INTERVAL_S = _TIMEOUT_S = 30
_RETRIES = 3
# In this time no failure counts.
_MOST_START_S = 600
# The engine takes none that is shorter.
_LEAST_START_NS = 1_000_000
_MOST_TIMEOUT_S = 60
_MOST_RETRIES = 100
_NUMBERS = ("interval", "timeout", "startperiod", "startinterval", "retries")


def is_one(value: Any) -> bool:
    """Return whether a value in an image's configuration is a health check that can be run."""
    if not isinstance(value, dict):
        return False
    folded = {str(name).casefold(): setting for name, setting in value.items()}
    test = folded.get("test")
    return (
        len(folded) == len(value)
        and isinstance(test, list)
        and len(test) > 1
        and all(isinstance(word, str) for word in test)
        and test[0] in _KINDS
        and all(type(folded.get(name, 0)) is int for name in _NUMBERS)
    )


def bounded(asked: Any, least_s: int) -> Mapping[str, Any]:
    """Return the health check that a container gets.

    :param asked: the image's; None where it has none
    :param least_s: least seconds between two runs; 0 for none at all
    """
    if not least_s or not is_one(asked):
        return NONE
    interval = int(asked.get("Interval") or 0) or _INTERVAL_S * _NS
    timeout = int(asked.get("Timeout") or 0) or _TIMEOUT_S * _NS
    retries = int(asked.get("Retries") or 0) or _RETRIES
    start_period = int(asked.get("StartPeriod") or 0)
    return {
        "test": list(asked["Test"]),
        "interval": max(interval, least_s * _NS),
        "timeout": min(max(timeout, _NS), _MOST_TIMEOUT_S * _NS),
        "retries": min(max(retries, 1), _MOST_RETRIES),
        "start_period": (
            min(start_period, _MOST_START_S * _NS) if start_period >= _LEAST_START_NS else 0
        ),
    }


def of(details: Mapping[str, Any]) -> str | None:
    """Return what the engine says of a container's health; None where nobody checks it."""
    return ((details.get("State") or {}).get("Health") or {}).get("Status")

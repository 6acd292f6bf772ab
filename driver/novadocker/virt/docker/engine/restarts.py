# SPDX-License-Identifier: Apache-2.0
"""Whether the engine starts a workload again that has ended by itself.

The engine keeps to it also when it starts itself, whatever a container was stopped for: while Nova
does not want an instance to run, its container has no such policy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NO: Mapping[str, Any] = {"Name": "no", "MaximumRetryCount": 0}
_POLICY = re.compile(r"(no|always|on-failure)|on-failure:([1-9][0-9]{0,5})")


def policy(asked: str) -> Mapping[str, Any]:
    """Return the engine's restart policy for what is asked for.

    :param asked: ``no``, ``always``, ``on-failure``, or that with a colon and the most restarts in
        a row
    :raises ValueError: it is none of these
    """
    match = _POLICY.fullmatch(asked)
    if match is None:
        raise ValueError(f"{asked!r} is not 'no', 'always', 'on-failure' or 'on-failure:NUMBER'")
    name, most = match.groups()
    return {"Name": name or "on-failure", "MaximumRetryCount": int(most or 0)}


def of(details: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the restart policy of a container that the engine describes."""
    had = (details.get("HostConfig") or {}).get("RestartPolicy") or {}
    return {
        "Name": had.get("Name") or "no",
        "MaximumRetryCount": int(had.get("MaximumRetryCount") or 0),
    }

# SPDX-License-Identifier: Apache-2.0
"""Whether the host that answers is the one that is meant.

A wrong address, a reused lease or a stale name would otherwise have one host taken out of service
and another one converted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def fault_of(name: str, facts: Mapping[str, Any], node_ids: Collection[str] = ()) -> str:
    """Return how a host contradicts the name that it is enrolled by, "" when it does not.

    :param name: of Nova's compute service, or of a host without one
    :param facts: what describe_host found there
    :param node_ids: Nova's hypervisors of that name, where they are what hosts keep as compute_id
    """
    nova = facts.get("nova") or {}
    host, hostname = str(nova.get("host") or ""), str(facts.get("hostname") or "")
    if host and host != name:
        return f"the host that answers as {name} is {host} in Nova"
    if not host and nova.get("unit"):
        # Its host name may not be what Nova calls it.
        return f"{nova['unit']} of the host that answers as {name} cannot be asked for Nova's name"
    if not host and not _same_hostname(name, hostname):
        return f"the host that answers as {name} is called {hostname or 'nothing'}"
    compute_id = str(nova.get("compute_id") or "")
    if compute_id and node_ids and compute_id not in node_ids:
        return (
            f"the host that answers as {name} has the compute_id {compute_id}, in Nova {name} is "
            + ", ".join(sorted(node_ids))
        )
    return ""


def _same_hostname(name: str, other: str) -> bool:
    # Either may be the full name and the other the first part of it.
    name, other = name.lower().rstrip("."), other.lower().rstrip(".")
    if "." in name and "." in other:
        return name == other
    return name.partition(".")[0] == other.partition(".")[0] != ""

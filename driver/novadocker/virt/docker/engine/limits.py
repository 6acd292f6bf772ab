# SPDX-License-Identifier: Apache-2.0
"""What of a container can be changed while it exists, and what takes another container.

Both are read from the engine's ``HostConfig``: of a container that there is, and of one that would
be made now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from novadocker.virt.docker.host import cpus

# What the kernel takes for no number of shares that is given.
_DEFAULT_SHARES = 1024
_CHANGEABLE = ("Memory", "MemorySwap", "CpuPeriod", "CpuQuota", "CpuShares", "PidsLimit")
CPUS = "CpusetCpus"
# The sandbox is another container, whatever the options say.
_NOT_COMPARED = {*_CHANGEABLE, CPUS, "NetworkMode"}


def changeable(host_config: Mapping[str, Any]) -> dict[str, int]:
    """Return the limits that the engine changes in a container that exists.

    :return: bytes, microseconds and numbers, by the engine's names; each is set
    """
    limits = {name: int(host_config.get(name) or 0) for name in _CHANGEABLE}
    limits["CpuShares"] = limits["CpuShares"] or _DEFAULT_SHARES
    # The engine tells 0 or nothing for no limit, and takes -1.
    limits["PidsLimit"] = limits["PidsLimit"] if limits["PidsLimit"] > 0 else -1
    return limits


def changes(had: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, int | str]:
    """Return what the engine is to change of a container; nothing where it is as it should be."""
    limits = changeable(wanted)
    return {**(limits if changeable(had) != limits else {}), **rebound(had, wanted)}


def rebound(had: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, int | str]:
    """Return the processors that the engine is to bind a container to, where they are others."""

    def bound(host_config: Mapping[str, Any]) -> str:
        # By an empty text the engine would change nothing.
        return host_config.get(CPUS) or cpus.text(cpus.online())

    return {CPUS: bound(wanted)} if bound(had) != bound(wanted) else {}


def fixed(host_config: Mapping[str, Any]) -> str:
    """Return a digest of all that takes another container: privileges, size of the disk, mounts."""
    compared = {
        name: value
        for name, value in host_config.items()
        if name not in _NOT_COMPARED and value not in (None, "", [], {})
    }
    # It changes with what Nova wants of an instance; containers are made without one.
    compared["RestartPolicy"] = {"Name": "no"}
    told = json.dumps(compared, sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:32]

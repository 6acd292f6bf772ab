# SPDX-License-Identifier: Apache-2.0
"""What a workload's container is made with, as the engine's ``HostConfig``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from docker.types import Mount

from novadocker.types import Flavor
from novadocker.virt.docker.engine import client, isolation, names
from novadocker.virt.docker.engine.workload import Workload
from novadocker.virt.docker.host.cpus import Cpus
from novadocker.virt.docker.host.devices import Given


def host_config(
    engine: client.Engine,
    options: isolation.Isolation,
    bound: Callable[[str], list[dict[str, Any]]],
    workload: Workload,
    flavor: Flavor,
    disk_gb: int | None,
    throttled: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Return all that a workload's container is made with.

    :param bound: returns the host directories to mount in it, by the UUID of its instance
    :param disk_gb: limit of its file system; None for no limit
    :param throttled: limits of its input and output, as arguments of the engine
    :raises DriverError: the flavor asks for what the operator has not allowed on this host
    """
    arguments = isolation.arguments(options, flavor.get("extra_specs", {}) or {})
    if disk_gb:
        arguments["storage_opt"] = {"size": f"{disk_gb}G"}
    mounts = [*arguments.pop("mounts", ()), *bound(workload.labels[f"{names.LABEL}uuid"])]
    mounts += _mounts(workload.devices)
    made: Mapping[str, Any] = engine.call(
        "create_host_config",
        network_mode=f"container:{workload.sandbox}",
        # It gets one when it is started.
        restart_policy={"Name": "no"},
        init=workload.init or None,
        mounts=mounts or None,
        **isolation.limits(flavor, workload.cpus),
        **throttled,
        **_devices(workload.devices),
        **arguments,
    )
    return made


def _devices(given: Given) -> dict[str, Any]:
    """Return the devices of a container, as arguments of the engine."""
    if given.by_engine:
        return {"device_requests": [{"Driver": "cdi", "DeviceIDs": list(given.names)}]}
    nodes = [
        {
            "PathOnHost": node.source,
            "PathInContainer": node.target,
            "CgroupPermissions": node.permissions,
        }
        for node in given.edits.nodes
    ]
    return {"devices": nodes} if nodes else {}


def _mounts(given: Given) -> list[dict[str, Any]]:
    """Return what of the host a container sees with its devices, as mounts for the engine."""
    mounts = () if given.by_engine else given.edits.mounts
    return [
        Mount(mount.target, mount.source, type="bind", read_only=mount.read_only)
        for mount in mounts
    ]


def limits(
    engine: client.Engine, options: isolation.Isolation, flavor: Flavor, cpus: Cpus
) -> Mapping[str, Any]:
    """Return the limits of a container alone, which can be changed while it exists.

    :raises FlavorRefused: an extra spec is not a number, or not one that the kernel takes
    """
    made: Mapping[str, Any] = engine.call(
        "create_host_config",
        **isolation.limits(flavor, cpus),
        pids_limit=isolation.pids_limit(options, flavor.get("extra_specs", {}) or {}),
    )
    return made

# SPDX-License-Identifier: Apache-2.0
"""Inventory, use and traits of the host."""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Mapping
from typing import Any

import os_resource_classes as orc
import os_traits
import psutil
from nova.objects import fields
from oslo_serialization import jsonutils
from oslo_utils import units, versionutils

from novadocker.virt.docker.host import cpu_sets
from novadocker.virt.docker.host.cpus import UNDIVIDED, Processors

TRAIT_DOCKER = "CUSTOM_HYPERVISOR_DOCKER"
TRAIT_QUOTA = "CUSTOM_DOCKER_DISK_QUOTA"


def architecture_traits(machine: str) -> set[str]:
    """Return the standard trait of an architecture; none where Placement knows none."""
    name = f"HW_ARCH_{fields.Architecture.canonicalize(machine).upper()}"
    return {name} if name in os_traits.get_traits("HW_ARCH_") else set()


def traits(disk_quota: bool, machine: str) -> set[str]:
    """Return the traits of this host that the driver sets."""
    return {TRAIT_DOCKER} | architecture_traits(machine) | ({TRAIT_QUOTA} if disk_quota else set())


def engine_version(version: str) -> int:
    """Return Nova's number for a version: 20010024 for 20.10.24+dfsg1."""
    digits = version.split("+")[0].split("-")[0].split("~")[0]
    parts = [part for part in digits.split(".") if part.isdigit()][:3]
    return int(versionutils.convert_version_to_int(".".join([*parts, "0", "0", "0"][:3])))


def nearest(directory: str) -> str:
    """Return a directory, or the nearest above it where nova-compute does not see it."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory


def disk(root_directory: str) -> tuple[int, int, int]:
    """Return the size of the file system that holds the engine's data.

    :return: bytes in total, used and free
    """
    usage = psutil.disk_usage(nearest(root_directory))
    return usage.total, usage.used, usage.free


def available(
    info: dict[str, Any],
    hostname: str,
    root_directory: str,
    divided: Processors = UNDIVIDED,
) -> dict[str, Any]:
    """Return the host's resources, for Nova's resource tracker.

    :param info: the engine's answer to ``info``
    """
    topology = cpu_sets.topology(divided)
    total, used, free = disk(root_directory)
    memory = psutil.virtual_memory()
    machine = fields.Architecture.canonicalize(platform.machine())
    return {
        "vcpus": divided.count(int(info["NCPU"])),
        "memory_mb": int(info["MemTotal"]) // units.Mi,
        "local_gb": total // units.Gi,
        "vcpus_used": 0,
        "memory_mb_used": (memory.total - memory.available) // units.Mi,
        "local_gb_used": used // units.Gi,
        "disk_available_least": free // units.Gi,
        "hypervisor_type": fields.HVType.DOCKER,
        "hypervisor_version": engine_version(info["ServerVersion"]),
        "hypervisor_hostname": hostname,
        "cpu_info": jsonutils.dumps({"arch": machine, "topology": {"cores": int(info["NCPU"])}}),
        "supported_instances": [(machine, fields.HVType.DOCKER, fields.VMMode.EXE)],
        "numa_topology": topology._to_json() if topology else None,
    }


def inventory(
    resource: dict[str, Any],
    ratios: dict[str, float],
    reserved: dict[str, int],
    divided: Processors = UNDIVIDED,
    devices: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return the host's inventory, for Placement.

    :param resource: what :func:`available` returns
    :param ratios: allocation ratio of each resource class
    :param reserved: amount of each resource class that instances may not use
    :param devices: number of devices, by resource class
    """
    pcpus = len(divided.dedicated)
    totals = {
        orc.VCPU: resource["vcpus"] - pcpus,
        orc.PCPU: pcpus,
        orc.MEMORY_MB: resource["memory_mb"],
        orc.DISK_GB: resource["local_gb"],
        **(devices or {}),
    }
    return {
        name: {
            "total": total,
            "min_unit": 1,
            "max_unit": total,
            "step_size": 1,
            # Nobody shares those that are dedicated.
            "allocation_ratio": ratios.get(name, 1.0),
            "reserved": reserved.get(name, 0),
        }
        for name, total in totals.items()
        if total > 0
    }


def uptime() -> str:
    """Return how long the host has been up, as uptime(1) prints it."""
    up = datetime.timedelta(seconds=int(time.time() - psutil.boot_time()))
    hours, rest = divmod(up.seconds, 3600)
    days = f"{up.days} day{'s' if up.days != 1 else ''}, " if up.days else ""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    users = len(psutil.users())
    return (
        f" {time.strftime('%H:%M:%S')} up {days}{hours:2d}:{rest // 60:02d},  {users} "
        f"user{'s' if users != 1 else ''},  load average: {load}"
    )


def cpu_stats() -> dict[str, int]:
    """Return the nanoseconds that the host's processors spent, and their clock in MHz."""
    times = psutil.cpu_times()
    frequency = psutil.cpu_freq()
    nanoseconds = {
        name: int(getattr(times, field) * 1_000_000_000)
        for name, field in (
            ("kernel", "system"),
            ("idle", "idle"),
            ("user", "user"),
            ("iowait", "iowait"),
        )
    }
    return {**nanoseconds, "frequency": int(frequency.current) if frequency else 0}

# SPDX-License-Identifier: Apache-2.0
"""Limits and privileges of containers: options and flavor as arguments of the engine."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from docker.types import Ulimit

from novadocker import exceptions
from novadocker.types import Flavor
from novadocker.virt.docker.engine import lxcfs, seccomp
from novadocker.virt.docker.host.cpus import ALL, Cpus

# The smallest limit that every engine accepts.
MIN_MEMORY_MB = 6
CPU_PERIOD_US = 100_000
# What the kernel takes. The engine takes 0 as well, and means no limit by it.
_CPU_PERIODS_US = range(1_000, 1_000_001)
_MIN_CPU_QUOTA_US = 1_000
_NO_CPU_QUOTA = -1


@dataclasses.dataclass(frozen=True)
class Isolation:
    """Options in [docker] that apply to every container.

    :ivar seccomp: the filter of system calls; None for the engine's
    :ivar filters_privileged: whether it is for privileged containers, too
    """

    capabilities: tuple[str, ...]
    no_new_privileges: bool = True
    pids_limit: int = 4096
    seccomp: str | None = None
    runtime: str | None = None
    allow_privileged: bool = False
    lxcfs_path: str | None = None
    log_max_size: str = "10m"
    log_max_files: int = 3
    ulimits: tuple[str, ...] = ()
    shm_size_mb: int = 64
    filters_privileged: bool = True

    @classmethod
    def from_section(cls, section: Any) -> Isolation:
        """Return the options of the section, with the filter of system calls that they name."""
        capabilities = tuple(section.default_capabilities)
        return cls(
            capabilities=capabilities,
            no_new_privileges=section.no_new_privileges,
            pids_limit=section.pids_limit,
            seccomp=seccomp.chosen(section.seccomp_profile, capabilities),
            filters_privileged=section.seccomp_profile != seccomp.OWN,
            runtime=section.runtime,
            allow_privileged=section.allow_privileged,
            lxcfs_path=section.lxcfs_path,
            log_max_size=section.log_max_size,
            log_max_files=section.log_max_files,
            ulimits=tuple(section.ulimits),
            shm_size_mb=section.shm_size_mb,
        )


def check(flavor: Flavor) -> None:
    """Check the extra specs of a flavor that are the same on all hosts.

    :raises FlavorRefused: an extra spec is not a number, or not one that the kernel takes
    """
    limits(flavor)
    specs = flavor.get("extra_specs", {}) or {}
    _number(specs, "docker:pids_limit", 0)
    _shm_size_mb(specs, 1)
    disk_limits(flavor)
    if _number(specs, "quota:cpu_quota", -1) == 0:
        raise exceptions.FlavorRefused(
            f"quota:cpu_quota=0 of the flavor is less than {_MIN_CPU_QUOTA_US} microseconds; "
            "-1 is no limit"
        )


def disk_limits(flavor: Flavor) -> dict[str, int]:
    """Return the limits of input and output that a flavor asks for, by name; 0 is none.

    :return: bytes and operations per second
    :raises FlavorRefused: one is no number, or one of what is read and written together
    """
    specs = flavor.get("extra_specs", {}) or {}
    asked = {}
    for way, unit in itertools.product(("read", "write", "total"), ("bytes", "iops")):
        name = f"quota:disk_{way}_{unit}_sec"
        limit = _number(specs, name, 0)
        if limit < 0:
            raise exceptions.FlavorRefused(f"{name}={limit} of the flavor is less than 0")
        if limit and way == "total":
            raise exceptions.FlavorRefused(
                f"{name} of the flavor: the kernel limits what a container reads and what it "
                f"writes, each by itself: set quota:disk_read_{unit}_sec and "
                f"quota:disk_write_{unit}_sec"
            )
        if limit:
            asked[name] = limit
    return asked


def limits(flavor: Flavor, cpus: Cpus = ALL) -> dict[str, Any]:
    """Return the engine's limits for a flavor's size, and for the processors that it runs on.

    CPUs are limited by a quota of time, as the engine refuses a number of CPUs that the host lacks.
    For Nova, a period of 0 is none that is given. A quota of 0, with which instances may live here,
    is taken for none that is given as well; :func:`check` refuses it.

    :raises FlavorRefused: an extra spec is not a number, or not one that the kernel takes
    """
    memory_mb = max(int(flavor.memory_mb), MIN_MEMORY_MB)
    specs = flavor.get("extra_specs", {}) or {}
    period = _number(specs, "quota:cpu_period", 0) or CPU_PERIOD_US
    if period not in _CPU_PERIODS_US:
        raise exceptions.FlavorRefused(
            f"quota:cpu_period={period} of the flavor is not in {_CPU_PERIODS_US.start} to "
            f"{_CPU_PERIODS_US.stop - 1} microseconds"
        )
    quota = _number(specs, "quota:cpu_quota", 0)
    if not quota:
        quota = _NO_CPU_QUOTA if cpus.dedicated else int(flavor.vcpus) * period
    if 0 <= quota < _MIN_CPU_QUOTA_US:
        raise exceptions.FlavorRefused(
            f"quota:cpu_quota={quota} of the flavor is less than {_MIN_CPU_QUOTA_US} microseconds; "
            "-1 is no limit"
        )
    translated: dict[str, Any] = {
        "cpu_period": period,
        "cpu_quota": quota,
        "mem_limit": f"{memory_mb}m",
        "memswap_limit": f"{memory_mb + int(flavor.swap or 0)}m",
    }
    if cpus.ids:
        translated["cpuset_cpus"] = cpus.ids
    if specs.get("quota:cpu_shares"):
        translated["cpu_shares"] = _number(specs, "quota:cpu_shares", 0)
    return translated


def arguments(isolation: Isolation, extra_specs: Mapping[str, str]) -> dict[str, Any]:
    """Return a container's arguments for the options and a flavor's extra specs.

    :raises DriverError: the flavor asks for privileges that the operator has not allowed on this
        host, or the operator has set lxcfs_path and lxcfs is stopped
    :raises FlavorRefused: an extra spec is not a number
    """
    translated: dict[str, Any] = {
        # Not the daemon's default: the console is read from these files, and their size is bounded.
        # Who writes faster than the engine stores loses lines, and takes less of the host's time.
        "log_config": {
            "Type": "local",
            "Config": {
                "max-size": isolation.log_max_size,
                "max-file": str(isolation.log_max_files),
                "mode": "non-blocking",
            },
        },
        "shm_size": f"{_shm_size_mb(extra_specs, isolation.shm_size_mb)}m",
        "ulimits": [_ulimit(ulimit) for ulimit in isolation.ulimits],
    }
    if isolation.lxcfs_path:
        translated["mounts"] = lxcfs.mounts(isolation.lxcfs_path)
    security = ["no-new-privileges:true"] if isolation.no_new_privileges else []
    is_privileged = _is_true(extra_specs, "docker:privileged")
    if isolation.seccomp and (isolation.filters_privileged or not is_privileged):
        security.append(f"seccomp={isolation.seccomp}")
    if is_privileged:
        if not isolation.allow_privileged:
            raise exceptions.DriverError(
                "the flavor asks for docker:privileged and [docker]allow_privileged is "
                "off on this host"
            )
        translated["privileged"] = True
    else:
        translated["cap_drop"] = ["ALL"]
        translated["cap_add"] = list(isolation.capabilities)
    pids = pids_limit(isolation, extra_specs)
    if pids is not None:
        translated["pids_limit"] = pids
    if isolation.runtime:
        translated["runtime"] = isolation.runtime
    translated["security_opt"] = security
    return translated


def pids_limit(isolation: Isolation, extra_specs: Mapping[str, str]) -> int | None:
    """Return the most processes and threads of a container; None for no limit.

    :raises FlavorRefused: the extra spec is not a number
    """
    asked = _number(extra_specs, "docker:pids_limit", 0)
    return min((limit for limit in (isolation.pids_limit, asked) if limit > 0), default=None)


def wants_terminal(flavor: Flavor) -> bool:
    """Return whether a flavor asks for a terminal for its instances."""
    return _is_true(flavor.get("extra_specs", {}) or {}, "docker:tty")


def _is_true(specs: Mapping[str, str], key: str) -> bool:
    return str(specs.get(key, "")).lower() == "true"


def _shm_size_mb(specs: Mapping[str, str], default: int) -> int:
    size_mb = _number(specs, "docker:shm_size_mb", default)
    if size_mb < 1:
        raise exceptions.FlavorRefused(
            f"docker:shm_size_mb={size_mb} of the flavor is less than 1 MiB"
        )
    return size_mb


def _ulimit(text: str) -> Ulimit:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    return Ulimit(name=name, soft=int(soft), hard=int(hard or soft))


def _number(specs: Mapping[str, str], key: str, default: int) -> int:
    try:
        return int(specs.get(key, default))
    except ValueError:
        raise exceptions.FlavorRefused(f"{key}={specs[key]!r} of the flavor is no number") from None

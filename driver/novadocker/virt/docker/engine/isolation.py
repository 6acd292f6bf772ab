# SPDX-License-Identifier: Apache-2.0
"""What a container may do and use: the options, the flavor and its extra specs, for the engine."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from novadocker import exceptions
from novadocker.types import Flavor
from novadocker.virt.docker.engine import lxcfs

# The smallest limit that every engine accepts.
MIN_MEMORY_MB = 6
CPU_PERIOD_US = 100_000
# What the kernel takes. The engine takes 0 as well, and means no limit by it.
_CPU_PERIODS_US = range(1_000, 1_000_001)
_MIN_CPU_QUOTA_US = 1_000


@dataclasses.dataclass(frozen=True)
class Isolation:
    """What the options in [docker] say about every container."""

    capabilities: tuple[str, ...]
    no_new_privileges: bool = True
    pids_limit: int = 4096
    seccomp: str | None = None
    runtime: str | None = None
    allow_privileged: bool = False
    lxcfs_path: str | None = None
    log_max_size: str = "10m"
    log_max_files: int = 3

    @classmethod
    def from_section(cls, section: Any) -> "Isolation":
        """Take what the section says."""
        seccomp = None
        if section.seccomp_profile:
            with open(section.seccomp_profile, encoding="utf-8") as source:
                seccomp = source.read()
        return cls(
            capabilities=tuple(section.default_capabilities),
            no_new_privileges=section.no_new_privileges,
            pids_limit=section.pids_limit,
            seccomp=seccomp,
            runtime=section.runtime,
            allow_privileged=section.allow_privileged,
            lxcfs_path=section.lxcfs_path,
            log_max_size=section.log_max_size,
            log_max_files=section.log_max_files,
        )


def check(flavor: Flavor) -> None:
    """Check what a flavor asks for, as far as it is the same on all hosts.

    :raises FlavorRefused: an extra spec is no number
    """
    limits(flavor)
    _number(flavor.get("extra_specs", {}) or {}, "docker:pids_limit", 0)


def limits(flavor: Flavor) -> dict[str, Any]:
    """Translate a flavor's size into the engine's limits.

    A share of CPU time and not a number of CPUs, as the engine refuses more CPUs than the host has.

    :raises FlavorRefused: an extra spec is no number, or none that the kernel takes
    """
    memory_mb = max(int(flavor.memory_mb), MIN_MEMORY_MB)
    specs = flavor.get("extra_specs", {}) or {}
    period = _number(specs, "quota:cpu_period", CPU_PERIOD_US)
    if period not in _CPU_PERIODS_US:
        raise exceptions.FlavorRefused(
            f"quota:cpu_period={period} of the flavor is not in {_CPU_PERIODS_US.start} to "
            f"{_CPU_PERIODS_US.stop - 1} microseconds"
        )
    quota = _number(specs, "quota:cpu_quota", int(flavor.vcpus) * period)
    if 0 <= quota < _MIN_CPU_QUOTA_US:
        raise exceptions.FlavorRefused(
            f"quota:cpu_quota={quota} of the flavor is less than {_MIN_CPU_QUOTA_US} microseconds; "
            "-1 is no limit"
        )
    found: dict[str, Any] = {
        "cpu_period": period,
        "cpu_quota": quota,
        "mem_limit": f"{memory_mb}m",
        "memswap_limit": f"{memory_mb + int(flavor.swap or 0)}m",
    }
    if specs.get("quota:cpu_shares"):
        found["cpu_shares"] = _number(specs, "quota:cpu_shares", 0)
    return found


def arguments(isolation: Isolation, extra_specs: Mapping[str, str]) -> dict[str, Any]:
    """Translate the options and a flavor's extra specs into arguments of a container.

    :raises DriverError: the flavor asks for privileges that the operator has not allowed on this
        host, or lxcfs, which it has set, is stopped
    :raises FlavorRefused: an extra spec is no number
    """
    found: dict[str, Any] = {
        # Whatever the daemon's default is: the console is read from it, and it has an end.
        "log_config": {
            "Type": "json-file",
            "Config": {
                "max-size": isolation.log_max_size,
                "max-file": str(isolation.log_max_files),
            },
        }
    }
    if isolation.lxcfs_path:
        found["mounts"] = lxcfs.mounts(isolation.lxcfs_path)
    security = ["no-new-privileges:true"] if isolation.no_new_privileges else []
    if isolation.seccomp:
        security.append(f"seccomp={isolation.seccomp}")
    if extra_specs.get("docker:privileged", "").lower() == "true":
        if not isolation.allow_privileged:
            raise exceptions.DriverError(
                "the flavor asks for docker:privileged and [docker]allow_privileged is "
                "off on this host"
            )
        found["privileged"] = True
    else:
        found["cap_drop"] = ["ALL"]
        found["cap_add"] = list(isolation.capabilities)
    asked = _number(extra_specs, "docker:pids_limit", 0)
    pids = [limit for limit in (isolation.pids_limit, asked) if limit > 0]
    if pids:
        found["pids_limit"] = min(pids)
    if isolation.runtime:
        found["runtime"] = isolation.runtime
    found["security_opt"] = security
    return found


def _number(specs: Mapping[str, str], key: str, default: int) -> int:
    try:
        return int(specs.get(key, default))
    except ValueError:
        raise exceptions.FlavorRefused(f"{key}={specs[key]!r} of the flavor is no number") from None

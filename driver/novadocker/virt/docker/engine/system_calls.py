# SPDX-License-Identifier: Apache-2.0
"""What an engine's own filter of system calls lacks, by its age.

A program that is refused a new system call with EPERM takes it for final; by ENOSYS it would have
used an older one. Images of newer distributions do not work on engines that say EPERM.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from novadocker.virt.docker.engine import seccomp

# Of Docker: from then on clone3 is answered with ENOSYS. glibc uses it from 2.34 on.
_FIRST_WITH_CLONE3 = (20, 10, 10)
# Of Docker: its own filter took io_uring out for escapes from containers.
_FIRST_WITHOUT_IO_URING = (25,)
# Of runc: from 1.0.0-rc93 on system calls that are newer than the filter are answered with ENOSYS.
_FIRST_WITH_ENOSYS = (1, 0, 0, 93)
# Of a release, which comes after its candidates.
_RELEASED = 1000


@dataclasses.dataclass(frozen=True)
class Lack:
    """Something that is wrong with a filter.

    :param told: what it is
    :param remedy: what an operator does about it
    """

    told: str
    remedy: str


def lacks(version: Mapping[str, Any], info: Mapping[str, Any], profile: str) -> list[Lack]:
    """Return what is wrong with the filter of instances.

    :param version: the engine's answer to ``version``
    :param info: the engine's answer to ``info``
    :param profile: the option seccomp_profile
    """
    if not any("seccomp" in option for option in info.get("SecurityOptions") or []):
        return [Lack("Docker does not filter system calls", "use a kernel with seccomp")]
    engine = _numbers(version["Version"])
    listed = []
    # Before, no filter can have another answer than EPERM.
    if profile in (seccomp.ENGINES, seccomp.OWN) and engine < _FIRST_WITH_CLONE3:
        listed.append(
            Lack(
                f"a filter of Docker {version['Version']} answers clone3 with EPERM: programs of "
                "images with glibc 2.34 or later start no threads",
                "install Docker 20.10.10 or later",
            )
        )
    if profile == seccomp.ENGINES and engine < _FIRST_WITHOUT_IO_URING:
        listed.append(
            Lack(
                f"the filter of Docker {version['Version']} lets instances use io_uring and vsock",
                "install Docker 25 or later, or leave [docker]seccomp_profile at own",
            )
        )
    runc = _runc(version)
    if runc and _numbers(runc) < _FIRST_WITH_ENOSYS:
        listed.append(
            Lack(
                f"runc {runc} answers system calls that are newer than the filter with EPERM: "
                "newer images may not work",
                "install runc 1.0.0 or later",
            )
        )
    return listed


def _runc(version: Mapping[str, Any]) -> str:
    """Return the version of the engine's runc; nothing where it has not told."""
    components = version.get("Components") or []
    told = (part.get("Version", "") for part in components if part.get("Name") == "runc")
    return next(told, "")


def _numbers(version: str) -> tuple[int, ...]:
    """Return what versions are compared by; a release comes after its candidates (rc)."""
    # Debian writes ~rc93 for -rc93.
    told = re.match(r"([0-9.]*)(?:[-~]rc\.?([0-9]+))?", version)
    parts = [int(part) for part in (told.group(1) if told else "").split(".") if part]
    candidate = told.group(2) if told else None
    return (*[*parts, 0, 0, 0][:3], int(candidate) if candidate else _RELEASED)

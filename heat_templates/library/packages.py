# SPDX-License-Identifier: Apache-2.0
"""The package managers that are known, and the one of this host."""

from __future__ import annotations

from library.apt import Apt
from library.faults import StepFailed
from library.package_manager import PackageManager
from library.rpm import Dnf
from library.step import Step, program_path

MANAGERS: tuple[type[PackageManager], ...] = (Apt, Dnf)


def package_manager(step: Step, otherwise: str) -> PackageManager:
    """Return the package manager of this host.

    :param otherwise: what to do on a host that has none that is known
    """
    for manager in MANAGERS:
        if program_path(manager.tool):
            return manager(step)
    tools = " nor ".join(manager.tool for manager in MANAGERS)
    raise StepFailed(f"neither {tools} is on this host: {otherwise}")

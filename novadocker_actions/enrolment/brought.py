# SPDX-License-Identifier: Apache-2.0
"""What enrolment brings to hosts over SSH beside the package of steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from novadocker_actions import driver_wheel, resources
from novadocker_actions.driver_wheel import Wheel

AGENT_LOCK = "heat_templates/agent/agent.lock"


@dataclasses.dataclass(frozen=True)
class Brought:
    """Files for hosts.

    :param driver: the driver's wheel, then those of what it needs that there are
    :param agent: those of what the agent is that there are
    """

    driver: tuple[Wheel, ...]
    agent: tuple[Path, ...] = ()


def of_folder(folder: Path | None) -> Brought:
    """Return what is brought: the driver, and what driver.lock and agent.lock name of a folder.

    :param folder: with files of what hosts lack, None for none
    :raises Refused: when the driver needs none of them
    """
    driver = tuple(driver_wheel.for_hosts(folder))
    if folder is None:
        return Brought(driver)
    lock = resources.text(AGENT_LOCK)
    files = [path for pattern in ("*.whl", "*.tar.gz") for path in sorted(folder.glob(pattern))]
    named = [path for path in files if f"sha256:{driver_wheel.digest_of(path)}" in lock]
    return Brought(driver, tuple(named))

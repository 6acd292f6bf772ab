# SPDX-License-Identifier: Apache-2.0
"""What a workload's container is made of."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from novadocker import exceptions
from novadocker.virt.docker.host import devices
from novadocker.virt.docker.host.cpus import ALL, Cpus


@dataclasses.dataclass(frozen=True)
class Workload:
    """Specification of a workload's container.

    :param image: id of the image in the engine
    :param command: arguments to the image's entry point; None for the image's own
    :param tty: whether it has a terminal
    :param entry_point: in the place of the image's; None for the image's own
    :param health_check: the image's; None where it has none, or none is to be run
    :param environment: its variables; of None, not even the image's
    :param cpus: the processors that it runs on
    :param devices: those of the host that it has
    """

    name: str
    sandbox: str
    image: str
    labels: Mapping[str, str]
    command: list[str] | None
    environment: Mapping[str, str | None]
    tty: bool
    init: bool
    entry_point: list[str] | None = None
    health_check: Mapping[str, Any] | None = None
    cpus: Cpus = ALL
    devices: devices.Given = devices.NONE


def command(command_line: str | None, image_config: Mapping[str, Any]) -> list[str] | None:
    """Return the command of a workload.

    :param command_line: the image property ``os_command_line``
    :param image_config: ``Config`` of the engine's image
    :return: None where the image has a command of its own; a shell where nobody names one
    :raises ImageRefused: the property cannot be split into arguments
    """
    if command_line:
        try:
            return shlex.split(command_line)
        except ValueError as err:
            raise exceptions.ImageRefused(
                f"its os_command_line cannot be split into arguments: {err}"
            ) from err
    if image_config.get("Cmd") or image_config.get("Entrypoint"):
        return None
    return ["sh"]

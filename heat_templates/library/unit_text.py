# SPDX-License-Identifier: Apache-2.0
"""A unit's command as its files write it: with the prefixes and variables that a process lacks."""

from __future__ import annotations

import re
import shlex

from library.services import Service
from library.step import Step

# systemd.service(5), "Command lines": what a command may begin with.
PREFIXES = "@-:+!|"


def written_command(step: Step, service: Service) -> str:
    """Return the one command of a service's unit, as its files write it.

    It is empty where there are several, and where another program starts the service in its turn:
    what is put behind that one's arguments would not reach the service.
    """
    argv = ["systemctl", "cat", "--no-pager", service.unit]
    text = step.run(argv, ok=(0, 1, 4), quiet=True).stdout
    commands: list[str] = []
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "ExecStart":
            commands = [*commands, value.strip()] if value.strip() else []
    if len(commands) != 1 or not service.program:
        return ""
    try:
        first = shlex.split(commands[0].lstrip(PREFIXES))[0]
    except (ValueError, IndexError):
        return ""
    return commands[0] if first in (service.command[0], service.program[0]) else ""

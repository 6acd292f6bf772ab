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

    It is empty where there are several, and where what is put behind its arguments would not reach
    the service.
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
        words = shlex.split(commands[0].lstrip(PREFIXES))
    except ValueError:
        return ""
    return commands[0] if passes_on(words, service) else ""


def passes_on(words: list[str], service: Service) -> bool:
    """Return whether a service's command ends with the service's own arguments.

    A program before it, such as numactl or taskset, starts it with all words that follow. One that
    adds to them or leaves some out, and a shell that is given a text, may do so with more words.
    """
    own = (service.command[0], service.program[0])
    at = next((place for place, word in enumerate(words) if word in own), -1)
    if at < 1:
        return at == 0
    given = words[at + 1 :]
    plain = [word for word in given if "$" not in word]
    left_out = set(plain) - set(service.command)
    added = set(service.program[1:]) - set(plain) if plain == given else set()
    return not (left_out or added or re.fullmatch(r"-\w*c", words[at - 1]))

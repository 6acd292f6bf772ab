# SPDX-License-Identifier: Apache-2.0
"""How far a recipe has come, told on the way by a program beside it: nothing waits for that."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from library.faults import LOG
from library.files import require_own
from library.message import Message
from library.package import own_package

# The address and the credentials to tell it with, from enrolment over SSH.
ACCESS = "/etc/novadocker/progress.json"
# It is not told more often than that; what is over sooner is told by its outcome.
PAUSE_S = 5


class Progress:
    """Tells Heat at which step a host is.

    :param root: the host's root directory
    :param text: of the message, which is signed with what is told
    :param message: what it says
    :param log: name of the recipe's log file, which has why it could not be told
    """

    def __init__(self, root: Path, text: str, message: Message, log: str) -> None:
        self._root, self._text = root, text
        self._steps, self._log = message.steps, log
        self._told_at = time.monotonic()

    def begins(self, number: int) -> None:
        """Tell that a step begins, the first being 1, if there was time since the last word.

        The first is not told, as who has sent the message knows it.
        """
        now = time.monotonic()
        access = self._root / ACCESS.lstrip("/")
        if number == 1 or now < self._told_at + PAUSE_S or not access.exists():
            return
        self._told_at = now
        try:
            require_own(access)
            self._start(access, number)
        except Exception as err:  # noqa: BLE001 - a recipe never fails for what is only told
            LOG.warning("how far this has come cannot be told: %r", err)

    def _start(self, access: Path, number: int) -> None:
        name = self._steps[number - 1][0]
        said = {"text": self._text, "number": number, "of": len(self._steps), "step": name}
        with open(self._root / self._log.lstrip("/"), "a") as log:
            program = subprocess.Popen(
                [sys.executable, "-I", own_package(), "progress", access],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert program.stdin is not None
        with program.stdin as pipe:
            json.dump(said, pipe)

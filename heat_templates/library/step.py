# SPDX-License-Identifier: Apache-2.0
"""One run of a step, and the commands that it runs."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from library.changes import FileChanges
from library.faults import LOG, StepFailed

ANY_CODE = tuple(range(256))
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT_VARIABLES = re.compile(r"(?i:https?_proxy|no_proxy)$|PIP_|SSL_CERT_|REQUESTS_CA_BUNDLE$")


@dataclass
class Done:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str


class Step(FileChanges):
    """One run of a step: what is wanted, what was done, and the ways to do it."""

    def run(
        self,
        argv: list[str],
        *,
        ok: tuple[int, ...] = (0,),
        user: str | None = None,
        env: dict[str, str] | None = None,
        stdin: str | None = None,
        quiet: bool = False,
    ) -> Done:
        """Run a command without a terminal and with a clean environment.

        :param ok: exit codes that are no failure
        :param quiet: keep what it prints out of the log, as it is a secret
        :param user: run it as this user, with all their groups, instead of root
        :raises StepFailed: for any other exit code, or when there is no such command
        """
        identity: dict[str, Any] = {}
        if user and os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            groups = os.getgrouplist(user, entry.pw_gid)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
        began = time.monotonic()
        try:
            done = subprocess.run(
                argv,
                env={**clean_environment(), **(env or {})},
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                cwd="/",
                **identity,
            )
        except OSError as err:
            raise StepFailed(f"{argv[0]} cannot be run: {err.strerror}") from err
        shown = " ".join(argv)[:300]
        printed = "" if quiet else done.stdout[-8000:]
        took = f"{done.returncode} in {time.monotonic() - began:.1f} s"
        LOG.debug("$ %s -> %s\n%s%s", shown, took, printed, done.stderr[-8000:])
        if done.returncode not in ok:
            said = (done.stderr.strip() or done.stdout.strip())[-600:]
            raise StepFailed(f"{shown[:120]} failed with exit code {done.returncode}: {said}")
        return Done(done.returncode, done.stdout, done.stderr)


def clean_environment() -> dict[str, str]:
    """Return the environment for commands: no inputs of the step, no virtual environment."""
    kept = {name: value for name, value in os.environ.items() if KEPT_VARIABLES.match(name)}
    return {
        "PATH": SYSTEM_PATH,
        "HOME": "/root",
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
        # Services of the host, and the agent that runs this, are not restarted by an installation.
        "NEEDRESTART_SUSPEND": "1",
        "NEEDRESTART_MODE": "l",
        **kept,
    }


def user_name(user: str) -> str:
    """Return the name of a unit's user, who may be given by number."""
    try:
        return pwd.getpwuid(int(user)).pw_name if user.isdecimal() else user
    except KeyError:
        # Who asks for more of him is told that he is no user.
        return user


def program_path(name: str) -> str:
    """Return where a program of the host is, empty when it is not there."""
    return shutil.which(name, path=SYSTEM_PATH) or ""


def wait_until(condition: Callable[[], Any], timeout_s: float, interval_s: float = 0.3) -> Any:
    """Poll until the condition holds; return its last value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value or time.monotonic() >= deadline:
            return value
        time.sleep(interval_s)

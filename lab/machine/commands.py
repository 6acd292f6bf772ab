# SPDX-License-Identifier: Apache-2.0
"""Running programs on the machine, with time limits and errors that say what happened."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time
from collections.abc import Mapping, Sequence

from lab.errors import CommandError

Completed = subprocess.CompletedProcess[str]


def run(
    argv: Sequence[str],
    *,
    input: str | bytes | None = None,  # noqa: A002 (as subprocess names it)
    check: bool = True,
    timeout_s: float = 120,
    env: Mapping[str, str] | None = None,
    cwd: pathlib.Path | None = None,
    what: str | None = None,
) -> Completed:
    """Run a program and return its output as text.

    :param input: what it reads from its standard input
    :param check: raise CommandError on a non-zero exit code
    :param timeout_s: seconds after which it is killed (an error even with ``check=False``)
    :param env: variables added to this process's own
    :param what: the name of the command in error messages
    """
    data = input.encode() if isinstance(input, str) else input
    name = what or " ".join(argv[:6])
    try:
        raw = subprocess.run(
            list(argv),
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=timeout_s,
            env={**os.environ, **env} if env else None,
            cwd=cwd,
            check=False,
        )
    except subprocess.TimeoutExpired as err:
        raise CommandError(
            f"{name}: no end after {timeout_s:g} s", returncode=124, output=_text(err.output)
        ) from err
    except FileNotFoundError as err:
        raise CommandError(f"{name}: {argv[0]} is not installed", returncode=127) from err
    done = Completed(list(argv), raw.returncode, _text(raw.stdout), _text(raw.stderr))
    if check and done.returncode:
        output = done.stdout + done.stderr
        last = next((x for x in reversed(output.splitlines()) if x.strip()), "no output")
        raise CommandError(
            f"{name}: exit code {done.returncode}: {last.strip()}",
            returncode=done.returncode,
            output=output,
        )
    return done


def run_logged(
    argv: Sequence[str],
    log: pathlib.Path,
    *,
    timeout_s: float,
    what: str,
    env: Mapping[str, str] | None = None,
    cwd: pathlib.Path | None = None,
) -> None:
    """Run a long program with all that it prints appended to a log file.

    :raises CommandError: naming the log, when it fails or does not end in time
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with log.open("ab") as out:
        out.write(f"--- {what}\n".encode())
        out.flush()
        try:
            code = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                env={**os.environ, **env} if env else None,
                cwd=cwd,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as err:
            raise CommandError(
                f"{what}: no end after {timeout_s:g} s", returncode=124, log=log
            ) from err
        except FileNotFoundError as err:
            raise CommandError(
                f"{what}: {argv[0]} is not installed", returncode=127, log=log
            ) from err
        out.write(f"--- {what}: exit code {code}, {time.monotonic() - began:.1f} s\n".encode())
    if code:
        raise CommandError(f"{what}: exit code {code}", returncode=code, log=log)


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")

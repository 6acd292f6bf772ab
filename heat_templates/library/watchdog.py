# SPDX-License-Identifier: Apache-2.0
"""The process that does the work, and the one that ends it when its time is up."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from library.faults import LOG, StepFailed
from library.step import Step

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
# Steps that touch nothing that another step looks at, and so wait for none; or wait by themselves.
BESIDE = ("install_agent", "install_package")


def supervise(step: Step, work: Callable[[Step], None], timeout_s: float) -> dict[str, Any]:
    """Do the work in a child process; kill it and all its descendants when the time is up."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    reader, writer = os.pipe()
    worker = os.fork()
    if worker == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setsid()
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(worked(step, work)).encode())
        os._exit(0)
    os.close(writer)
    signal.signal(signal.SIGTERM, _stopped)
    stopped = False
    try:
        told = read_until(reader, time.monotonic() + timeout_s)
        reason = f"timed out after {timeout_s:g} s; everything it had started was stopped"
    except InterruptedError:
        told, reason, stopped = None, "stopped by a signal before the end", True
    finally:
        os.close(reader)
    if told is None:
        end_descendants()
    else:
        os.waitpid(worker, 0)
        reason = "the step ended without an outcome"
    if told:
        return dict(json.loads(told))
    failed = {"ok": False, "reason": reason, "actions": [], "facts": {}}
    return {**failed, "stopped": True} if stopped else failed


def _stopped(_number: int, _frame: Any) -> None:
    raise InterruptedError


def worked(step: Step, work: Callable[[Step], None]) -> dict[str, Any]:
    """Do the work under the host's lock and return the outcome as data."""
    outcome: dict[str, Any] = {
        "ok": True,
        "reason": "",
        "actions": step.actions,
        "facts": step.facts,
    }
    try:
        with contextlib.nullcontext() if step.name in BESIDE else locked(step):
            step.begin()
            work(step)
    except StepFailed as err:
        outcome.update(ok=False, reason=str(err))
        LOG.error("failed: %s", err)
    except Exception as err:  # noqa: BLE001 - it is told as the outcome
        LOG.exception("the step broke")
        place = traceback.extract_tb(err.__traceback__)[-1]
        outcome.update(ok=False, reason=f"the step broke in {place.name}: {err!r}")
    return outcome


class locked:  # noqa: N801 - reads as a word: with locked(step)
    """Only one step changes a host at a time; checks may run beside each other."""

    def __init__(self, step: Step) -> None:
        self.shared = step.mode == "check"
        self.path = step.path("/run/novadocker.lock")

    def __enter__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.handle = open(self.path, "a")
        fcntl.flock(self.handle, fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX)

    def __exit__(self, *_error: object) -> None:
        self.handle.close()


def read_until(descriptor: int, deadline: float) -> bytes | None:
    """Read all that comes from a pipe; None when its end was not reached in time."""
    data = b""
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
            return None
        piece = os.read(descriptor, 65536)
        if not piece:
            return data
        data += piece


def end_descendants(grace_s: float = 3) -> None:
    """Stop every descendant of this process, politely first; orphans have come to us."""
    for number, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + limit_s
        sent: set[int] = set()
        while time.monotonic() < deadline:
            alive = set(descendants(os.getpid()))
            if not alive:
                return
            for pid in alive - (sent if number == signal.SIGTERM else set()):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            sent |= alive
            time.sleep(0.05)


def descendants(ancestor: int) -> Iterator[int]:
    """Yield the living processes below this one, reaping the dead ones."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                status = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            state, parent = status.rsplit(")", 1)[1].split()[:2]
            if state != "Z":
                parents[int(entry)] = int(parent)
    for pid in parents:
        above = parents.get(pid, 0)
        while above and above != ancestor:
            above = parents.get(above, 0)
        if above == ancestor:
            yield pid

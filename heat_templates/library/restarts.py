# SPDX-License-Identifier: Apache-2.0
"""Restarts of services, and the state that they are put back to."""

from __future__ import annotations

import time

from library.faults import StepFailed
from library.services import Service, find_service
from library.step import ANY_CODE, Step


def restart_service(step: Step, service: Service, timeout_s: float = 120) -> None:
    """Restart a service and wait until it stays up.

    :raises StepFailed: with the last lines of its journal
    """
    step.run(["systemctl", "daemon-reload"])
    step.run(["systemctl", "reset-failed", service.unit], ok=(0, 1))
    done = step.run(["systemctl", "restart", service.unit], ok=ANY_CODE)
    settle_s, deadline = 0.0 if service.notifies else 3.0, time.monotonic() + timeout_s
    since, seen_pid = time.monotonic(), 0
    while done.code == 0 and time.monotonic() < deadline:
        now = find_service(step, (service.unit,))
        if now is None or now.state.startswith("failed") or now.restarts > 0:
            break
        # A container is there before what it is for has begun in it.
        begun = now.active and (now.container is None or now.pid)
        if not begun or now.pid != seen_pid:
            since, seen_pid = time.monotonic(), now.pid
        if begun and time.monotonic() - since >= settle_s:
            return
        time.sleep(0.3)
    inside = "" if service.container is None else " (more is in nova-compute.log in kolla's logs)"
    raise StepFailed(
        f"{service.unit} does not stay up after the restart{inside}: "
        f"{journal_end(step, service.unit)}"
    )


def journal_end(step: Step, unit: str) -> str:
    """Return the last lines that a unit has logged."""
    command = ["journalctl", "-u", unit, "-n", "15", "-o", "cat", "--no-pager"]
    return step.run(command, ok=ANY_CODE).stdout[-900:]


def put_back(step: Step, restarted: Service | None) -> None:
    """Put files back as this run found them, and have a service that took them up take these up.

    Its failure to do so would only hide the reason for all this.
    """
    if not step.restore_files():
        return
    step.note("the configuration was put back as it was")
    if restarted:
        step.run(["systemctl", "daemon-reload"])
        step.run(["systemctl", "reset-failed", restarted.unit], ok=(0, 1))
        try:
            step.run(["systemctl", "restart", restarted.unit])
        except StepFailed:
            step.owe("restart")

# SPDX-License-Identifier: Apache-2.0
"""Restarts of a container that has been given less than it has: the rest goes before Nova begins.

kolla's own start takes out what it is not to copy any more, since 2026. Before, a copy stayed until
the container was made anew, and Nova would go by it.
"""

from __future__ import annotations

import tempfile

from library.container_config import (
    DROP_IN_FOLDER,
    DROP_IN_NAME,
    ours_in,
    read_config,
    sweep,
    take_out_entries,
)
from library.engine_access import leave_group
from library.faults import StepFailed
from library.restarts import restart_service
from library.services import Service, find_service
from library.step import ANY_CODE, Step


def restart_with_less(step: Step, service: Service, timeout_s: float) -> None:
    """Restart a container without what its configuration has no entries for any more."""
    container = service.container
    if container is None:
        restart_service(step, service, timeout_s)
        return
    if service.pid:
        leave_group(step, service)
        sweep(step, service, container)
    else:
        blank_drop_in(step, service)
    restart_service(step, service, timeout_s)
    now = find_service(step, (service.unit,))
    if now is not None and now.container is not None and not service.pid:
        leave_group(step, now)
        sweep(step, now, now.container)


def blank_drop_in(step: Step, service: Service) -> None:
    """Empty the drop-in in a container that does not run, where no command can remove it."""
    container = service.container
    inside = f"{DROP_IN_FOLDER}/{DROP_IN_NAME}"
    if container is None or inside in {
        item["dest"] for item in ours_in(read_config(step, container))
    }:
        return
    step.run(["systemctl", "stop", service.unit], ok=ANY_CODE)
    with tempfile.NamedTemporaryFile(prefix="novadocker-") as blank:
        step.run(["docker", "cp", blank.name, f"{container.name}:{inside}"], ok=ANY_CODE)


def put_container_back(step: Step, service: Service, restarted: bool, timeout_s: float) -> None:
    """Put files back as this run found them, and have a container that took them up go by these.

    Its failure to do so would only hide the reason for all this.
    """
    if service.container is None:
        return
    changed = take_out_entries(step, service.container)
    if not (step.restore_files() or changed):
        return
    step.note("the configuration was put back as it was")
    now = find_service(step, (service.unit,)) or service
    try:
        if restarted:
            restart_with_less(step, now, timeout_s)
        elif now.pid:
            leave_group(step, now)
    except StepFailed:
        step.owe("restart")

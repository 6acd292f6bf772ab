# SPDX-License-Identifier: Apache-2.0
"""What a container got is taken back, and it is restarted: the rest goes before Nova begins.

kolla's own start takes out what it is not to copy any more, since 2026. Before, a copy stayed until
the container was made anew, and Nova would go by it.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from library.compute_container import Container
from library.container_config import (
    DROP_IN_FOLDER,
    DROP_IN_INSIDE,
    PATH_FILE,
    config_file,
    config_text,
    ours_in,
    read_config,
    with_ours,
    without_ours,
)
from library.container_site import INSIDE
from library.engine_access import leave_group
from library.faults import StepFailed
from library.files import file_state, replace_file
from library.probes import site_packages
from library.restarts import restart_service
from library.services import Service, find_service, in_service_python, run_beside
from library.step import ANY_CODE, Step

# What the engine says of a copy to a container, or to a folder in it, that is not there.
NOT_THERE = re.compile("(?i)no such container|could not find the file")


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
    inside = DROP_IN_INSIDE
    if container is None or inside in {
        item["dest"] for item in ours_in(read_config(step, container))
    }:
        return
    step.run(["systemctl", "stop", service.unit], ok=ANY_CODE)
    with tempfile.NamedTemporaryFile(prefix="novadocker-") as blank:
        # It stays so in there, where it is Nova's own user that reads it.
        Path(blank.name).chmod(0o644)
        copy = ["docker", "cp", blank.name, f"{container.name}:{inside}"]
        done = step.run(copy, ok=ANY_CODE)
    if done.code and not NOT_THERE.search(done.stderr):
        raise StepFailed(
            f"{inside} in the container {container.name} cannot be emptied, and Nova would go by "
            f"it: {done.stderr.strip()[-300:]}. See `docker ps -a` on the host, then repeat"
        )


def put_container_back(step: Step, service: Service, restarted: bool, timeout_s: float) -> None:
    """Put files back as this run found them, and have a container that took them up go by these.

    Its failure to do so would only hide the reason for all this.
    """
    if service.container is None:
        return
    changed = take_out_entries(step, service.container)
    if not (step.restore_files() or changed or "group" in step.to_undo):
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


def take_out_entries(step: Step, container: Container) -> bool:
    """Put the file back; where others changed it since, take back our entries alone.

    :return: whether it changed
    """
    name = config_file(container)
    try:
        config = read_config(step, container)
    except StepFailed as err:
        step.note(str(err))
        return False
    entry = step.to_undo.get("files", {}).get(name)
    before = json.loads(step.content_before(name) or b"{}") if entry else {}
    if before and without_ours(config) == without_ours(before):
        return step.restore_file(name, force=True)
    path, of_before = step.followed(name), ours_in(before)
    wanted = with_ours(config, of_before) if of_before else without_ours(config)
    changed = wanted != config and step.will(f"take this step's entries out of {name}")
    if changed:
        state, text = path.stat(), config_text(wanted)
        replace_file(path, text.encode(), state.st_mode & 0o7777, state.st_uid, state.st_gid)
    if entry:
        # As it is now is what undo has made of it.
        entry["before"] = file_state(path)
    return changed


def sweep(step: Step, service: Service, container: Container) -> None:
    """Take out of a container what it got and is not to get any more.

    kolla's own start does so since 2026; before, copies stayed until the container was made anew.
    """
    dests = {str(entry["dest"]) for entry in ours_in(read_config(step, container))}
    ours = {INSIDE, DROP_IN_INSIDE}
    if service.python:
        ours.add(f"{in_service_python(step, service, site_packages)}/{PATH_FILE}")
    gone = sorted(ours - dests)
    if gone:
        run_beside(step, service, ["rm", "-rf", "--", *gone])
        # It was made for the drop-in, where it has nothing else in it.
        run_beside(step, service, ["rmdir", DROP_IN_FOLDER], ok=ANY_CODE)

# SPDX-License-Identifier: Apache-2.0
"""Options of the driver in a container, which does not see all of the host."""

from __future__ import annotations

import json
from pathlib import Path

from library.faults import StepFailed
from library.instances import engine_directory
from library.probes import effective_options
from library.services import Service, in_service_python
from library.step import Step

# As kolla-ansible sets it, on a volume of the engine's.
STATE_PATH = "/var/lib/nova"


def libvirt_places(step: Step, service: Service) -> list[str]:
    """Return where libvirt in a container of kolla-ansible's keeps what is defined, if it may."""
    if service.container is None:
        return []
    return [f"{engine_directory(step)}/volumes/nova_libvirt_qemu/_data"]


def fit_container(step: Step, service: Service, options: dict[str, dict[str, str]]) -> None:
    """Fit the options to a container, which does not see all of the host.

    :raises StepFailed: naming what cannot be had from there
    """
    container, docker = service.container, options.get("docker", {})
    if container is None:
        return
    names = json.dumps({"docker": ["root_directory", "volume_file_systems"]})
    program, *arguments = [Path(service.program[0]).name, *service.program[1:]]
    there = in_service_python(step, service, effective_options, names, program, *arguments)
    if docker.get("volume_file_systems") or there["docker"]["volume_file_systems"]:
        raise StepFailed(
            f"[docker]volume_file_systems is set, and the container {container.name} can give "
            "instances no volumes: it sees neither their processes nor mounts as the engine does. "
            "Leave it out of the options and of nova.conf, then repeat"
        )
    # The volume that is in sight is where the engine keeps all of its data.
    seen, source = STATE_PATH, container.source(STATE_PATH)
    kept = source.startswith(f"{engine_directory(step)}/") and step.path(source).exists()
    if kept and there["docker"]["root_directory"] in (None, "", seen):
        options.setdefault("docker", {}).setdefault("root_directory", seen)

# SPDX-License-Identifier: Apache-2.0
"""Prove, from the host's side, that it is a Docker hypervisor; changes nothing in any mode."""

from __future__ import annotations

import json
import time
import urllib.parse
from typing import Any

from library.container_config import drift_of
from library.engine import DOCKER_SOCKET, docker
from library.engine_access import is_member, may_use_engine
from library.faults import StepFailed
from library.outcome import run_step
from library.probes import container_fault, engine_ping, nova_driver
from library.services import Service, in_service_python, nova_service
from library.step import Step

SETTINGS = {
    "type": "object",
    "description": "What has to be true of a converted host.",
    "additionalProperties": False,
    "properties": {
        "images": {
            "type": "array",
            "description": "Ids of Glance images that the engine has to hold.",
            "items": {"type": "string", "pattern": "^[0-9a-fA-F-]{32,36}$"},
            "default": [],
        },
        "wait_s": {
            "type": "number",
            "description": "How long to wait for the images, in seconds.",
            "minimum": 0,
            "maximum": 3600,
            "default": 0,
        },
        "driver": {
            "type": "boolean",
            "description": "Whether the driver is loaded and starts a container.",
            "default": True,
        },
    },
}

REPOSITORY = "nova-glance"
DRIVER_PACKAGE = "novadocker"
# What Python says where the driver has its parts elsewhere, as in an earlier release.
OTHER_LAYOUT = f"No module named '{DRIVER_PACKAGE}."


def converge(step: Step) -> None:
    """Check all, and fail with everything that is wrong at once."""
    faults: list[str] = []
    service = nova_service(step)
    step.facts["nova"] = {"unit": service.unit, "state": service.state}
    if not service.active:
        faults.append(f"{service.unit} is {service.state}")
    if step.settings["driver"]:
        faults.extend(driver_faults(step, service))
    faults.extend(group_faults(step, service))
    faults.extend(drift_of(step, service))
    try:
        faults.extend(image_faults(step))
    except StepFailed as err:
        faults.append(str(err))
    if faults:
        raise StepFailed("; ".join(faults))


def driver_faults(step: Step, service: Service) -> list[str]:
    """Return why Nova does not load the driver, or the driver starts no container.

    That takes the processor for some seconds, as Nova is imported twice.
    """
    try:
        in_service_python(step, service, engine_ping, DOCKER_SOCKET)
        loaded = in_service_python(step, service, nova_driver, *service.program)
        step.facts["nova"]["compute_driver"] = loaded["compute_driver"]
        if loaded["driver"].split(".")[0] != DRIVER_PACKAGE:
            return [f"{service.unit} is configured for the driver {loaded['compute_driver']}"]
        return container_faults(step, service)
    except StepFailed as err:
        last = str(err).strip().splitlines()[-1]
        return [f"as user {service.user}: {last[-300:]}"]


def container_faults(step: Step, service: Service) -> list[str]:
    """Return why the engine does not start a container as the driver does, if it does not."""
    try:
        told = in_service_python(step, service, container_fault, *service.program)
    except StepFailed as err:
        if OTHER_LAYOUT not in str(err):
            raise
        # That the driver itself loads was seen before.
        step.note("no container was started, as the driver here is of another release than this")
        return []
    fault = str(told or "")
    if not fault:
        return []
    remedy = "; see `journalctl -u docker`"
    if "apparmor" in fault.lower():
        remedy = "; install the package apparmor, as the kernel has AppArmor switched on"
    return [f"no container starts here: {fault[-400:]}{remedy}"]


def group_faults(step: Step, service: Service) -> list[str]:
    """Return what is wrong with the groups of the running process (not those of a new login)."""
    if may_use_engine(service):
        return []
    if is_member(step, service):
        return [f"the running {service.unit} is not in group docker: restart it"]
    if service.container is not None:
        return [f"{service.user} may not use the engine from its container: deploy again"]
    return [f"user {service.user} is not in group docker: add it, then restart {service.unit}"]


def image_faults(step: Step) -> list[str]:
    """Return which images the engine lacks, after waiting for them."""
    wanted = set(step.settings["images"])
    deadline = time.monotonic() + step.settings["wait_s"]
    while True:
        present = held_images()
        missing = sorted(wanted - set(present))
        if not missing or time.monotonic() >= deadline:
            break
        time.sleep(1)
    step.facts["images"] = {name: present[name] for name in sorted(wanted & set(present))}
    return [f"the engine lacks the images {', '.join(missing)}"] if missing else []


def held_images() -> dict[str, Any]:
    """Return the engine's images that came from Glance: their Glance ids and engine ids."""
    query = urllib.parse.quote(json.dumps({"reference": [f"{REPOSITORY}/*"]}))
    held = {}
    for image in docker(f"/images/json?filters={query}") or []:
        for tag in image.get("RepoTags") or []:
            repository, _, _ = tag.rpartition(":")
            held[repository.split("/", 1)[1]] = image["Id"]
    return held


if __name__ == "__main__":
    run_step("verify_host", SETTINGS, converge)

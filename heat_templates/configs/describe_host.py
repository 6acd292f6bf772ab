# SPDX-License-Identifier: Apache-2.0
"""Tell what this host is and what it runs; changes nothing in any mode."""

from __future__ import annotations

import json
import platform
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from library.deployers import containerised_compute, deployer_of
from library.engine import ENGINES, docker
from library.faults import StepFailed
from library.instances import INSTANCE_LABEL
from library.outcome import run_step
from library.probes import effective_options, nova_options, versions
from library.records import parse_record
from library.services import (
    GLANCE_UNITS,
    NOVA_UNITS,
    SCHEDULER_UNITS,
    Service,
    find_service,
    in_service_python,
)
from library.step import Step

SETTINGS = {
    "type": "object",
    "description": "Nothing to set.",
    "additionalProperties": False,
    "properties": {},
}

# The distribution that the driver is.
DRIVER = "nova-docker"
# Keeps what does not require an aggregate's traits off its hosts; Nova's default is not to.
ISOLATED = "enable_isolated_aggregate_filtering"
# As oslo.config reads it.
TRUE = ("1", "true", "yes", "on")


def converge(step: Step) -> None:
    """Fill in the facts; whatever cannot be told is told as null, with the reason in the notes."""
    step.facts.update(
        hostname=socket.gethostname(),
        os=operating_system(step),
        python=platform.python_version(),
        agent=attempted(step, "agent", agent),
        nova=attempted(step, "nova", nova),
        glance=attempted(step, "glance", glance),
        scheduler=attempted(step, "scheduler", scheduler),
        docker=attempted(step, "docker", engine),
        records=dict.fromkeys(recorded_steps(step), True),
        journals=journals(step),
        free_disk_gb=round(free_disk_bytes(step) / 1024**3, 1),
    )
    of_nova = step.facts["nova"] or {}
    step.facts["novadocker"] = {"driver_version": of_nova.pop("driver_version", None)}


def attempted(
    step: Step, name: str, tell: Callable[[Step], Optional[dict[str, Any]]]
) -> Optional[dict[str, Any]]:
    """Return what a function tells, or null and a note with the reason why it cannot."""
    try:
        return tell(step)
    except (StepFailed, OSError, ValueError) as err:
        step.note(f"{name}: {str(err)[:300]}")
        return None


def operating_system(step: Step) -> dict[str, str]:
    """Return the distribution's id and version."""
    values: dict[str, str] = {}
    for line in step.path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        values[name] = value.strip("\"'")
    return {
        "id": values.get("ID", ""),
        "version_id": values.get("VERSION_ID", ""),
    }


def agent(step: Step) -> dict[str, Any]:
    """Return whether os-collect-config runs, and how often it asks."""
    service = find_service(step, ("os-collect-config.service",))
    interval = None
    configuration = step.path("/etc/os-collect-config.conf")
    for line in configuration.read_text().splitlines() if configuration.exists() else ():
        name, _, value = line.partition("=")
        if name.strip() == "polling_interval":
            interval = value.strip()
    return {"active": bool(service and service.active), "polling_interval": interval}


def nova(step: Step) -> Optional[dict[str, Any]]:
    """Return nova-compute's unit, release and driver, null where there is none.

    A unit that is there but cannot be asked is not taken for a host without Nova.
    """
    service = find_service(step, NOVA_UNITS)
    if service is None:
        hindrance = containerised_compute(step)
        return {"hindrance": hindrance} if hindrance else None
    facts: dict[str, Any] = {
        "unit": service.unit,
        "state": service.state,
        "user": service.user,
        "python": service.python,
        "config_args": config_arguments(service),
        "version": None,
        "compute_driver": None,
        "host": None,
        "compute_id": None,
    }
    if service.container is not None:
        facts["deployer"] = deployer_of(service.unit)
    try:
        if not service.python:
            raise StepFailed(f"the Python of {service.unit} cannot be told from its command")
        installed = in_service_python(step, service, versions, "nova", DRIVER)
        program, arguments = Path(service.program[0]).name, facts["config_args"]
        options = in_service_python(step, service, nova_options, program, *arguments)
        facts.update(options, host=options["host"] or socket.gethostname())
        facts.update(version=installed["nova"], python_version=installed["python"])
        facts["driver_version"] = installed[DRIVER]
    except (StepFailed, OSError, ValueError, KeyError) as err:
        step.note(f"nova: {str(err)[:300]}")
    return facts


def config_arguments(service: Service) -> list[str]:
    """Return the arguments that choose configuration files, in their order."""
    chosen, rest = [], service.program[1:]
    for index, item in enumerate(rest):
        if item in ("--config-file", "--config-dir"):
            chosen.extend([item, *rest[index + 1 : index + 2]])
        elif item.startswith(("--config-file=", "--config-dir=")):
            chosen.append(item)
    return chosen


def glance(step: Step) -> Optional[dict[str, Any]]:
    """Return Glance's unit and release, null where there is none."""
    service = find_service(step, GLANCE_UNITS)
    if service is None:
        return None
    facts: dict[str, Any] = {"unit": service.unit, "state": service.state, "version": None}
    if service.python:
        facts["version"] = in_service_python(step, service, versions, "glance")["glance"]
    return facts


def scheduler(step: Step) -> Optional[dict[str, Any]]:
    """Return whether nova-scheduler leaves out isolated aggregates, null where there is none."""
    service = find_service(step, SCHEDULER_UNITS)
    if service is None:
        return None
    if not service.python:
        raise StepFailed(f"the Python of {service.unit} cannot be told from its command")
    program, arguments = Path(service.program[0]).name, config_arguments(service)
    wanted = json.dumps({"scheduler": [ISOLATED]})
    options = in_service_python(step, service, effective_options, wanted, program, *arguments)
    value = str(options["scheduler"][ISOLATED] or "").lower()
    return {"unit": service.unit, "isolates": value in TRUE}


def engine(step: Step) -> dict[str, Any]:
    """Return whether the Docker Engine is installed and answers, its release and containers.

    Those that are instances are told apart: Nova may have another driver by now than theirs.
    """
    installed = any(step.path(name).exists() for name in ENGINES)
    facts: dict[str, Any] = {"installed": installed, "active": False, "version": None}
    if installed:
        service = find_service(step, ("docker.service",))
        facts["active"] = bool(service and service.active)
    if facts["active"]:
        facts["version"] = docker("/version")["Version"]
        containers = docker("/containers/json?all=1")
        labels = [container.get("Labels") or {} for container in containers]
        facts["containers"] = len(containers)
        facts["instances"] = len({of[INSTANCE_LABEL] for of in labels if INSTANCE_LABEL in of})
    return facts


def recorded_steps(step: Step) -> list[str]:
    """Return the host steps that have something on record to take back on this host."""
    return sorted(path.stem for path in step.record_path.parent.glob("*.json"))


def journals(step: Step) -> dict[str, str]:
    """Return the run that changed something last, by the host step: that one can be rolled back."""
    begun = {}
    for path in sorted(step.record_path.parent.glob("*.json")):
        try:
            run = parse_record(path.read_bytes())[1]
        except (OSError, ValueError) as err:
            step.note(f"journals: {path.name}: {str(err)[:300]}")
            continue
        if run.get("id") and any(run["changes"].values()):
            begun[path.stem] = str(run["id"])
    return begun


def free_disk_bytes(step: Step) -> int:
    """Return the free space where images and containers are, or will be, kept."""
    place = step.path("/var/lib/docker")
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


if __name__ == "__main__":
    run_step("describe_host", SETTINGS, converge)

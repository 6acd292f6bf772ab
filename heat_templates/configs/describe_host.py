# SPDX-License-Identifier: Apache-2.0
"""Tell what this host is and what it runs; changes nothing in any mode."""

import platform
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from host_step import (
    NOVA_UNITS,
    Service,
    Step,
    StepFailed,
    docker,
    find_service,
    in_service_python,
    run_step,
)

SETTINGS = {
    "type": "object",
    "description": "Nothing to set.",
    "additionalProperties": False,
    "properties": {},
}

GLANCE_UNITS = (
    "glance-api.service",
    "openstack-glance-api.service",
    "devstack@g-api.service",
)

VERSIONS = """
import importlib.metadata, json, platform, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
answer = {name: version(name) for name in sys.argv[1].split(",")}
answer["python"] = platform.python_version()
print(json.dumps(answer))
"""

# The service's own option parser, with the few options that are asked for: quick, and right about
# defaults, drop-in directories and the order of the command line.
NOVA_OPTIONS = """
import importlib.util, json, os, sys
from oslo_config import cfg
from oslo_log import log
conf = cfg.ConfigOpts()
log.register_options(conf)
base = os.path.dirname(os.path.dirname(importlib.util.find_spec("nova").origin))
conf.register_opts(
    [
        cfg.StrOpt("compute_driver"),
        cfg.StrOpt("host"),
        cfg.StrOpt("pybasedir", default=base),
        cfg.StrOpt("state_path", default="$pybasedir"),
    ]
)
conf(sys.argv[2:], project="nova", prog=sys.argv[1])
compute_id = None
for folder in [*map(os.path.dirname, conf.config_file), conf.state_path]:
    try:
        with open(os.path.join(folder, "compute_id")) as file:
            compute_id = compute_id or file.read(40).strip()
    except OSError:
        pass
options = {"compute_driver": conf.compute_driver, "host": conf.host, "compute_id": compute_id}
print(json.dumps(options))
"""


def converge(step: Step) -> None:
    """Fill in the facts; whatever can not be told is told as null, with the reason in the notes."""
    step.facts.update(
        hostname=socket.gethostname(),
        os=operating_system(step),
        python=platform.python_version(),
        agent=attempted(step, "agent", agent),
        nova=attempted(step, "nova", nova),
        glance=attempted(step, "glance", glance),
        docker=attempted(step, "docker", engine),
        free_disk_gb=round(free_disk_bytes(step) / 1024**3, 1),
    )
    found = step.facts["nova"] or {}
    step.facts["novadocker"] = {"driver_version": found.pop("driver_version", None)}


def attempted(
    step: Step, name: str, tell: Callable[[Step], Optional[dict[str, Any]]]
) -> Optional[dict[str, Any]]:
    """Return what a function tells, or null and a note with the reason why it can not."""
    try:
        return tell(step)
    except (StepFailed, OSError, ValueError) as error:
        step.note(f"{name}: {str(error)[:300]}")
        return None


def operating_system(step: Step) -> dict[str, str]:
    """Return the distribution's id, version and family (debian, redhat or other)."""
    values: dict[str, str] = {}
    for line in step.path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        values[name] = value.strip("\"'")
    like = {values.get("ID", ""), *values.get("ID_LIKE", "").split()}
    family = "debian" if like & {"debian", "ubuntu"} else "other"
    if like & {"rhel", "fedora", "centos"}:
        family = "redhat"
    return {
        "id": values.get("ID", ""),
        "version_id": values.get("VERSION_ID", ""),
        "family": family,
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
    """Return nova-compute's unit, release and driver, null where there is none."""
    service = find_service(step, NOVA_UNITS)
    if service is None:
        return None
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
    if service.python:
        versions = in_service_python(step, service, VERSIONS, "nova,nova-docker")
        facts.update(version=versions["nova"], driver_version=versions["nova-docker"])
        facts["python_version"] = versions["python"]
        program = Path(service.program[0]).name
        options = in_service_python(step, service, NOVA_OPTIONS, program, *facts["config_args"])
        facts.update(options, host=options["host"] or socket.gethostname())
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
        facts["version"] = in_service_python(step, service, VERSIONS, "glance")["glance"]
    return facts


def engine(step: Step) -> dict[str, Any]:
    """Return whether the Docker Engine is installed and answers, its release and containers."""
    installed = any(
        step.path(f"{folder}/dockerd").exists()
        for folder in ("/usr/bin", "/usr/sbin", "/usr/local/bin")
    )
    facts: dict[str, Any] = {"installed": installed, "active": False, "version": None}
    if installed:
        service = find_service(step, ("docker.service",))
        facts["active"] = bool(service and service.active)
    if facts["active"]:
        facts["version"] = docker("/version")["Version"]
        facts["containers"] = len(docker("/containers/json?all=1"))
    return facts


def free_disk_bytes(step: Step) -> int:
    """Return the free space where images and containers are, or will be, kept."""
    place = step.path("/var/lib/docker")
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


if __name__ == "__main__":
    run_step("describe_host", SETTINGS, converge)

# SPDX-License-Identifier: Apache-2.0
"""Prove, from the host's side, that it is a Docker hypervisor; changes nothing in any mode."""

import grp
import json
import time
import urllib.parse
from pathlib import Path
from typing import Any

from host_step import (
    DOCKER_SOCKET,
    Service,
    Step,
    StepFailed,
    docker,
    in_service_python,
    nova_service,
    run_step,
)

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
    },
}

REPOSITORY = "nova-glance"
DRIVER_PACKAGE = "novadocker"

# Run as Nova's user: the engine answers it, and the configured driver's class can be loaded.
AS_NOVA = """
import http.client, json, socket, sys
sys.argv = sys.argv[1:]
path = sys.argv.pop(0)
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(10)
sock.connect(path)
sock.sendall(b"GET /_ping HTTP/1.0\\r\\nHost: docker\\r\\n\\r\\n")
answer = http.client.HTTPResponse(sock)
answer.begin()
ping = answer.read().decode()
import nova.cmd.compute
from nova import config
from oslo_utils import importutils
config.parse_args(sys.argv, configure_db=False, init_rpc=False)
name = config.CONF.compute_driver
found = importutils.import_class("nova.virt." + name)
print(json.dumps({"ping": ping, "compute_driver": name, "package": found.__module__.split(".")[0]}))
"""


def converge(step: Step) -> None:
    """Check all, and fail with everything that is wrong at once."""
    faults: list[str] = []
    service = nova_service(step)
    step.facts["nova"] = {"unit": service.unit, "state": service.state}
    if not service.active:
        faults.append(f"{service.unit} is {service.state}")
    try:
        found = in_service_python(step, service, AS_NOVA, DOCKER_SOCKET, *service.program)
        step.facts["nova"]["compute_driver"] = found["compute_driver"]
        if found["package"] != DRIVER_PACKAGE:
            faults.append(f"{service.unit} is configured for the driver {found['compute_driver']}")
    except StepFailed as error:
        last = str(error).strip().splitlines()[-1]
        faults.append(f"as user {service.user}: {last[-300:]}")
    faults.extend(group_faults(service))
    try:
        faults.extend(image_faults(step))
    except StepFailed as error:
        faults.append(str(error))
    if faults:
        raise StepFailed("; ".join(faults))


def group_faults(service: Service) -> list[str]:
    """Return what is wrong with the groups of the running process (not those of a new login)."""

    if service.user == "root" or not service.pid:
        return []
    try:
        wanted = grp.getgrnam("docker").gr_gid
    except KeyError:
        return []
    for line in Path(f"/proc/{service.pid}/status").read_text().splitlines():
        if line.startswith(("Groups:", "Gid:")) and str(wanted) in line.split()[1:]:
            return []
    return [f"the running {service.unit} is not in group docker: restart it"]


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

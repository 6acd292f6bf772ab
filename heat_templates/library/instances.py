# SPDX-License-Identifier: Apache-2.0
"""The containers of this host that are instances, which keep it a Docker hypervisor."""

import json
import urllib.parse

from library.engine import docker
from library.faults import StepFailed
from library.step import Step

DOCKER_DIRECTORY = "/var/lib/docker"
#: Which instance a container is of; the driver puts it on all of them, and Nova on nothing else.
INSTANCE_LABEL = "org.openstack.nova.uuid"


def instance_containers(step: Step) -> list[str]:
    """Return the names of the instances' containers on this host, also those that are stopped.

    Where the engine does not answer, what it keeps on disk says as much.
    """
    query = urllib.parse.urlencode({"all": "1", "filters": json.dumps({"label": [INSTANCE_LABEL]})})
    try:
        found = docker(f"/containers/json?{query}")
    except StepFailed:
        return sorted(name for name, labels in kept_containers(step) if INSTANCE_LABEL in labels)
    return sorted(item["Names"][0].lstrip("/") for item in found)


def kept_containers(step: Step) -> list[tuple[str, dict[str, str]]]:
    """Return name and labels of the containers that an engine keeps on disk."""
    kept = []
    for place in step.path(f"{engine_directory(step)}/containers").glob("*"):
        try:
            data = json.loads((place / "config.v2.json").read_text())
            labels = dict(data["Config"]["Labels"] or {})
            kept.append((str(data["Name"]).lstrip("/"), labels))
        except (OSError, ValueError, KeyError, TypeError):
            # What cannot be read may be an instance all the same.
            kept.append((place.name[:12], {INSTANCE_LABEL: ""}))
    return kept


def engine_directory(step: Step) -> str:
    """Return where the engine keeps its data, as its configuration file says."""
    try:
        settings = json.loads(step.path("/etc/docker/daemon.json").read_text())
        return str(settings.get("data-root", DOCKER_DIRECTORY))
    except (OSError, ValueError, AttributeError):
        return DOCKER_DIRECTORY


def refuse_if_instances(step: Step) -> None:
    """Refuse to take from a host what its instances' containers are managed with.

    :raises StepFailed: naming them
    """
    names = instance_containers(step)
    if names:
        raise StepFailed(
            f"{len(names)} instances live on this host as containers ({', '.join(names[:5])}): it "
            "stays a Docker hypervisor. Delete or move them, or mend what is wrong and deploy again"
        )

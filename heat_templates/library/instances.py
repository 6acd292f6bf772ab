# SPDX-License-Identifier: Apache-2.0
"""The containers of this host that are instances, which keep it a Docker hypervisor."""

from __future__ import annotations

import json
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from library.engine import docker
from library.engine_unit import (
    DOCKER_DIRECTORY,
    ENGINE_SETTINGS,
    engine_command,
    engine_flag,
    engine_flags,
)
from library.faults import StepFailed
from library.step import Step

# Which instance a container is of; the driver puts it on all of them, and Nova on nothing else.
INSTANCE_LABEL = "org.openstack.nova.uuid"
# Where libvirt keeps what is defined, and what runs; and by what Nova marks its own in there.
DOMAINS = ("/etc/libvirt/qemu", "/run/libvirt/qemu")
NOVAS_DOMAIN = b"http://openstack.org/xmlns/libvirt/nova/"


@dataclass(frozen=True)
class KeptContainer:
    """A container on an engine's disk.

    :param network: its network mode, empty when it cannot be told
    """

    name: str
    is_instance: bool
    network: str


def instance_containers(step: Step) -> list[str]:
    """Return the names of the instances' containers on this host, also those that are stopped.

    Where the engine does not answer, what it keeps on disk says as much.
    """
    query = urllib.parse.urlencode({"all": "1", "filters": json.dumps({"label": [INSTANCE_LABEL]})})
    try:
        containers = docker(f"/containers/json?{query}")
    except StepFailed:
        return sorted(kept.name for kept in kept_containers(step) if kept.is_instance)
    return sorted(item["Names"][0].lstrip("/") for item in containers)


def kept_containers(step: Step) -> list[KeptContainer]:
    """Return the containers that an engine keeps on disk, for when it cannot be asked.

    What cannot be read may be an instance all the same, and may use any network.
    """
    kept = []
    for place in [kept for data in engine_places(step) for kept in data.glob("containers/*")]:
        try:
            data = json.loads((place / "config.v2.json").read_text())
            name, labels = str(data["Name"]).lstrip("/"), dict(data["Config"]["Labels"] or {})
        except (OSError, ValueError, KeyError, TypeError):
            name, labels = place.name[:12], {INSTANCE_LABEL: ""}
        try:
            network = str(json.loads((place / "hostconfig.json").read_text())["NetworkMode"])
        except (OSError, ValueError, KeyError, TypeError):
            network = ""
        kept.append(KeptContainer(name, INSTANCE_LABEL in labels, network))
    return kept


def engine_directory(step: Step) -> str:
    """Return where the engine keeps its data, as its command or its configuration file says."""
    flags = engine_flags(engine_command(step))
    named = engine_flag(flags, "data-root")
    if named:
        return named
    file = engine_flag(flags, "config-file") or ENGINE_SETTINGS
    try:
        settings = json.loads(step.path(file).read_text())
        return str(settings.get("data-root") or settings.get("graph") or DOCKER_DIRECTORY)
    except (OSError, ValueError, AttributeError):
        return DOCKER_DIRECTORY


def engine_places(step: Step) -> list[Path]:
    """Return where the engine's data are, and those of it with other user namespaces."""
    place = step.path(engine_directory(step))
    return [place, *sorted(place.glob("[0-9]*.[0-9]*"))]


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


def refuse_if_virtual_machines(step: Step, *more: str) -> None:
    """Refuse to take nova-compute's driver from virtual machines that Nova has on this host.

    A run asks Nova for that before, and lets them move; a stack of Heat asks nobody.

    :param more: places where libvirt keeps its domains, besides the usual ones
    :raises StepFailed: naming them
    """
    files = [file for place in (*DOMAINS, *more) for file in sorted(step.path(place).glob("*.xml"))]
    names = sorted({file.stem for file in files if NOVAS_DOMAIN in file.read_bytes()})
    if names:
        raise StepFailed(
            f"{len(names)} virtual machines of Nova's are on this host ({', '.join(names[:5])}): "
            "move or delete them, see `virsh list --all` for what Nova does not know any more, "
            "then repeat"
        )

# SPDX-License-Identifier: Apache-2.0
"""A tenant's containers, as Nova tells of them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openstack.compute.v2 import server
from openstack.exceptions import raise_from_response
from openstack.resource import Body

from novadocker_client.connection import NOVA, Cloud
from novadocker_client.errors import asking
from novadocker_client.progress import moment

# The first that tells with a server what its image says, so that Glance need not be asked for it.
MICROVERSION = "2.98"
# What images for containers say.
HYPERVISOR, DOCKER = "img_hv_type", "docker"
COMMAND = "os_command_line"
LOG_LINES = 500
ACTS: Mapping[str, Mapping[str, Any]] = {
    "start": {"os-start": None},
    "stop": {"os-stop": None},
    "reboot": {"reboot": {"type": "SOFT"}},
}


class _Server(server.Server):  # type: ignore[misc, unused-ignore]
    # The SDK's own takes the image for one of Glance's, and what it says for unknown.
    image_record = Body("image")


@dataclass(frozen=True)
class Container:
    """A container.

    :param image: its image's name, or its id where the name is not known
    :param command: what it runs, "" for the image's own command
    :param task: what is being done with it
    :param fault: why it is in error
    """

    id: str
    name: str
    image: str
    command: str
    status: str
    task: str = ""
    addresses: tuple[str, ...] = ()
    created_at: datetime.datetime | None = None
    fault: str = ""


def listed(cloud: Cloud, images: Mapping[str, str]) -> list[Container]:
    """Return the containers of the user's project, by name.

    :param images: names of images by id, as far as they are known
    :raises ClientError: when Nova does not tell
    """
    with asking(NOVA, "list servers"):
        servers = list(
            _Server.list(
                cloud.connection.compute, base_path="/servers/detail", microversion=MICROVERSION
            )
        )
    return sorted(_containers(servers, images), key=lambda container: container.name)


def act(cloud: Cloud, server_id: str, name: str) -> None:
    """Start, stop or reboot a container.

    :param name: one of ``ACTS``
    :raises ClientError: when Nova does not do it
    """
    with asking(NOVA, f"{name} {server_id}"):
        answer = cloud.connection.compute.post(f"/servers/{server_id}/action", json=ACTS[name])
        raise_from_response(answer)


def log(cloud: Cloud, server_id: str) -> str:
    """Return the end of what a container has printed.

    :raises ClientError: when Nova does not tell
    """
    with asking(NOVA, f"show the console log of {server_id}"):
        answer = cloud.connection.compute.get_server_console_output(server_id, LOG_LINES)
    return str(answer.get("output") or "")


def boot(
    cloud: Cloud,
    *,
    name: str,
    image: str,
    flavor: str,
    networks: list[str],
    environment: Mapping[str, str],
) -> str:
    """Boot a container; return its id.

    :param environment: variables of its command, which are the server's metadata
    :raises ClientError: when Nova does not begin it
    """
    with asking(NOVA, f"boot {name}"):
        made = cloud.connection.compute.create_server(
            name=name,
            image_id=image,
            flavor_id=flavor,
            networks=[{"uuid": network} for network in networks],
            metadata=dict(environment),
        )
    return str(made.id)


def _containers(servers: list[Any], images: Mapping[str, str]) -> Iterator[Container]:
    for item in servers:
        # A server that boots from a volume has "" for an image.
        image = item.image_record if isinstance(item.image_record, Mapping) else {}
        says = image.get("properties") or {}
        key = str(image.get("id") or "")
        if says.get(HYPERVISOR) != DOCKER and key not in images:
            continue
        fault = item.fault if isinstance(item.fault, Mapping) else {}
        yield Container(
            id=str(item.id),
            name=str(item.name or ""),
            image=images.get(key, key),
            command=str(says.get(COMMAND) or ""),
            status=str(item.status or ""),
            task=str(item.task_state or ""),
            addresses=tuple(
                f"{network}: {address.get('addr')}"
                for network, addresses in (item.addresses or {}).items()
                for address in addresses
            ),
            created_at=moment(item.created_at),
            fault=str(fault.get("message") or ""),
        )

# SPDX-License-Identifier: Apache-2.0
"""Names and labels of containers: whose they are, and what they are for."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from novadocker.types import Instance

LABEL = "org.openstack.nova."
# Label with the names of the variables that a container was given, and what its image has instead.
ENVIRONMENT = f"{LABEL}environment"
# Label with a digest of what a container was made with that cannot be changed while it exists.
FIXED = f"{LABEL}fixed"
# Label with the devices of the host that a container has.
DEVICES = f"{LABEL}devices"


class Role(enum.Enum):
    """Role of a container in its instance."""

    WORKLOAD = "workload"
    SANDBOX = "sandbox"


def workload_name(uuid: str) -> str:
    """Return the name of the container of an instance."""
    return f"nova-{uuid}"


def sandbox_name(uuid: str) -> str:
    """Return the name of the sandbox of an instance."""
    return f"nova-sandbox-{uuid}"


def new_name(uuid: str) -> str:
    """Return the name of the container that is about to replace that of an instance."""
    return f"nova-{uuid}-new"


def resized_name(uuid: str) -> str:
    """Return the name of the container that a resize or a migration is reverted to."""
    return f"nova-{uuid}-resize"


def rescued_name(uuid: str) -> str:
    """Return the name of an instance's own container while it is rescued."""
    return f"nova-{uuid}-rescued"


def aside_names(uuid: str) -> tuple[str, ...]:
    """Return the names of containers that can replace a lost one, in order of preference."""
    return rescued_name(uuid), resized_name(uuid), new_name(uuid)


def labels(
    instance: Instance,
    host: str,
    role: Role,
    image_id: str = "",
    environment: str = "",
    devices: str = "",
) -> dict[str, str]:
    """Return the labels of a container of an instance.

    All are always set: a label that is not set would be taken from the image, which a tenant made.

    :param environment: which of its variables are the instance's own, see :func:`own_environment`
    :param devices: which of the host's devices it has, see :class:`Given`
    """
    return {
        LABEL + "uuid": instance.uuid,
        LABEL + "name": instance.name,
        LABEL + "host": host,
        LABEL + "project": instance.project_id or "",
        LABEL + "image_id": image_id,
        LABEL + "role": role.value,
        ENVIRONMENT: environment,
        DEVICES: devices,
    }


def image_label(details: Mapping[str, Any]) -> str:
    """Return the id of the Glance image that a container was made from."""
    return str(details["Config"]["Labels"].get(f"{LABEL}image_id", ""))


def environment_label(details: Mapping[str, Any]) -> str:
    """Return what a container's label says of its own variables."""
    return str(details["Config"]["Labels"].get(ENVIRONMENT, ""))


def devices_label(details: Mapping[str, Any]) -> str:
    """Return what a container's label says of its devices."""
    return str((details["Config"].get("Labels") or {}).get(DEVICES, ""))

# SPDX-License-Identifier: Apache-2.0
"""What Placement holds of a host for as long as it is a Docker hypervisor."""

from __future__ import annotations

from typing import Any

from novadocker_actions.cloud import aggregates
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError

# The driver's own. Nova leaves on a host what another driver than its own has set there.
DRIVERS = frozenset({aggregates.TRAIT, "CUSTOM_DOCKER_DISK_QUOTA"})
_TRIES = 5


def remove(cloud: Cloud, provider_id: str) -> bool:
    """Take the driver's traits off a host that has another driver, so that no container goes there.

    :param cloud: the services
    :param provider_id: the hypervisor's id, which is that of its resource provider
    :return: whether it had some
    :raises CloudError: when Placement does not take them off
    """
    if not cloud.placement.in_catalog():
        return False
    path = f"/resource_providers/{provider_id}/traits"
    for left in reversed(range(_TRIES)):
        try:
            answer: dict[str, Any] = cloud.placement.get(path)
            kept = [name for name in answer["traits"] if name not in DRIVERS]
            if len(kept) == len(answer["traits"]):
                return False
            generation = answer["resource_provider_generation"]
            cloud.placement.put(
                path, json={"traits": kept, "resource_provider_generation": generation}
            )
            return True
        except CloudError as err:
            if err.status == 404:
                return False
            # Nova has changed it since it was read.
            if err.status != 409 or not left:
                raise
    return False

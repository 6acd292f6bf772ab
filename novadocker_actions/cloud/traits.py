# SPDX-License-Identifier: Apache-2.0
"""What Placement holds of a host for as long as it is a Docker hypervisor."""

from __future__ import annotations

from typing import Any

from novadocker_actions.cloud import aggregates
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError

# The driver's own. Nova leaves on a host what another driver than its own has set there.
DRIVERS = frozenset({aggregates.TRAIT, "CUSTOM_DOCKER_DISK_QUOTA"})
# Another driver's as well: libvirt's says it anew at each look. On a host that has neither that nor
# ours (of those that can be converted, one of Nova's fake driver) it is a trace of ours.
_ARCHITECTURE, _OF_LIBVIRT = "HW_ARCH_", ("kvm", "qemu")
_TRIES = 5


def remove(cloud: Cloud, hypervisor: dict[str, Any]) -> bool:
    """Take the driver's traits off a host that has another driver, so that no container goes there.

    :param cloud: the services
    :param hypervisor: as Nova shows it; its id is that of its resource provider
    :return: whether it had some
    :raises CloudError: when Placement does not take them off
    """
    if not cloud.placement.in_catalog():
        return False
    path = f"/resource_providers/{hypervisor['id']}/traits"
    of_libvirt = str(hypervisor["hypervisor_type"]).lower() in _OF_LIBVIRT
    for left in reversed(range(_TRIES)):
        try:
            answer: dict[str, Any] = cloud.placement.get(path)
            kept = [
                name
                for name in answer["traits"]
                if name not in DRIVERS and (of_libvirt or not name.startswith(_ARCHITECTURE))
            ]
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

# SPDX-License-Identifier: Apache-2.0
"""Tags of interfaces, by which a workload recognises its interfaces in its metadata."""

from __future__ import annotations

from typing import Any

from nova import objects

from novadocker.types import Context, Instance


def of_interfaces(context: Context, instance: Instance) -> Any:
    """Return the tagged interfaces of an instance, as its metadata shows them.

    :return: None when there are none
    """
    devices = [
        objects.NetworkInterfaceMetadata(mac=vif.address, tags=[vif.tag])
        for vif in objects.VirtualInterfaceList.get_by_instance_uuid(context, instance.uuid)
        if vif.tag
    ]
    return objects.InstanceDeviceMetadata(devices=devices) if devices else None

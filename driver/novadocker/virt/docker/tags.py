# SPDX-License-Identifier: Apache-2.0
"""Tags of interfaces, by which a workload finds in its metadata which of them is which."""

from typing import Any

from nova import objects


def of_interfaces(context: Any, instance: Any) -> Any:
    """Describe the tagged interfaces of an instance, as its metadata shows them.

    :return: None when there are none
    """
    devices = [
        objects.NetworkInterfaceMetadata(mac=vif.address, tags=[vif.tag])
        for vif in objects.VirtualInterfaceList.get_by_instance_uuid(context, instance.uuid)
        if vif.tag
    ]
    return objects.InstanceDeviceMetadata(devices=devices) if devices else None


def without(device_metadata: Any, mac: str) -> Any:
    """Take an interface out of a description.

    :return: None when no other is left
    """
    devices = [] if device_metadata is None else device_metadata.devices
    left = [device for device in devices if device.mac != mac]
    return objects.InstanceDeviceMetadata(devices=left) if left else None

# SPDX-License-Identifier: Apache-2.0
"""Methods of a compute driver about volumes."""

from __future__ import annotations

from typing import Any

from novadocker import exceptions
from novadocker.types import Context, Instance
from novadocker.virt.docker.face import faults, refusals
from novadocker.virt.docker.parts import Parts


class Volumes:
    """Attaches, detaches and extends volumes of instances."""

    parts: Parts

    def get_volume_connector(self, instance: Instance) -> Any:
        """Return how volumes can be connected to this host, for Cinder."""
        _refuse_all(self.parts)
        if not instance.image_ref:
            raise refusals.VolumeRefused(reason=refusals.NO_BOOT)  # type: ignore[call-arg]
        return self.parts.volumes.connector()

    def attach_volume(
        self,
        context: Context,
        connection_info: Any,
        instance: Instance,
        mountpoint: str,
        disk_bus: str | None = None,
        device_type: str | None = None,
        encryption: Any = None,
    ) -> None:
        """Mount a volume in an instance, which may run."""
        _refuse_all(self.parts)
        with faults.translated(instance):
            if encryption:
                raise exceptions.VolumeRefused("it is encrypted")
            self.parts.attachments.attach(instance, [(connection_info, mountpoint)])

    def detach_volume(
        self,
        context: Context,
        connection_info: Any,
        instance: Instance,
        mountpoint: str,
        encryption: Any = None,
    ) -> None:
        """Unmount a volume in an instance, which may run but may not use it."""
        with faults.translated(instance, faults.detaching(mountpoint)):
            self.parts.volumes.detach(instance.uuid, connection_info, mountpoint)

    def extend_volume(
        self, context: Context, connection_info: Any, instance: Instance, requested_size: int
    ) -> None:
        """Grow the file system of a volume that was extended."""
        with faults.translated(instance):
            self.parts.volumes.grow(instance.uuid, connection_info)


def _refuse_all(parts: Parts) -> None:
    """Refuse volumes where the operator does not allow any.

    :raises VolumeRefused: there may be none
    """
    if not parts.volumes.allowed:
        raise refusals.VolumeRefused(reason=refusals.NO_VOLUMES)  # type: ignore[call-arg]

# SPDX-License-Identifier: Apache-2.0
"""Methods of a compute driver for instances that their users cannot get into."""

from __future__ import annotations

from typing import Any

from nova import exception
from oslo_log import log as logging

from novadocker.types import Context, ImageMeta, Instance, NetworkInfo
from novadocker.virt.docker.face import block_devices, deletion, faults, reports
from novadocker.virt.docker.parts import Parts

LOG = logging.getLogger(__name__)


class Rescue:
    """Rescues instances, and gives them passwords."""

    parts: Parts

    def rescue(
        self,
        context: Context,
        instance: Instance,
        network_info: NetworkInfo,
        image_meta: ImageMeta,
        rescue_password: str,
        block_device_info: Any,
        share_info: Any = None,
    ) -> None:
        """Run another image in the place of an instance, with its files in /mnt/rescue."""
        parts = self.parts
        with (
            deletion.heeded(parts, context, instance, network_info),
            faults.translated(instance),
            block_devices.in_place(parts, instance, block_device_info),
            parts.attachments.aside(instance),
        ):
            if not (
                image_meta.obj_attr_is_set("id")
                and self._rescued_by(context, instance, image_meta, network_info or [])
            ):
                content = parts.contents.of_own_rescue(instance)
                parts.rescues.begin(instance, content, network_info or [])
        parts.passwords.inject(instance, rescue_password)

    def _rescued_by(
        self, context: Context, instance: Instance, image_meta: ImageMeta, network_info: NetworkInfo
    ) -> bool:
        """Rescue an instance by a rescue image; return False, and tell the user, where that fails.

        After an exception Nova would put the instance into ERROR.
        """
        try:
            content = self.parts.contents.of_rescue(context, instance, image_meta)
            self.parts.rescues.begin(instance, content, network_info)
        except Exception as err:  # noqa: BLE001 - told to the user
            LOG.warning(
                "Image %s does not rescue, the instance's own one is taken: %s",
                image_meta.id,
                err,
                instance=instance,
            )
            fault = exception.ImageUnacceptable(
                image_id=image_meta.id,
                reason=f"the server is rescued by its own image. {err}",
            )
            fault.__cause__ = err
            host = self.parts.facts.name
            reports.tell(context, instance, host, "compute_rescue_by_image", fault)
            return False
        return True

    def unrescue(self, context: Context, instance: Instance) -> None:
        """End a rescue, and run the instance with the repaired files."""
        block_device_info = block_devices.known(self.parts, instance)
        network_info = instance.get_network_info() or []
        with (
            deletion.heeded(self.parts, context, instance, network_info),
            block_devices.in_place(self.parts, instance, block_device_info),
        ):
            self.parts.rescues.end(instance, network_info)

    def set_admin_password(self, instance: Instance, new_pass: str) -> None:
        """Set root's password, where the image has what that takes."""
        with faults.translated(instance):
            self.parts.passwords.set(instance, new_pass)

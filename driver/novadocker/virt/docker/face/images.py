# SPDX-License-Identifier: Apache-2.0
"""Methods of a compute driver about images."""

from __future__ import annotations

from typing import Any

from nova import exception
from nova.compute import task_states, vm_states

from novadocker import conf, exceptions
from novadocker.types import Context, Instance
from novadocker.virt.docker.engine import names
from novadocker.virt.docker.face import block_devices, faults
from novadocker.virt.docker.images import snapshots
from novadocker.virt.docker.instances import guest
from novadocker.virt.docker.parts import Parts

CONF = conf.load()


class Images:
    """Stores instances as images, and has images on the host before they are needed."""

    parts: Parts

    def snapshot(
        self, context: Context, instance: Instance, image_id: str, update_task_state: Any
    ) -> None:
        """Store an instance's file system as an image."""
        parts = self.parts
        name = names.workload_name(instance.uuid)
        try:
            details = parts.workloads.inspect(name)
        except exceptions.NotFound as err:
            raise exception.InstanceNotRunning(instance_id=instance.uuid) from err
        update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
        # The instance's own metadata, which may be secret, is no part of the image: nor is what
        # was taken back since.
        without_env = {
            **guest.not_the_images(names.environment_label(details), instance.metadata or {}),
            **guest.taken_back(names.devices_label(details)),
        }
        try:
            with parts.snapshots.open(name, image_id, without_env, guest.CONFIG_DRIVE) as data:
                update_task_state(
                    task_state=task_states.IMAGE_UPLOADING,
                    expected_state=task_states.IMAGE_PENDING_UPLOAD,
                )
                parts.glance.update(
                    context, image_id, snapshots.glance_meta(instance), data, purge_props=False
                )
        except (exceptions.ImageRefused, exceptions.HostFull) as err:
            if shelved_from_active(instance):
                # Nova has stopped the instance, and does not start it again.
                self._start_again(instance)
            if isinstance(err, exceptions.HostFull):
                raise exception.ComputeResourcesUnavailable(reason=str(err)) from err
            raise exception.ImageUnacceptable(image_id=image_id, reason=str(err)) from err

    def _start_again(self, instance: Instance) -> None:
        block_device_info = block_devices.known(self.parts, instance)
        with block_devices.in_place(self.parts, instance, block_device_info):
            self.parts.instances.start(instance, instance.get_network_info() or [])

    def cache_image(self, context: Context, image_id: str) -> bool:
        """Fetch an image before it is needed.

        :return: False when it was there already
        """
        with faults.translated(None, faults.FETCHING):
            meta = self.parts.glance.get(context, image_id)
            return self.parts.images.ensure(context, meta).fetched

    def manage_image_cache(self, context: Context, all_instances: Any) -> None:
        """Remove images that have been unused for long."""
        section = CONF.image_cache
        self.parts.cache.update(
            all_instances,
            self.parts.facts.name,
            section.remove_unused_base_images,
            section.remove_unused_original_minimum_age_seconds,
        )


def shelved_from_active(instance: Instance) -> bool:
    """Return whether an instance ran when its user asked to shelve it."""
    shelving = instance.task_state == task_states.SHELVING_IMAGE_PENDING_UPLOAD
    return bool(shelving and instance.vm_state == vm_states.ACTIVE)

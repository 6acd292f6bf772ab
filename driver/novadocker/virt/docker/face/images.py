# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the arguments are those of Nova
"""Methods of a compute driver about images: Nova's arguments and exceptions."""

from typing import Any

from nova import exception
from nova.compute import task_states, vm_states
from nova.image import glance

from novadocker import conf, exceptions
from novadocker.virt.docker.engine import containers
from novadocker.virt.docker.images import cache, snapshots, store
from novadocker.virt.docker.instances import guest

CONF = conf.load()
IMAGE_API = glance.API()


class Imaging:
    """Stores instances as images, and has images on the host before they are needed."""

    _host: str
    _workloads: containers.Containers
    _images: store.Images
    _snapshots: snapshots.Snapshots
    _cache: cache.ImageCache

    def restore(self, instance: Any) -> None:
        """Bring an instance back that was stopped."""
        raise NotImplementedError

    def snapshot(self, context: Any, instance: Any, image_id: str, update_task_state: Any) -> None:
        """Store an instance's file system as an image."""
        name = containers.workload_name(instance.uuid)
        if not self._workloads.exists(name):
            raise exception.InstanceNotRunning(instance_id=instance.uuid)
        update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
        # What is an instance's own, and secret: the next one gets another.
        without = set(guest.environment(instance.metadata or {}))
        drive = guest.CONFIG_DRIVE
        try:
            with self._snapshots.open(name, image_id, without, drive) as data:
                update_task_state(
                    task_state=task_states.IMAGE_UPLOADING,
                    expected_state=task_states.IMAGE_PENDING_UPLOAD,
                )
                IMAGE_API.update(
                    context, image_id, snapshots.glance_meta(instance), data, purge_props=False
                )
        except exceptions.ImageRefused as err:
            if shelved_from_active(instance):
                # Nova has stopped it, and does not start it again.
                self.restore(instance)
            raise exception.ImageUnacceptable(image_id=image_id, reason=str(err)) from err

    def cache_image(self, context: Any, image_id: str) -> bool:
        """Fetch an image before it is needed.

        :return: False when it was there already
        """
        _image, fetched = self._images.ensure(context, IMAGE_API.get(context, image_id))
        return fetched

    def manage_image_cache(self, context: Any, all_instances: Any) -> None:
        """Remove images that have been unused for long."""
        section = CONF.image_cache
        self._cache.update(
            all_instances,
            self._host,
            section.remove_unused_base_images,
            section.remove_unused_original_minimum_age_seconds,
        )


def shelved_from_active(instance: Any) -> bool:
    """Tell whether an instance ran when its user asked to shelve it."""
    shelving = instance.task_state == task_states.SHELVING_IMAGE_PENDING_UPLOAD
    return bool(shelving and instance.vm_state == vm_states.ACTIVE)

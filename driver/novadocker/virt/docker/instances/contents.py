# SPDX-License-Identifier: Apache-2.0
"""What runs in an instance: made of Nova's image, metadata, keys and files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from nova.compute import task_states
from oslo_utils import units

from novadocker import exceptions
from novadocker.types import Context, ImageMeta, Instance, NetworkInfo
from novadocker.virt.docker.engine import names, workload
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.images.store import EngineImage, Images
from novadocker.virt.docker.instances import guest, wishes


@dataclasses.dataclass(frozen=True)
class Content:
    """Image, command, environment and files of a workload.

    :param image: id of the image in the engine
    :param image_id: id of the image in Glance
    :param command: arguments to the image's entry point; None for the image's own
    :param environment: its variables; of None, not even the image's
    :param entry_point: in the place of the image's; None for the image's own
    :param own_environment: which variables are the instance's own, for the container's label
    :param files: archive to unpack at the container's root before it starts
    :param health_check: the image's; None where it has none, or none is to be run
    """

    image: str
    image_id: str
    command: list[str] | None = None
    environment: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    own_environment: str = ""
    files: bytes | None = None
    entry_point: list[str] | None = None
    health_check: Mapping[str, Any] | None = None


class Contents:
    """Makes the content of instances.

    :param section: the options in [docker]
    :param glance: Nova's client of Glance
    """

    def __init__(
        self, facts: HostFacts, section: Any, images: Images, glance: Any, workloads: Containers
    ) -> None:
        self._facts = facts
        self._section = section
        self._images = images
        self._glance = glance
        self._workloads = workloads

    def _glance_meta(self, context: Context, image_meta: ImageMeta) -> dict[str, Any]:
        """Return Glance's description of an image; Glance is asked where Nova's is incomplete.

        :raises ImageRefused: the instance has no image
        """
        fields = ("id", "container_format", "disk_format", "checksum", "size")
        if not image_meta.obj_attr_is_set("id"):
            raise exceptions.ImageRefused(
                "a container needs an image: booting from a volume is not possible", ""
            )
        if all(image_meta.obj_attr_is_set(field) for field in fields):
            return {field: getattr(image_meta, field) for field in fields}
        meta: dict[str, Any] = self._glance.get(context, image_meta.id)
        return meta

    def image_of_new(
        self, context: Context, instance: Instance, image_meta: ImageMeta
    ) -> EngineImage:
        """Return the image of a new instance, fetched into the engine if need be.

        :raises ImageRefused: the image is refused
        :raises FlavorTooSmall: the flavor's root disk is smaller
        """
        image = self._fetched(context, instance, image_meta)
        root_bytes = instance.flavor.root_gb * units.Gi
        # A flavor of no size has no limit.
        if self._is_new(instance) and 0 < root_bytes < image.size_bytes:
            raise exceptions.FlavorTooSmall(root_bytes, image.size_bytes)
        return image

    def _is_new(self, instance: Instance) -> bool:
        """Return whether an instance is made or rebuilt.

        One that comes back from a shelf or a lost host may have grown: its data would be lost.
        """
        rebuilt = instance.task_state == task_states.REBUILD_SPAWNING
        return instance.launched_at is None or (rebuilt and instance.host == self._facts.name)

    def _fetched(self, context: Context, instance: Instance, image_meta: ImageMeta) -> EngineImage:
        meta = self._glance_meta(context, image_meta)
        return self._images.ensure(context, meta, instance.get("trusted_certs"))

    def of_new(
        self,
        instance: Instance,
        image: EngineImage,
        image_meta: ImageMeta,
        injected_files: list[Any],
        admin_password: str | None,
        network_info: NetworkInfo,
    ) -> Content:
        """Return the content of a new instance.

        :param image: the image in the engine
        :param image_meta: the same image as Nova describes it
        """
        own = instance.metadata or {}
        metadata = own if self._section.metadata_environment else {}
        drive = guest.config_drive_files(instance, network_info, injected_files, admin_password)
        files = self._keys_and(instance, injected_files) + drive
        environment = guest.environment(metadata)
        return Content(
            image=image.id,
            image_id=image_meta.id,
            command=_command_of(own, image_meta, image),
            entry_point=wishes.words(own, wishes.ENTRY_POINT),
            environment=environment,
            own_environment=guest.own_environment(environment, image.config),
            health_check=image.config.get("Healthcheck"),
            # The image may contain the config drive of another server.
            files=guest.pack(files, guest.CONFIG_DRIVE if drive else None) if files else None,
        )

    def of_rescue(self, context: Context, instance: Instance, image_meta: ImageMeta) -> Content:
        """Return the content of a rescue container, by a rescue image.

        :raises ImageRefused: the image is refused
        """
        image = self._fetched(context, instance, image_meta)
        return self._to_rescue(instance, image, image_meta.id, _command(image_meta, image))

    def of_own_rescue(self, instance: Instance) -> Content:
        """Return the content of a rescue container, by the image that the instance was made from.

        :raises NotFound: there is no such instance
        """
        details = self._workloads.inspect(names.workload_name(instance.uuid))
        image = self._images.inspect(details["Image"])
        try:
            command = _command(instance.image_meta, image)
        except exceptions.ImageRefused:
            command = workload.command(None, image.config)
        return self._to_rescue(instance, image, names.image_label(details), command)

    def _to_rescue(
        self, instance: Instance, image: EngineImage, image_id: str, command: list[str] | None
    ) -> Content:
        files = self._keys_and(instance, [])
        return Content(
            image=image.id,
            image_id=image_id,
            command=command,
            files=guest.pack(files) if files else None,
        )

    def _keys_and(self, instance: Instance, injected: list[Any]) -> list[tuple[str, bytes]]:
        return guest.files(injected, instance.key_data if self._section.inject_key else None)


def _command_of(
    own: Mapping[str, str], image_meta: ImageMeta, image: EngineImage
) -> list[str] | None:
    """Return the command of a new instance; the server's own comes before the image's."""
    asked = wishes.words(own, wishes.COMMAND)
    if asked is not None:
        return asked
    # The image's command is for its own entry point.
    return None if wishes.ENTRY_POINT in own else _command(image_meta, image)


def _command(image_meta: ImageMeta, image: EngineImage) -> list[str] | None:
    return workload.command(image_meta.properties.get("os_command_line"), image.config)

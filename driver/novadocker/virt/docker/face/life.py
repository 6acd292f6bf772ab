# SPDX-License-Identifier: Apache-2.0
"""Methods of a compute driver that make, start, stop and remove instances."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from nova.compute import task_states
from oslo_log import log as logging

from novadocker import conf, exceptions
from novadocker.types import Context, ImageMeta, Instance, NetworkInfo
from novadocker.virt.docker.engine import isolation
from novadocker.virt.docker.face import block_devices, deletion, faults, migration, shares
from novadocker.virt.docker.instances import assigned, pinning, wishes
from novadocker.virt.docker.instances.contents import Content
from novadocker.virt.docker.network import tags
from novadocker.virt.docker.parts import Parts

LOG = logging.getLogger(__name__)
CONF = conf.load()


class Life:
    """Makes, starts, stops and removes instances."""

    parts: Parts

    def spawn(
        self,
        context: Context,
        instance: Instance,
        image_meta: ImageMeta,
        injected_files: Any,
        admin_password: str | None,
        allocations: Any,
        network_info: NetworkInfo = None,
        block_device_info: Any = None,
        power_on: bool = True,
        accel_info: Any = None,
    ) -> None:
        """Make and start an instance."""
        parts = self.parts
        block_devices.refuse_unusable(parts, block_device_info)
        started = time.monotonic()
        with faults.translated(instance, faults.FETCHING):
            image = parts.contents.image_of_new(context, instance, image_meta)
        with_image = time.monotonic()
        # Not earlier: Nova waits here until Neutron has allocated the ports.
        ports = network_info or []
        allocated = time.monotonic()

        def content() -> Content:
            # Before the metadata is written, which contains the tags.
            if ports:
                instance.device_metadata = tags.of_interfaces(context, instance)
            return parts.contents.of_new(
                instance, image, image_meta, injected_files or [], admin_password, network_info
            )

        with block_devices.in_place(parts, instance, block_device_info, faults.BUILDING):
            if instance.launched_at is None:
                # A rebuild or an unshelving would lose an instance that was allowed before.
                isolation.check(instance.flavor)
                pinning.check(instance.flavor, image_meta, instance.numa_topology)
                parts.workloads.throttling.check(instance.flavor)
                assigned.check(instance, allocations)
                wishes.check(instance)
            wait = parts.waiting.for_ports(instance, ports, power_on)
            parts.instances.build(instance, content, ports, wait, power_on)
        if power_on:
            parts.passwords.inject(instance, admin_password)
        LOG.info(
            "Spawned: image %(image).3f s, ports allocated %(ports).3f s, the rest %(rest).3f s",
            {
                "image": with_image - started,
                "ports": allocated - with_image,
                "rest": time.monotonic() - allocated,
            },
            instance=instance,
        )

    def destroy(
        self,
        context: Context,
        instance: Instance,
        network_info: NetworkInfo,
        block_device_info: Any = None,
        destroy_disks: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        """Remove every trace of an instance; of one that goes back, only what it came as."""
        parts = self.parts
        reverting = instance.task_state == task_states.RESIZE_REVERTING
        if reverting and migration.is_resized_in_place(parts, instance):
            # It is what it goes back to, too.
            with contextlib.suppress(exceptions.NotFound):
                parts.instances.stop(instance, CONF.docker.stop_timeout_cap)
            block_devices.detach_all(parts, instance, block_device_info)
            return
        parts.consoles.close(instance.uuid)
        try:
            parts.instances.destroy(instance, network_info or [], aside=not reverting)
        finally:
            parts.migrations.forget_left(context, instance)
            try:
                shares.forget(parts, instance)
            finally:
                block_devices.detach_all(parts, instance, block_device_info, forget=True)

    def cleanup(
        self,
        context: Context,
        instance: Instance,
        network_info: NetworkInfo,
        block_device_info: Any = None,
        destroy_disks: bool = True,
        migrate_data: Any = None,
        destroy_vifs: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        """Remove what is left of an instance that is destroyed."""
        self.parts.consoles.close(instance.uuid)
        ports = network_info if destroy_vifs and network_info else []
        self.parts.instances.destroy(instance, ports)
        shares.forget(self.parts, instance)
        block_devices.detach_all(self.parts, instance, block_device_info, forget=True)

    def reboot(
        self,
        context: Context,
        instance: Instance,
        network_info: NetworkInfo,
        reboot_type: str,
        block_device_info: Any = None,
        bad_volumes_callback: Any = None,
        accel_info: Any = None,
        share_info: Any = None,
    ) -> None:
        """Reboot an instance from whatever state, also after a crash in a rescue or a migration."""
        parts = self.parts
        timeout_s = CONF.docker.stop_timeout_cap if reboot_type == "SOFT" else 0
        with (
            deletion.heeded(parts, context, instance, network_info),
            block_devices.in_place(parts, instance, block_device_info),
            shares.seen(parts, instance, share_info),
        ):
            parts.rescues.put_back(instance)
            parts.migrations.mend(context, instance)
            parts.instances.reboot(instance, network_info or [], timeout_s)

    def power_off(self, instance: Instance, timeout: int = 0, retry_interval: int = 0) -> None:
        """Stop an instance."""
        with faults.translated(instance):
            self.parts.instances.stop(instance, timeout)

    def power_on(
        self,
        context: Context,
        instance: Instance,
        network_info: NetworkInfo,
        block_device_info: Any = None,
        accel_info: Any = None,
        share_info: Any = None,
    ) -> None:
        """Start an instance."""
        with (
            deletion.heeded(self.parts, context, instance, network_info),
            block_devices.in_place(self.parts, instance, block_device_info),
            shares.seen(self.parts, instance, share_info),
        ):
            self.parts.instances.start(instance, network_info or [])

    def resume_state_on_host_boot(
        self,
        context: Context,
        instance: Instance,
        network_info: NetworkInfo,
        share_info: Any,
        block_device_info: Any = None,
    ) -> None:
        """Start an instance again that ran when the host went down."""
        self.power_on(context, instance, network_info, block_device_info, share_info=share_info)

    def pause(self, instance: Instance) -> None:
        """Freeze an instance."""
        with faults.translated(instance):
            self.parts.instances.pause(instance)

    def unpause(self, instance: Instance) -> None:
        """Unfreeze an instance."""
        with faults.translated(instance):
            self.parts.instances.unpause(instance)

    def soft_delete(self, instance: Instance) -> None:
        """Stop an instance that may be restored."""
        self.power_off(instance)

    def restore(self, instance: Instance) -> None:
        """Start an instance again that was soft-deleted."""
        block_device_info = block_devices.known(self.parts, instance)
        self.power_on(None, instance, instance.get_network_info(), block_device_info)

# SPDX-License-Identifier: Apache-2.0
"""Methods of a compute driver for resize and cold migration."""

from __future__ import annotations

from typing import Any

from nova import context as nova_context
from nova import exception, objects

from novadocker.types import Context, Flavor, ImageMeta, Instance, NetworkInfo
from novadocker.virt.docker.engine import isolation
from novadocker.virt.docker.face import block_devices, deletion, faults
from novadocker.virt.docker.instances import assigned, pinning
from novadocker.virt.docker.parts import Parts


def is_resized_in_place(parts: Parts, instance: Instance) -> bool:
    """Return whether an instance that goes back was resized here, in its own container.

    Only Nova knows whether it has come from another host; without its record nothing is removed.

    :raises MigrationNotFound: Nova knows of no migration
    """
    if parts.migrations.is_put_aside(instance):
        return False
    context = nova_context.get_admin_context()
    if instance.migration_context is not None:
        migration = objects.Migration.get_by_id(context, instance.migration_context.migration_id)
    else:
        migration = objects.Migration.get_by_instance_and_status(
            context, instance.uuid, "reverting"
        )
    return bool(migration.source_compute == migration.dest_compute)


class Migration:
    """Takes instances to another flavor or host, and back."""

    parts: Parts

    def migrate_disk_and_power_off(
        self,
        context: Context,
        instance: Instance,
        dest: str,
        flavor: Flavor,
        network_info: NetworkInfo,
        block_device_info: Any = None,
        timeout: int = 0,
        retry_interval: int = 0,
    ) -> str:
        """Stop an instance and put it aside, as it is about to be resized or to move."""
        if self.parts.facts.disk_quota and flavor.root_gb < instance.flavor.root_gb:
            raise exception.InstanceFaultRollback(
                exception.ResizeError(reason="a root disk cannot be made smaller")
            )
        with (
            deletion.heeded(self.parts, context, instance, network_info),
            faults.translated(instance, faults.LEAVING),
        ):
            isolation.check(flavor)
            assigned.check_move(instance, flavor)
            if instance.migration_context is not None:
                claimed = instance.migration_context.new_numa_topology
                pinning.check(flavor, instance.image_meta, claimed)
            return self.parts.migrations.leave(
                context,
                instance,
                dest,
                flavor,
                network_info or [],
                timeout,
                block_devices.taken_out(self.parts, instance, block_device_info),
            )

    def finish_migration(
        self,
        context: Context,
        migration: Any,
        instance: Instance,
        disk_info: str,
        network_info: NetworkInfo,
        image_meta: ImageMeta,
        resize_instance: bool,
        allocations: Any,
        block_device_info: Any = None,
        power_on: bool = True,
        share_info: Any = None,
    ) -> None:
        """Make an instance that was resized, or has moved here."""
        wait = self.parts.waiting.for_ports(instance, network_info, power_on)
        with (
            deletion.heeded(self.parts, context, instance, network_info),
            block_devices.in_place(self.parts, instance, block_device_info),
        ):
            assigned.check(instance, allocations)
            self.parts.migrations.arrive(
                context, instance, disk_info, network_info or [], wait, power_on
            )

    def confirm_migration(
        self, context: Context, migration: Any, instance: Instance, network_info: NetworkInfo
    ) -> None:
        """Remove what an instance would have gone back to."""
        self.parts.migrations.confirm(instance)

    def finish_revert_migration(
        self,
        context: Context,
        instance: Instance,
        network_info: NetworkInfo,
        migration: Any,
        block_device_info: Any = None,
        power_on: bool = True,
        share_info: Any = None,
    ) -> None:
        """Make an instance again what it was."""
        wait = self.parts.waiting.for_ports(instance, network_info, power_on)
        with (
            deletion.heeded(self.parts, context, instance, network_info),
            block_devices.in_place(self.parts, instance, block_device_info),
        ):
            self.parts.migrations.go_back(instance, network_info or [], wait, power_on)

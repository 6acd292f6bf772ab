# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the arguments are those of Nova
"""Methods of a compute driver for resize and cold migration: Nova's arguments and exceptions."""

from typing import Any

from nova import exception

from novadocker import conf, exceptions
from novadocker.virt.docker.engine import isolation
from novadocker.virt.docker.face import faults, volumes
from novadocker.virt.docker.instances import migrations
from novadocker.virt.docker.network import waiting

CONF = conf.load()


class Moves(volumes.Attachments):
    """Takes instances to another flavor or host, and back."""

    _disk_quota: bool
    _waiting: waiting.Waiting

    @property
    def _migrations(self) -> migrations.Migrations:
        raise NotImplementedError

    def migrate_disk_and_power_off(
        self,
        context: Any,
        instance: Any,
        dest: str,
        flavor: Any,
        network_info: Any,
        block_device_info: Any = None,
        timeout: int = 0,
        retry_interval: int = 0,
    ) -> str:
        """Stop an instance and put it aside, as it is about to be resized or to move."""
        if self._disk_quota and flavor.root_gb < instance.flavor.root_gb:
            raise exception.InstanceFaultRollback(
                exception.ResizeError(reason="a root disk cannot be made smaller")
            )
        try:
            isolation.check(flavor)
        except exceptions.FlavorRefused as err:
            raise exception.InstanceFaultRollback(exception.ResizeError(reason=str(err))) from err
        with faults.translated(instance):
            left = self._migrations.leave(
                context, instance, dest, network_info or [], self._stop_timeout(timeout)
            )
        self._detach_all(instance, block_device_info)
        return left

    def finish_migration(
        self,
        context: Any,
        migration: Any,
        instance: Any,
        disk_info: str,
        network_info: Any,
        image_meta: Any,
        resize_instance: bool,
        allocations: Any,
        block_device_info: Any = None,
        power_on: bool = True,
        share_info: Any = None,
    ) -> None:
        """Make an instance that was resized, or has moved here."""
        with faults.translated(instance), self._mounted(instance, block_device_info):
            self._migrations.arrive(
                context,
                instance,
                disk_info,
                network_info or [],
                self._waiting.for_ports(instance, network_info, power_on),
                power_on,
            )

    def confirm_migration(
        self, context: Any, migration: Any, instance: Any, network_info: Any
    ) -> None:
        """Remove what an instance would have gone back to."""
        self._migrations.confirm(instance)

    def finish_revert_migration(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        migration: Any,
        block_device_info: Any = None,
        power_on: bool = True,
        share_info: Any = None,
    ) -> None:
        """Make an instance again what it was."""
        with faults.translated(instance), self._mounted(instance, block_device_info):
            self._migrations.go_back(
                instance,
                network_info or [],
                self._waiting.for_ports(instance, network_info, power_on),
                power_on,
            )

    def _stop_timeout(self, timeout_s: int) -> int:
        return min(timeout_s, int(CONF.docker.stop_timeout_cap))

# SPDX-License-Identifier: Apache-2.0
"""Methods that containers cannot support, refused without harm and with a reason for the user.

The message of an exception of Nova's reaches the user, in the action's event or in the fault of a
server that cannot be built. NotImplementedError leaves the instance alone, but has no message.
"""

from __future__ import annotations

from typing import Any

from nova import exception

from novadocker.types import Context, Instance

NO_VOLUMES = (
    "containers on this host take no volumes: the host's kernel would have to mount a file system "
    "that a user has made. Boot from an image without volumes, or on another hypervisor; or the "
    "operator allows it by [docker]volume_file_systems."
)
NO_BOOT = (
    "containers do not boot from a volume: their root is an image. Boot from an image, and attach "
    "volumes of data."
)
NO_SWAP = "volumes of containers are not swapped while they are attached. Detach the volume first."
NO_SUSPEND = "the memory of a container cannot be stored. Use pause, stop or shelve."
NO_LIVE_MIGRATION = "containers are not migrated live. Use a cold migration."


class SuspendRefused(exception.InstanceSuspendFailure, NotImplementedError):
    """NotImplementedError for Nova (the instance is left alone), with a message for the user."""


class VolumeRefused(exception.InvalidVolume, NotImplementedError):
    """NotImplementedError for Nova (the instance is left alone), with a message for the user."""


class Refusals:
    """Refuses what containers cannot do."""

    def swap_volume(
        self,
        context: Context,
        old_connection_info: Any,
        new_connection_info: Any,
        instance: Instance,
        mountpoint: str,
        resize_to: int,
    ) -> None:
        """Refuse to replace an attached volume."""
        raise VolumeRefused(reason=NO_SWAP)  # type: ignore[call-arg] # of Nova

    def suspend(self, context: Context, instance: Instance) -> None:
        """Refuse to store an instance's memory."""
        raise SuspendRefused(reason=NO_SUSPEND)  # type: ignore[call-arg] # of Nova

    def check_can_live_migrate_destination(
        self,
        context: Context,
        instance: Instance,
        src_compute_info: Any,
        dst_compute_info: Any,
        block_migration: bool = False,
        disk_over_commit: bool = False,
    ) -> Any:
        """Refuse a live migration; any other exception would put the instance into ERROR."""
        raise exception.MigrationPreCheckError(reason=NO_LIVE_MIGRATION)

# SPDX-License-Identifier: Apache-2.0
"""Methods of a compute driver about shares of Manila, which Nova mounts before each start."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from nova import exception

from novadocker import exceptions
from novadocker.types import Context, Instance
from novadocker.virt.docker.engine import names
from novadocker.virt.docker.face import faults
from novadocker.virt.docker.instances import wishes
from novadocker.virt.docker.parts import Parts


class Shares:
    """Mounts shares for instances, and unmounts them."""

    parts: Parts

    def mount_share(self, context: Context, instance: Instance, share_mapping: Any) -> None:
        """Mount a share for an instance."""
        shares = self.parts.shares
        if share_mapping.share_proto not in shares.protocols:
            raise exception.ShareProtocolNotSupported(share_proto=share_mapping.share_proto)
        read_only = wishes.has_read_only_shares(instance)
        with faults.translated(instance, faults.mounting(share_mapping)):
            shares.mount(instance.uuid, share_mapping.tag, share_mapping.export_location, read_only)

    def umount_share(self, context: Context, instance: Instance, share_mapping: Any) -> bool:
        """Unmount a share of an instance.

        :return: whether it is mounted on this host for others
        """
        with faults.translated(instance, faults.unmounting(share_mapping)):
            return self.parts.shares.unmount(
                instance.uuid, share_mapping.tag, share_mapping.export_location
            )

    def is_share_mounted(self, share_mapping: Any) -> bool:
        """Return whether a share is mounted on this host."""
        return self.parts.shares.is_mounted(share_mapping.export_location)


@contextlib.contextmanager
def seen(parts: Parts, instance: Instance, share_info: Any) -> Iterator[None]:
    """Start an instance inside, and verify that it sees its shares.

    :param share_info: Nova's list of them
    :raises ShareMountError: it does not see one
    """
    yield
    shares = list(share_info or ())
    if not shares:
        return
    try:
        pid = parts.workloads.pid(names.workload_name(instance.uuid))
    except exceptions.NotFound:
        return
    unseen = parts.shares.unseen(instance.uuid, pid) if pid else []
    for share_mapping in shares:
        if share_mapping.tag in unseen:
            raise exception.ShareMountError(
                share_id=share_mapping.share_id,
                server_id=instance.uuid,
                reason="mounted on the host, but not seen in the container. It was made before "
                "[docker]share_protocols was set: a hard reboot makes it anew",
            )


def forget(parts: Parts, instance: Instance) -> None:
    """Unmount all shares of an instance that is gone from this host; Nova does it once more."""
    with faults.translated(instance, faults.DETACHING):
        parts.shares.forget(instance.uuid)

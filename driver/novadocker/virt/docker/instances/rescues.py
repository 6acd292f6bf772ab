# SPDX-License-Identifier: Apache-2.0
"""Rescue: another image runs in the place of an instance, with a copy of the instance's files.

The instance's own container is stopped and renamed. Its files are copied to ``/mnt/rescue`` in the
rescue container, and back when the rescue ends: files that were changed or added there are then in
the instance; files that were deleted there are not deleted in it.
"""

from __future__ import annotations

from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance, NetworkInfo
from novadocker.virt.docker.engine import names
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.instances import guest
from novadocker.virt.docker.instances.contents import Content
from novadocker.virt.docker.instances.life import Instances

LOG = logging.getLogger(__name__)

MOUNT_POINT = "/mnt/rescue"
# An instance's files are copied, and back when the rescue ends.
_A_COPY_AND_BACK: dict[str, Any] = {"whole": True, "times": 2}
# Parts of the engine's message about a path that is not a directory.
_NO_DIRECTORY = ("not a directory", "too many links")


def new_name(uuid: str) -> str:
    """Return the name of a rescue container that is not complete yet."""
    return f"nova-{uuid}-rescuing"


class Rescues:
    """Begins and ends rescues."""

    def __init__(self, instances: Instances, workloads: Containers) -> None:
        self._instances = instances
        self._workloads = workloads

    def begin(self, instance: Instance, content: Content, network_info: NetworkInfo) -> None:
        """Stop an instance, and run another image in its place.

        :raises HostFull: there is no space for a copy of its files; it goes on
        :raises DriverError: the rescue failed; the instance has its own container, stopped
        """
        self.put_back(instance)
        name, new = names.workload_name(instance.uuid), new_name(instance.uuid)
        self._workloads.room.require(name, **_A_COPY_AND_BACK)
        self._workloads.stop(name, 0)
        try:
            # Nobody writes into it any more.
            with self._workloads.room.reserve(name, **_A_COPY_AND_BACK):
                self._instances.create_workload(instance, content, new)
                self._workloads.put_archive(new, guest.pack_directory(MOUNT_POINT))
                self._workloads.copy(name, "/", new, MOUNT_POINT)
            if content.files:
                self._workloads.put_archive(new, content.files)
            self._workloads.rename(name, names.rescued_name(instance.uuid))
            self._workloads.rename(new, name)
            self._instances.start(instance, network_info)
        except BaseException:
            LOG.warning("The rescue failed: putting the instance back", instance=instance)
            self.put_back(instance)
            self._workloads.remove(new)
            raise

    def end(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Copy the files back and start the instance; without a rescue, only start it.

        :raises HostFull: there is no space for the files; the rescue goes on
        """
        name, kept = names.workload_name(instance.uuid), names.rescued_name(instance.uuid)
        if self._workloads.exists(kept):
            if self._workloads.exists(name):
                self._workloads.stop(name, 0)
                try:
                    with self._workloads.room.reserve(name, reserve_bytes=0):
                        self._take_back(instance, name, kept)
                except (exceptions.ImageRefused, exceptions.HostFull):
                    LOG.warning("The rescue goes on, with what is in it", instance=instance)
                    self._instances.start(instance, network_info)
                    raise
            self.put_back(instance)
        self._instances.start(instance, network_info)

    def _take_back(self, instance: Instance, name: str, kept: str) -> None:
        try:
            self._workloads.copy(name, MOUNT_POINT, kept, "/")
        except exceptions.EngineError as err:
            if not isinstance(err, exceptions.NotFound) and not any(
                message in str(err) for message in _NO_DIRECTORY
            ):
                raise
            LOG.warning("Nothing to take back from %s: %s", MOUNT_POINT, err, instance=instance)

    def put_back(self, instance: Instance) -> None:
        """Give a rescued instance its own container back. Idempotent."""
        kept = names.rescued_name(instance.uuid)
        if self._workloads.exists(kept):
            name = names.workload_name(instance.uuid)
            self._workloads.remove(name)
            self._workloads.rename(kept, name)

    def forget(self, instance: Instance) -> None:
        """Remove the containers of a rescue. Idempotent."""
        self._workloads.remove(names.rescued_name(instance.uuid))
        self._workloads.remove(new_name(instance.uuid))

# SPDX-License-Identifier: Apache-2.0
"""Rescue: another image runs in the place of an instance, with a copy of its files at hand.

The instance's own container is put aside, stopped. Its files are copied below ``/mnt/rescue`` of
the rescue container, and back again when the rescue ends: what was changed or added there is then
in the instance, what was deleted there is not deleted in it.
"""

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance, NetworkInfo
from novadocker.virt.docker.engine import containers
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.instances import guest
from novadocker.virt.docker.instances.life import Content, Instances

LOG = logging.getLogger(__name__)

MOUNT_POINT = "/mnt/rescue"
# What the engine says of a path in which it finds no files.
_NO_DIRECTORY = ("not a directory", "too many links")


def new_name(uuid: str) -> str:
    """Name a rescue container until it has all files."""
    return f"nova-{uuid}-rescuing"


class Rescues:
    """Begins and ends rescues."""

    def __init__(self, instances: Instances, workloads: Containers) -> None:
        self._instances = instances
        self._workloads = workloads

    def begin(self, instance: Instance, content: Content, network_info: NetworkInfo) -> None:
        """Run another image in the place of an instance, which is stopped.

        :raises DriverError: it could not be; the instance is what it was, and stopped
        """
        self.put_back(instance)
        name, new = containers.workload_name(instance.uuid), new_name(instance.uuid)
        self._workloads.stop(name, 0)
        try:
            self._instances.create_workload(instance, content, new)
            self._workloads.put_archive(new, guest.pack_directory(MOUNT_POINT))
            self._workloads.copy(name, "/", new, MOUNT_POINT)
            if content.files:
                self._workloads.put_archive(new, content.files)
            self._workloads.rename(name, containers.rescued_name(instance.uuid))
            self._workloads.rename(new, name)
            self._instances.start(instance, network_info)
        except BaseException:
            LOG.warning("The rescue failed: putting the instance back", instance=instance)
            self.put_back(instance)
            self._workloads.remove(new)
            raise

    def end(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Take the files of an instance back, and run it again; without a rescue, just run it."""
        name, kept = containers.workload_name(instance.uuid), containers.rescued_name(instance.uuid)
        if self._workloads.exists(kept):
            if self._workloads.exists(name):
                self._workloads.stop(name, 0)
                self._take_back(instance, name, kept)
            self.put_back(instance)
        self._instances.start(instance, network_info)

    def _take_back(self, instance: Instance, name: str, kept: str) -> None:
        try:
            self._workloads.copy(name, MOUNT_POINT, kept, "/")
        except exceptions.EngineError as err:
            if not isinstance(err, exceptions.NotFound) and not any(
                one in str(err) for one in _NO_DIRECTORY
            ):
                raise
            LOG.warning("Nothing to take back from %s: %s", MOUNT_POINT, err, instance=instance)

    def put_back(self, instance: Instance) -> None:
        """Give an instance its own container back, where it has the one of a rescue."""
        kept = containers.rescued_name(instance.uuid)
        if self._workloads.exists(kept):
            name = containers.workload_name(instance.uuid)
            self._workloads.remove(name)
            self._workloads.rename(kept, name)

    def forget(self, instance: Instance) -> None:
        """Remove the containers of an instance that is deleted while it is rescued."""
        self._workloads.remove(containers.rescued_name(instance.uuid))
        self._workloads.remove(new_name(instance.uuid))

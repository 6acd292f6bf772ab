# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the arguments are those of Nova
"""Methods of a compute driver about volumes: Nova's arguments and exceptions."""

import contextlib
from collections.abc import Iterator
from typing import Any

from nova import exception
from nova.virt import driver
from oslo_log import log as logging
from oslo_privsep.daemon import FailedToDropPrivileges

from novadocker import exceptions
from novadocker.virt.docker.engine import containers
from novadocker.virt.docker.face import refusals
from novadocker.virt.docker.volumes import mounted

LOG = logging.getLogger(__name__)


class VolumeUnacceptable(exception.InvalidVolume, exception.InvalidInput):
    """A volume is refused for what it is; a server is not built with it on another host either."""


class Attachments:
    """Attaches and detaches volumes, and has them in place when instances start."""

    _volumes: mounted.Volumes
    _workloads: containers.Containers

    def get_volume_connector(self, instance: Any) -> Any:
        """Tell Cinder how volumes can be connected to this host."""
        self._refuse_all()
        if not instance.image_ref:
            raise refusals.VolumeRefused(reason=refusals.NO_BOOT)  # type: ignore[call-arg]
        return self._volumes.connector()

    def attach_volume(
        self,
        context: Any,
        connection_info: Any,
        instance: Any,
        mountpoint: str,
        disk_bus: str | None = None,
        device_type: str | None = None,
        encryption: Any = None,
    ) -> None:
        """Mount a volume in an instance, which may run."""
        self._refuse_all()
        with _translated():
            if encryption:
                raise exceptions.VolumeRefused("it is encrypted")
            self._attach_all(instance, [(connection_info, mountpoint)])

    def detach_volume(
        self,
        context: Any,
        connection_info: Any,
        instance: Any,
        mountpoint: str,
        encryption: Any = None,
    ) -> None:
        """Unmount a volume in an instance, which may run but may not use it."""
        try:
            self._volumes.detach(instance.uuid, connection_info, mountpoint)
        except exceptions.VolumeError as err:
            # Nova leaves the volume attached.
            raise exception.DeviceDetachFailed(device=mountpoint, reason=str(err)) from err

    def extend_volume(
        self, context: Any, connection_info: Any, instance: Any, requested_size: int
    ) -> None:
        """Let the file system of a volume that has grown have all of it."""
        with _translated():
            self._volumes.grow(instance.uuid, connection_info)

    def _refuse_all(self) -> None:
        if not self._volumes.allowed:
            raise refusals.VolumeRefused(reason=refusals.NO_VOLUMES)  # type: ignore[call-arg]

    def _prepare_volumes(self) -> None:
        """Prepare the host for volumes, where it is to take any.

        :raises InvalidConfiguration: it cannot
        """
        try:
            self._volumes.prepare()
        except (exceptions.VolumeError, OSError, FailedToDropPrivileges) as err:
            raise exception.InvalidConfiguration(
                f"[docker]volume_file_systems is set, and volumes cannot be mounted: {err}"
            ) from err

    @contextlib.contextmanager
    def _mounted(self, instance: Any, block_device_info: Any) -> Iterator[None]:
        """Have the volumes of an instance in place, which is started inside."""
        attached = _attached(block_device_info)
        self._refuse_boot(block_device_info)
        with _translated(), self._kept(instance, attached):
            yield

    def _refuse_boot(self, block_device_info: Any) -> None:
        """Refuse what cannot be, before anything is made for it."""
        mapping = driver.block_device_info_get_mapping(block_device_info)
        if mapping and not self._volumes.allowed:
            raise exception.InvalidBDMFormat(details=refusals.NO_VOLUMES)
        if any(one.get("boot_index") == 0 for one in mapping):
            raise exception.InvalidBDMFormat(details=refusals.NO_BOOT)

    def _attach_all(self, instance: Any, attached: list[mounted.Attached]) -> None:
        with self._kept(instance, attached):
            pass

    @contextlib.contextmanager
    def _kept(self, instance: Any, attached: list[mounted.Attached]) -> Iterator[None]:
        """Attach volumes; take away those which are new when what is done inside fails."""
        new: list[mounted.Attached] = []
        try:
            for info, device_name in attached:
                if self._volumes.attach(instance.uuid, info, device_name):
                    new.append((info, device_name))
            yield
            if attached:
                self._see(instance)
        except BaseException:
            for info, device_name in new:
                try:
                    self._volumes.detach(instance.uuid, info, device_name)
                except exceptions.VolumeError as err:
                    LOG.error("%s stays attached: %s", device_name, err, instance=instance)
            raise

    def _see(self, instance: Any) -> None:
        """See that an instance that runs has its volumes, and not only the host."""
        try:
            pid = self._workloads.pid(containers.workload_name(instance.uuid))
        except exceptions.NotFound:
            return
        unseen = self._volumes.unseen(instance.uuid, pid) if pid else []
        if unseen:
            raise exceptions.VolumeError(
                f"{', '.join(unseen)}: mounted on the host, but not seen in the container. It was "
                "made before [docker]volume_file_systems was set (a resize or a rebuild makes it "
                "anew), its runtime does not take mounts while it runs, or the Docker Engine has "
                "other mounts than nova-compute"
            )

    @contextlib.contextmanager
    def _set_aside(self, instance: Any) -> Iterator[None]:
        """Stop an instance that has volumes, and have them out of its files meanwhile."""
        if self._volumes.any(instance.uuid):
            self._workloads.stop(containers.workload_name(instance.uuid), 0)
        with self._volumes.aside(instance.uuid):
            yield

    def _detach_all(self, instance: Any, block_device_info: Any, forget: bool = False) -> None:
        try:
            self._volumes.detach_all(instance.uuid, _attached(block_device_info), forget)
        except exceptions.VolumeError as err:
            raise exception.DeviceDetachFailed(device="volumes", reason=str(err)) from err

    def _known(self, instance: Any) -> Any:
        """Ask Nova for the volumes of an instance, where it does not tell them by itself."""
        if not self._volumes.allowed:
            return None
        info = driver.get_block_device_info(instance, instance.get_bdms())
        mapping = driver.block_device_info_get_mapping(info)
        return {"block_device_mapping": [one for one in mapping if one.get("connection_info")]}


def _attached(block_device_info: Any) -> list[mounted.Attached]:
    return [
        (one["connection_info"], one["mount_device"])
        for one in driver.block_device_info_get_mapping(block_device_info)
        if one.get("connection_info")
    ]


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn faults about volumes into those of Nova."""
    try:
        yield
    except exceptions.VolumeRefused as err:
        raise VolumeUnacceptable(reason=str(err)) from err
    except exceptions.VolumeError as err:
        raise exception.InvalidVolume(reason=str(err)) from err

# SPDX-License-Identifier: Apache-2.0
"""Translation of this package's exceptions into Nova's.

There is a table for each situation: for the same fault Nova expects one exception when it builds an
instance, another when it works on an existing one, and another when nova-compute starts. Exceptions
that are in no table reach Nova unchanged; Nova then puts the instance into ERROR.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nova import exception
from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance
from novadocker.virt.docker.engine import blame

LOG = logging.getLogger(__name__)

# Returns Nova's exception for one of ours about an instance; None to leave ours as it is.
Maker = Callable[[Any, Any], Any]
Table = Mapping[type[exceptions.DriverError], Maker]


class VolumeUnacceptable(exception.InvalidVolume, exception.InvalidInput):
    """A volume is refused; Nova tries to build the server on no other host."""


def _image_unacceptable(err: exceptions.ImageRefused, instance: Instance) -> Any:
    image_id = err.image_id if err.image_id is not None or instance is None else instance.image_ref
    return exception.ImageUnacceptable(image_id=image_id or "", reason=str(err))


def _other_host(err: exceptions.DriverError, _instance: Instance) -> Any:
    """Return what Nova tries another host after."""
    LOG.error("%s", err)
    return exception.ComputeResourcesUnavailable(reason=str(err))


def _command_unstartable(err: exceptions.EngineError, instance: Instance) -> Any:
    """Return ImageUnacceptable where it is the image's fault; Nova tries another host otherwise."""
    told = blame.of_the_image(str(err))
    if told is None:
        return None
    return exception.ImageUnacceptable(
        image_id=instance.image_ref, reason=f"its command cannot be started: {told}"
    )


def _port_unwired(err: exceptions.NetworkError, instance: Instance) -> Any:
    # Nova's exception does not say what failed.
    LOG.error("%s", err, instance=instance)
    return exception.VirtualInterfaceCreateException()


def _port_left(err: exceptions.DriverError, instance: Instance) -> Any:
    # Nor does this one.
    LOG.error("%s", err, instance=instance)
    return exception.InterfaceDetachFailed(instance_uuid=instance.uuid)


def _rolled_back(kind: Callable[..., Exception]) -> Maker:
    """Wrap an exception so that Nova restores the instance's state instead of setting ERROR."""
    return lambda err, _instance: exception.InstanceFaultRollback(kind(reason=str(err)))


def _detached(device: str) -> Table:
    return {
        exceptions.VolumeError: lambda err, _instance: exception.DeviceDetachFailed(
            device=device, reason=str(err)
        )
    }


# An image is fetched into the engine.
FETCHING: Table = {
    exceptions.ImageRefused: _image_unacceptable,
    exceptions.HostFull: _other_host,
    exceptions.FlavorTooSmall: lambda err, _instance: exception.FlavorDiskSmallerThanImage(
        flavor_size=err.flavor_bytes, image_size=err.image_bytes
    ),
}
_ANY: Table = {
    **FETCHING,
    # InvalidInput: Nova tries no other host.
    exceptions.FlavorRefused: lambda err, _instance: exception.InvalidInput(reason=str(err)),
    exceptions.HostUnfit: _other_host,
    exceptions.VolumeRefused: lambda err, _instance: VolumeUnacceptable(reason=str(err)),
    exceptions.VolumeError: lambda err, _instance: exception.InvalidVolume(reason=str(err)),
}
# Work on an existing instance.
EXISTING: Table = {
    **_ANY,
    exceptions.NotFound: lambda _err, instance: exception.InstanceNotFound(
        instance_id=instance.uuid
    ),
    exceptions.NetworkError: lambda err, _instance: exception.VirtualInterfacePlugException(
        str(err)
    ),
    exceptions.PasswordNotSet: lambda _err, _instance: exception.SetAdminPasswdNotSupported(),
}
# Build of an instance: NotFound stays, as Nova would take InstanceNotFound for a deleted instance.
BUILDING: Table = {
    **_ANY,
    exceptions.EngineError: _command_unstartable,
    exceptions.NetworkError: _port_unwired,
}
# Start of a resize or a migration.
LEAVING: Table = {
    **EXISTING,
    exceptions.FlavorRefused: _rolled_back(exception.ResizeError),
    exceptions.HostUnfit: _rolled_back(exception.ResizeError),
    exceptions.NotMoved: _rolled_back(exception.MigrationError),
}
# Ports. VirtualInterfacePlugException is the one exception that does not keep nova-compute from
# starting.
PLUGGING: Table = {
    exceptions.DriverError: lambda err, _instance: exception.VirtualInterfacePlugException(str(err))
}
UNPLUGGING: Table = {
    exceptions.DriverError: lambda err, _instance: exception.VirtualInterfaceUnplugException(
        reason=str(err)
    )
}
DETACHING_PORT: Table = {exceptions.DriverError: _port_left}
# Volumes.
DETACHING: Table = _detached("volumes")


def detaching(device: str) -> Table:
    """Return the table for the detachment of one volume, which Nova leaves attached on a fault.

    :param device: name of the device as Nova has it
    """
    return _detached(device)


def mounting(share_mapping: Any) -> Table:
    """Return the table for the mount of a share."""
    return {exceptions.VolumeError: _of_share(exception.ShareMountError, share_mapping)}


def unmounting(share_mapping: Any) -> Table:
    """Return the table for the unmount of a share, which stays mounted on a fault."""
    return {exceptions.VolumeError: _of_share(exception.ShareUmountError, share_mapping)}


def _of_share(kind: Callable[..., Exception], share_mapping: Any) -> Maker:
    return lambda err, _instance: kind(
        share_id=share_mapping.share_id, server_id=share_mapping.instance_uuid, reason=str(err)
    )


def starting(host: str) -> Table:
    """Return the table for the start of nova-compute.

    :param host: what nova-compute calls this host
    """
    return {
        exceptions.NotReady: lambda err, _instance: exception.InvalidConfiguration(str(err)),
        exceptions.EngineUnreachable: lambda _err, _instance: exception.HypervisorUnavailable(
            host=host
        ),
    }


@contextlib.contextmanager
def translated(instance: Instance, table: Table = EXISTING) -> Iterator[None]:
    """Translate exceptions of this package, by the row of their nearest class.

    :param instance: the instance that they are about; None for the host
    :param table: table of the situation
    """
    try:
        yield
    except exceptions.DriverError as err:
        kind = next((kind for kind in type(err).__mro__ if kind in table), None)
        translation = table[kind](err, instance) if kind else None
        if translation is None:
            raise
        raise translation from err

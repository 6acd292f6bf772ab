# SPDX-License-Identifier: Apache-2.0
"""Faults of this package become Nova's, here and nowhere else.

A table for each situation, as Nova expects another exception for the same fault when it builds an
instance, when it works on one that there is, and when nova-compute starts. What is in no table
reaches Nova as it is: for Nova it is an unexpected fault, and the instance goes into ERROR.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nova import exception
from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance

LOG = logging.getLogger(__name__)

# Makes Nova's exception of one of ours, about an instance; None leaves ours as it is.
Maker = Callable[[Any, Any], Exception | None]
Table = Mapping[type[exceptions.DriverError], Maker]


class VolumeUnacceptable(exception.InvalidVolume, exception.InvalidInput):
    """A volume is refused for what it is; a server is not built with it on another host either."""


def _image_unacceptable(err: exceptions.ImageRefused, instance: Instance) -> Exception:
    image_id = err.image_id if err.image_id is not None or instance is None else instance.image_ref
    return exception.ImageUnacceptable(image_id=image_id or "", reason=str(err))


def _command_unstartable(err: exceptions.EngineError, instance: Instance) -> Exception | None:
    """Blame the image for what the engine says of its command."""
    if err.status == 400 or "OCI runtime" in str(err):
        return exception.ImageUnacceptable(
            image_id=instance.image_ref, reason=f"its command cannot be started: {err}"
        )
    return None


def _port_unwired(err: exceptions.NetworkError, instance: Instance) -> Exception:
    # Nova's exception does not say what failed.
    LOG.error("%s", err, instance=instance)
    return exception.VirtualInterfaceCreateException()


def _port_left(err: exceptions.DriverError, instance: Instance) -> Exception:
    # Nor does this one.
    LOG.error("%s", err, instance=instance)
    return exception.InterfaceDetachFailed(instance_uuid=instance.uuid)


def _rolled_back(kind: Callable[..., Exception]) -> Maker:
    """Tell Nova that an instance is what it was, so that it does not go into ERROR."""
    return lambda err, _instance: exception.InstanceFaultRollback(kind(reason=str(err)))


def _detached(device: str) -> Table:
    return {
        exceptions.VolumeError: lambda err, _instance: exception.DeviceDetachFailed(
            device=device, reason=str(err)
        )
    }


_ANY: Table = {
    exceptions.ImageRefused: _image_unacceptable,
    # InvalidInput: Nova tries no other host.
    exceptions.FlavorRefused: lambda err, _instance: exception.InvalidInput(reason=str(err)),
    exceptions.VolumeRefused: lambda err, _instance: VolumeUnacceptable(reason=str(err)),
    exceptions.VolumeError: lambda err, _instance: exception.InvalidVolume(reason=str(err)),
}
# An instance that there is.
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
# One that is built: what the engine has not is no sign that the instance was deleted.
BUILDING: Table = {
    **_ANY,
    exceptions.EngineError: _command_unstartable,
    exceptions.NetworkError: _port_unwired,
}
# One that is about to be resized or to move.
LEAVING: Table = {
    **EXISTING,
    exceptions.FlavorRefused: _rolled_back(exception.ResizeError),
    exceptions.NotMoved: _rolled_back(exception.MigrationError),
}
# Its ports. VirtualInterfacePlugException is the one that does not keep nova-compute from starting.
PLUGGING: Table = {
    exceptions.DriverError: lambda err, _instance: exception.VirtualInterfacePlugException(str(err))
}
UNPLUGGING: Table = {
    exceptions.DriverError: lambda err, _instance: exception.VirtualInterfaceUnplugException(
        reason=str(err)
    )
}
DETACHING_PORT: Table = {exceptions.DriverError: _port_left}
# All of its volumes.
DETACHING: Table = _detached("volumes")


def detaching(device: str) -> Table:
    """Return the table for one volume, which Nova then leaves attached.

    :param device: name of the device as Nova has it
    """
    return _detached(device)


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
    """Turn this package's faults into those which Nova expects.

    :param instance: the one that they are about; None where they are about the host
    :param table: of the situation
    """
    try:
        yield
    except exceptions.DriverError as err:
        kind = next((kind for kind in type(err).__mro__ if kind in table), None)
        translation = table[kind](err, instance) if kind else None
        if translation is None:
            raise
        raise translation from err

# SPDX-License-Identifier: Apache-2.0
"""Faults of the driver; driver.py turns them into the ones that Nova knows."""


class DriverError(Exception):
    """Anything that this package raises on purpose."""


class EngineError(DriverError):
    """The Docker Engine refused or failed a request.

    :param reason: what it said
    :param status: its HTTP status; None when there was no answer
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class EngineUnreachable(EngineError):
    """The Docker Engine did not answer at all."""


class NotFound(EngineError):
    """The engine has no such container, image or exec."""


class Conflict(EngineError):
    """The name is taken, or the state of the container does not allow it."""


class NetworkError(DriverError):
    """An interface of an instance could not be wired."""


class ImageRefused(DriverError):
    """An image is not what a container may be started from."""


class FlavorRefused(DriverError):
    """A flavor asks for what no host can give."""


class VolumeError(DriverError):
    """A volume could not be connected, mounted or taken away."""


class VolumeRefused(VolumeError):
    """A volume is not what a container may have."""


class VolumeBusy(VolumeError):
    """A volume is in use, and cannot be taken away."""

# SPDX-License-Identifier: Apache-2.0
"""Faults of this package. ``virt/docker/face/faults.py`` turns them into Nova's.

.. code-block:: text

   DriverError
     EngineError
       EngineUnreachable
       NotFound
       Conflict
     ImageRefused
     HostFull
     FlavorTooSmall
     FlavorRefused
     HostUnfit
     SpecificationRefused
     NetworkError
     VolumeError
       VolumeRefused
       VolumeBusy
     NotReady
     NotMoved
     PasswordNotSet

Modules below ``face`` raise these and no other, but for one: ``network/waiting.py``, with its
reason there.
"""

from __future__ import annotations


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


class ImageRefused(DriverError):
    """A container cannot be started from an image.

    :param reason: why not
    :param image_id: of the image in Glance; None where whoever raises it does not know
    """

    def __init__(self, reason: str, image_id: str | None = None) -> None:
        super().__init__(reason)
        self.image_id = image_id


class HostFull(DriverError):
    """This host has no space for it; another one may have, so it is not the image's fault."""


class FlavorTooSmall(DriverError):
    """The flavor's root disk is smaller than the files of the image.

    :param flavor_bytes: size of the root disk
    :param image_bytes: size of the image's files, unpacked
    """

    def __init__(self, flavor_bytes: int, image_bytes: int) -> None:
        super().__init__(f"the image has {image_bytes} bytes, the root disk {flavor_bytes}")
        self.flavor_bytes = flavor_bytes
        self.image_bytes = image_bytes


class FlavorRefused(DriverError):
    """A flavor asks for what no host can give."""


class HostUnfit(DriverError):
    """A flavor asks for what this host cannot give; another one may."""


class SpecificationRefused(DriverError):
    """A specification of the host's devices, or a device of it, is not taken."""


class NetworkError(DriverError):
    """An interface of an instance could not be wired."""


class VolumeError(DriverError):
    """A volume could not be connected, mounted or taken away."""


class VolumeRefused(VolumeError):
    """A container may not have this volume."""


class VolumeBusy(VolumeError):
    """A volume is in use, and cannot be taken away."""


class NotReady(DriverError):
    """The host cannot do what the options ask for: nova-compute does not start."""


class NotMoved(DriverError):
    """An instance could not leave for another flavor or host, and is what it was."""


class PasswordNotSet(DriverError):
    """Root's password could not be set in an instance."""

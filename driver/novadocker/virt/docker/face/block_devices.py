# SPDX-License-Identifier: Apache-2.0
"""Nova's block devices: refused, or handed over as volumes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from nova import exception
from nova.virt import driver

from novadocker.types import Instance
from novadocker.virt.docker.face import faults, refusals
from novadocker.virt.docker.parts import Parts
from novadocker.virt.docker.volumes.mounted import Attached


def refuse_unusable(parts: Parts, block_device_info: Any) -> None:
    """Refuse block devices that no container can have, before anything is made for the instance.

    :raises InvalidBDMFormat: volumes are not allowed, or the instance is to boot from one
    """
    mapping = driver.block_device_info_get_mapping(block_device_info)
    if mapping and not parts.volumes.allowed:
        raise exception.InvalidBDMFormat(details=refusals.NO_VOLUMES)
    if any(device.get("boot_index") == 0 for device in mapping):
        raise exception.InvalidBDMFormat(details=refusals.NO_BOOT)


@contextlib.contextmanager
def in_place(
    parts: Parts,
    instance: Instance,
    block_device_info: Any,
    table: faults.Table = faults.EXISTING,
) -> Iterator[None]:
    """Attach the volumes of an instance, which is started inside; faults are translated.

    :param table: table of the situation, as :func:`faults.translated` takes it
    :raises InvalidBDMFormat: the instance cannot have them
    """
    with faults.translated(instance, table):
        refuse_unusable(parts, block_device_info)
        with parts.attachments.mounted(instance, _attached(block_device_info)):
            yield


def detach_all(
    parts: Parts, instance: Instance, block_device_info: Any, forget: bool = False
) -> None:
    """Detach all volumes of an instance that does not run.

    :param forget: whether to remove the instance's directory, too
    :raises DeviceDetachFailed: a volume could not be detached; all were tried
    """
    with faults.translated(instance, faults.DETACHING):
        parts.volumes.detach_all(instance.uuid, _attached(block_device_info), forget)


@contextlib.contextmanager
def taken_out(parts: Parts, instance: Instance, block_device_info: Any) -> Iterator[None]:
    """Detach all volumes of an instance that does not run, for good unless what is inside fails.

    :raises VolumeError: one could not be detached; the others are attached again
    """
    attached = _attached(block_device_info)
    try:
        parts.volumes.detach_all(instance.uuid, attached, False)
        yield
    except BaseException:
        parts.attachments.attach(instance, attached)
        raise


def known(parts: Parts, instance: Instance) -> Any:
    """Return an instance's block devices from Nova's database; None without volumes."""
    if not parts.volumes.allowed:
        return None
    info = driver.get_block_device_info(instance, instance.get_bdms())
    mapping = driver.block_device_info_get_mapping(info)
    return {"block_device_mapping": [device for device in mapping if device.get("connection_info")]}


def _attached(block_device_info: Any) -> list[Attached]:
    return [
        (device["connection_info"], device["mount_device"])
        for device in driver.block_device_info_get_mapping(block_device_info)
        if device.get("connection_info")
    ]

# SPDX-License-Identifier: Apache-2.0
"""Which processors an instance runs on: its own, which Nova has chosen, or those of the others."""

from __future__ import annotations

from typing import Any

from nova.objects import fields
from nova.virt import hardware

from novadocker import exceptions
from novadocker.types import Flavor, ImageMeta, Instance
from novadocker.virt.docker.host import cpus
from novadocker.virt.docker.host.cpus import Cpus, Processors

_MIXED = fields.CPUAllocationPolicy.MIXED
_DEDICATED = fields.CPUAllocationPolicy.DEDICATED
_NO_OTHERS = (
    "this host has no processors for servers without dedicated ones: set [compute]cpu_shared_set"
)


def of(instance: Instance, divided: Processors) -> Cpus:
    """Return the processors of an instance.

    :param divided: the host's
    :raises HostUnfit: the host has none for it
    """
    pinned = _pinned(instance.numa_topology)
    if pinned:
        return Cpus(cpus.text(pinned), dedicated=True)
    if not divided.are_divided:
        return cpus.ALL
    if not divided.for_others:
        raise exceptions.HostUnfit(_NO_OTHERS)
    return Cpus(cpus.text(divided.for_others))


def check(flavor: Flavor, image_meta: ImageMeta, claimed: Any) -> None:
    """Check what a flavor and an image ask of processors.

    :param claimed: topology that Nova has claimed for an instance on its host; None where the host
        has told of none
    :raises FlavorRefused: no host of containers can give it
    :raises HostUnfit: this host cannot
    """
    asked = hardware.numa_get_constraints(flavor, image_meta)
    if asked is None:
        return
    if asked.cpu_policy == _MIXED:
        raise exceptions.FlavorRefused(
            "hw:cpu_policy=mixed of the flavor: all that runs in a container runs on the same "
            "processors; they are dedicated, or shared"
        )
    if asked.emulator_threads_isolated:
        raise exceptions.FlavorRefused(
            "hw:emulator_threads_policy=isolate of the flavor: a container has no emulator"
        )
    if hardware.get_realtime_cpu_constraint(flavor, image_meta):
        raise exceptions.FlavorRefused(
            "hw:cpu_realtime of the flavor: processes of a container cannot have priority over the "
            "kernel's; dedicated processors are had without it"
        )
    if asked.cpu_policy == _DEDICATED and not _pinned(claimed):
        raise exceptions.HostUnfit(
            "the flavor or the image asks for dedicated processors (hw:cpu_policy=dedicated, "
            "resources:PCPU), and this host has none: set [compute]cpu_dedicated_set, and "
            "cpu_shared_set for other servers"
        )


def check_host(instances: Any, divided: Processors) -> None:
    """Check whether all instances of the host can live with how its processors are divided.

    :raises NotReady: one cannot; Nova could not count who uses what
    """
    for instance in instances:
        if instance.deleted:
            continue
        pinned = _pinned(instance.numa_topology)
        if pinned - divided.dedicated:
            raise exceptions.NotReady(
                f"server {instance.uuid} has the dedicated processors "
                f"{cpus.text(pinned)}, and [compute]cpu_dedicated_set lacks "
                f"{cpus.text(pinned - divided.dedicated)}: keep them there while it is here"
            )
        if not pinned and divided.are_divided and not divided.for_others:
            raise exceptions.NotReady(f"server {instance.uuid} has no dedicated ones: {_NO_OTHERS}")


def _pinned(topology: Any) -> set[int]:
    return set(topology.cpu_pinning) if topology else set()

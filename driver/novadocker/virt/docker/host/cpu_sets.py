# SPDX-License-Identifier: Apache-2.0
"""Nova's sets of dedicated and shared processors, and the host's topology as Nova takes it.

Nova itself chooses the processors of an instance with dedicated ones, from the topology that it is
told here, and keeps its choice in its database: through restarts, reboots, resizes and reverts.
"""

from __future__ import annotations

import os
from typing import Any

import os_traits
from nova import objects
from nova.virt import hardware
from oslo_utils import units

from novadocker import exceptions
from novadocker.virt.docker.host import cpus
from novadocker.virt.docker.host.cpus import Processors

_DEDICATED, _SHARED = "[compute]cpu_dedicated_set", "[compute]cpu_shared_set"


def topology(divided: Processors) -> Any:
    """Return Nova's description of the host, from which it chooses dedicated processors.

    :return: None where there are none
    """
    if not divided.dedicated:
        return None
    return objects.NUMATopology(cells=[_cell(divided, *node) for node in _nodes()])


def _cell(divided: Processors, number: int, of_node: frozenset[int], memory_kb: int) -> Any:
    page_kb = os.sysconf("SC_PAGE_SIZE") // units.Ki
    pages = objects.NUMAPagesTopology(
        size_kb=page_kb, total=memory_kb // page_kb, used=0, reserved=0
    )
    return objects.NUMACell(
        id=number,
        socket=None,
        cpuset=set(of_node & divided.for_others),
        pcpuset=set(of_node & divided.dedicated),
        memory=memory_kb // units.Ki,
        # Nova counts what is in use.
        cpu_usage=0,
        memory_usage=0,
        pinned_cpus=set(),
        siblings=_siblings(of_node & (divided.dedicated | divided.for_others)),
        mempages=[pages],
        network_metadata=objects.NetworkMetadata(physnets=set(), tunneled=False),
    )


def traits(divided: Processors) -> set[str]:
    """Return the trait of dedicated processors that are threads of one core."""
    threads = any(len(siblings) > 1 for siblings in _siblings(divided.dedicated))
    return {os_traits.HW_CPU_HYPERTHREADING} if threads else set()


def of_host(conf: Any, has_cpusets: bool) -> Processors:
    """Return the host's processors as Nova's options divide them.

    :param has_cpusets: whether the engine can bind containers to processors
    :raises NotReady: the options say what this host cannot do
    """
    dedicated = _parsed(_DEDICATED, conf.compute.cpu_dedicated_set)
    shared = _parsed(_SHARED, conf.compute.cpu_shared_set)
    divided = Processors(dedicated or frozenset(), shared)
    if not divided.are_divided:
        return divided
    if not has_cpusets:
        raise exceptions.NotReady(
            f"{_DEDICATED if dedicated else _SHARED} is set, and Docker cannot bind containers to "
            "processors here: enable the cgroup controller cpuset, or unset the option"
        )
    if divided.dedicated & divided.for_others:
        raise exceptions.NotReady(
            f"{_DEDICATED} and {_SHARED} have processors in common: "
            f"{cpus.text(divided.dedicated & divided.for_others)}"
        )
    if conf.reserved_host_cpus:
        raise exceptions.NotReady(
            f"[DEFAULT]reserved_host_cpus goes with neither {_DEDICATED} nor {_SHARED}: leave what "
            "the host needs out of them, and unset it"
        )
    missing = (divided.dedicated | divided.for_others) - cpus.online()
    if missing:
        raise exceptions.NotReady(
            f"{_DEDICATED} and {_SHARED} have processors that are not online: "
            f"{cpus.text(missing)} of {cpus.text(cpus.online())}"
        )
    return divided


def _parsed(option: str, value: str | None) -> frozenset[int] | None:
    if not value:
        return None
    try:
        wanted = frozenset(hardware.parse_cpu_spec(value))
    except Exception as err:
        raise exceptions.NotReady(f"{option} is {value!r}: {err}") from err
    if not wanted:
        raise exceptions.NotReady(f"{option} is {value!r}, which is no processor")
    return wanted


def _nodes() -> list[tuple[int, frozenset[int], int]]:
    """Return number, processors and KiB of memory of each NUMA node."""
    nodes = []
    for directory in sorted((cpus.SYSTEM / "node").glob("node[0-9]*")):
        memory = next(
            line.split()[-2]
            for line in (directory / "meminfo").read_text().splitlines()
            if "MemTotal:" in line
        )
        of_node = cpus.numbers((directory / "cpulist").read_text())
        nodes.append((int(directory.name.removeprefix("node")), of_node, int(memory)))
    # A kernel without NUMA tells of no node.
    pages = os.sysconf("SC_PHYS_PAGES") * (os.sysconf("SC_PAGE_SIZE") // units.Ki)
    return nodes or [(0, cpus.online(), pages)]


def _siblings(wanted: frozenset[int]) -> list[set[int]]:
    """Return which of some processors are threads of one core."""
    cores = set()
    for number in wanted:
        place = cpus.SYSTEM / f"cpu/cpu{number}/topology/thread_siblings_list"
        threads = cpus.numbers(place.read_text()) if place.exists() else frozenset({number})
        cores.add(threads & wanted)
    return [set(core) for core in sorted(cores, key=min)]

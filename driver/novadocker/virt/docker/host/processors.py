# SPDX-License-Identifier: Apache-2.0
"""Which of the host's processors are for whom: Nova's options, and the host's topology.

Nova itself chooses the processors of an instance with dedicated ones, from the topology that it is
told here, and keeps its choice in its database: through restarts, reboots, resizes and reverts.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import os_traits
from nova import objects
from nova.virt import hardware
from oslo_utils import units

from novadocker import exceptions

SYSTEM = Path("/sys/devices/system")

_DEDICATED, _SHARED = "[compute]cpu_dedicated_set", "[compute]cpu_shared_set"


@dataclasses.dataclass(frozen=True)
class Cpus:
    """The host's processors that a container runs on.

    :param ids: as the engine takes them (0-3,8); empty for all
    :param dedicated: whether they are its own: its share of their time is not limited then
    """

    ids: str = ""
    dedicated: bool = False


ALL = Cpus()


@dataclasses.dataclass(frozen=True)
class Processors:
    """The host's processors, by what they are for.

    :param dedicated: those that instances have for themselves
    :param shared: those of all other instances; None where nobody has said so
    """

    dedicated: frozenset[int] = frozenset()
    shared: frozenset[int] | None = None

    @property
    def are_divided(self) -> bool:
        """Return whether instances run on some of them only."""
        return bool(self.dedicated) or self.shared is not None

    @property
    def for_others(self) -> frozenset[int]:
        """Return those of instances without dedicated ones, where they are divided."""
        return self.shared or frozenset()

    def count(self, of_engine: int) -> int:
        """Return how many there are for instances.

        :param of_engine: as many as the engine has
        """
        return len(self.dedicated | self.for_others) if self.are_divided else of_engine

    def topology(self) -> Any:
        """Return Nova's description of the host, from which it chooses dedicated ones.

        :return: None where there are none
        """
        if not self.dedicated:
            return None
        return objects.NUMATopology(cells=[self._cell(*node) for node in _nodes()])

    def _cell(self, number: int, cpus: frozenset[int], memory_kb: int) -> Any:
        ours = cpus & (self.dedicated | self.for_others)
        page_kb = os.sysconf("SC_PAGE_SIZE") // units.Ki
        pages = objects.NUMAPagesTopology(
            size_kb=page_kb, total=memory_kb // page_kb, used=0, reserved=0
        )
        return objects.NUMACell(
            id=number,
            socket=None,
            cpuset=set(cpus & self.for_others),
            pcpuset=set(cpus & self.dedicated),
            memory=memory_kb // units.Ki,
            # Nova counts what is in use.
            cpu_usage=0,
            memory_usage=0,
            pinned_cpus=set(),
            siblings=_siblings(ours),
            mempages=[pages],
            network_metadata=objects.NetworkMetadata(physnets=set(), tunneled=False),
        )

    def traits(self) -> set[str]:
        """Return the trait of dedicated processors that are threads of one core."""
        threads = any(len(siblings) > 1 for siblings in _siblings(self.dedicated))
        return {os_traits.HW_CPU_HYPERTHREADING} if threads else set()


UNDIVIDED = Processors()


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
            f"{text(divided.dedicated & divided.for_others)}"
        )
    if conf.reserved_host_cpus:
        raise exceptions.NotReady(
            f"[DEFAULT]reserved_host_cpus goes with neither {_DEDICATED} nor {_SHARED}: leave what "
            "the host needs out of them, and unset it"
        )
    missing = (divided.dedicated | divided.for_others) - online()
    if missing:
        raise exceptions.NotReady(
            f"{_DEDICATED} and {_SHARED} have processors that are not online: {text(missing)} of "
            f"{text(online())}"
        )
    return divided


def online() -> frozenset[int]:
    """Return the processors that the kernel uses."""
    return frozenset(hardware.parse_cpu_spec((SYSTEM / "cpu/online").read_text().strip()))


def text(cpus: frozenset[int] | set[int]) -> str:
    """Return processors as the engine takes them: 0-3,8."""
    return str(hardware.format_cpu_spec(set(cpus)))


def _parsed(option: str, value: str | None) -> frozenset[int] | None:
    if not value:
        return None
    try:
        cpus = frozenset(hardware.parse_cpu_spec(value))
    except Exception as err:
        raise exceptions.NotReady(f"{option} is {value!r}: {err}") from err
    if not cpus:
        raise exceptions.NotReady(f"{option} is {value!r}, which is no processor")
    return cpus


def _nodes() -> list[tuple[int, frozenset[int], int]]:
    """Return number, processors and KiB of memory of each NUMA node."""
    nodes = []
    for directory in sorted((SYSTEM / "node").glob("node[0-9]*")):
        cpus = frozenset(hardware.parse_cpu_spec((directory / "cpulist").read_text().strip()))
        memory = next(
            line.split()[-2]
            for line in (directory / "meminfo").read_text().splitlines()
            if "MemTotal:" in line
        )
        nodes.append((int(directory.name.removeprefix("node")), cpus, int(memory)))
    # A kernel without NUMA tells of no node.
    pages = os.sysconf("SC_PHYS_PAGES") * (os.sysconf("SC_PAGE_SIZE") // units.Ki)
    return nodes or [(0, online(), pages)]


def _siblings(cpus: frozenset[int]) -> list[set[int]]:
    """Return which of some processors are threads of one core."""
    cores = set()
    for cpu in cpus:
        place = SYSTEM / f"cpu/cpu{cpu}/topology/thread_siblings_list"
        listed = hardware.parse_cpu_spec(place.read_text().strip()) if place.exists() else {cpu}
        cores.add(frozenset(listed) & cpus)
    return [set(core) for core in sorted(cores, key=min)]

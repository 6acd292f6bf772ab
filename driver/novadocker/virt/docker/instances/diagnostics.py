# SPDX-License-Identifier: Apache-2.0
"""Counters of an instance, as Nova's diagnostics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from nova.objects import diagnostics as nova_diagnostics
from oslo_utils import timeutils, units

from novadocker.types import Instance
from novadocker.virt.docker.engine import containers, health

_STATES = {
    containers.State.RUNNING: "running",
    containers.State.PAUSED: "paused",
    containers.State.STOPPED: "shutdown",
}


@dataclasses.dataclass(frozen=True)
class Counters:
    """Counters of the engine and of the kernel.

    :param details: the engine's description of the container
    :param outdated: whether it has former options of the host until its next hard reboot
    :param stats: the engine's counters at one moment
    :param devices: name, mac and stats of each interface
    """

    details: Mapping[str, Any]
    outdated: bool
    stats: dict[str, Any]
    devices: list[dict[str, Any]]

    @property
    def state(self) -> containers.State:
        """Return the state of the workload."""
        return containers.state_of(self.details["State"]["Status"])

    @property
    def cpu_ns(self) -> list[int]:
        """Return the nanoseconds of each processor; one sum where the kernel has no more."""
        usage = (self.stats.get("cpu_stats") or {}).get("cpu_usage") or {}
        return [
            int(used_ns) for used_ns in usage.get("percpu_usage") or [usage.get("total_usage", 0)]
        ]

    @property
    def memory_bytes(self) -> tuple[int, int]:
        """Return the memory limit, and the use without cached files that the kernel can drop."""
        memory = self.stats.get("memory_stats") or {}
        details, used = memory.get("stats") or {}, int(memory.get("usage", 0))
        # The names on cgroup v1 and on cgroup v2.
        files = int(details.get("total_inactive_file", details.get("inactive_file", 0)))
        return int(memory.get("limit", 0)), max(used - files, 0)

    def io(self, operation: str) -> tuple[int, int | None]:
        """Return bytes and requests of one kind of operation on block devices.

        :param operation: ``read`` or ``write``
        :return: None for requests where the engine does not count them, as on cgroup v2
        """
        blkio = self.stats.get("blkio_stats") or {}

        def total(key: str) -> int:
            return sum(
                int(counter["value"])
                for counter in blkio.get(key) or []
                if counter.get("op", "").lower() == operation
            )

        serviced = "io_serviced_recursive"
        requests = None if blkio.get(serviced) is None else total(serviced)
        return total("io_service_bytes_recursive"), requests


def flat(counters: Counters) -> dict[str, Any]:
    """Return the counters as a flat dictionary of names and numbers."""
    limit, used = counters.memory_bytes
    flattened: dict[str, Any] = {
        f"cpu{number}_time": ns for number, ns in enumerate(counters.cpu_ns)
    }
    flattened.update({"memory": limit // units.Ki, "memory-rss": used // units.Ki})
    for operation in ("read", "write"):
        size, requests = counters.io(operation)
        flattened[f"root_{operation}"] = size
        if requests is not None:
            flattened[f"root_{operation}_req"] = requests
    for device in counters.devices:
        for name, value in device["stats"].items():
            way, kind = name.split("_")
            flattened[f"{device['name']}_{way}" + ("" if kind == "bytes" else f"_{kind}")] = value
    flattened["options_outdated"] = int(counters.outdated)
    flattened["restarts"] = int(counters.details.get("RestartCount") or 0)
    checked = health.of(counters.details)
    if checked is not None:
        flattened["health"] = checked
    return flattened


def versioned(counters: Counters, instance: Instance) -> Any:
    """Return the counters as Nova's object."""
    limit, used = counters.memory_bytes
    diagnostics = nova_diagnostics.Diagnostics(
        state=_STATES[counters.state],
        # Nova's API accepts four names of drivers only; the hypervisor is named truly.
        driver="libvirt",
        hypervisor="docker",
        hypervisor_os="linux",
        config_drive=bool(instance.config_drive),
        uptime=int(
            timeutils.delta_seconds(
                timeutils.normalize_time(instance.launched_at), timeutils.utcnow()
            )
        )
        if instance.launched_at
        else 0,
        memory_details=nova_diagnostics.MemoryDiagnostics(
            maximum=limit // units.Mi, used=used // units.Mi
        ),
    )
    for number, ns in enumerate(counters.cpu_ns):
        diagnostics.add_cpu(id=number, time=ns)
    (read_bytes, read_requests), (write_bytes, write_requests) = (
        counters.io("read"),
        counters.io("write"),
    )
    diagnostics.add_disk(
        read_bytes=read_bytes,
        read_requests=read_requests,
        write_bytes=write_bytes,
        write_requests=write_requests,
    )
    for device in counters.devices:
        stats = device["stats"]
        diagnostics.add_nic(
            mac_address=device["mac"],
            rx_octets=stats["rx_bytes"],
            rx_packets=stats["rx_packets"],
            rx_errors=stats["rx_errors"],
            rx_drop=stats["rx_dropped"],
            tx_octets=stats["tx_bytes"],
            tx_packets=stats["tx_packets"],
            tx_errors=stats["tx_errors"],
            tx_drop=stats["tx_dropped"],
        )
    return diagnostics

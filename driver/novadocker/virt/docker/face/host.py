# SPDX-License-Identifier: Apache-2.0
"""Methods of a compute driver about the host: its start, its amounts, its traits."""

from __future__ import annotations

import platform
from typing import Any

from nova import context as nova_context
from nova import objects
from nova.virt import driver
from nova.virt import event as virtevent
from oslo_log import log as logging

from novadocker import conf, exceptions
from novadocker.virt.docker.engine import events, readiness, system_calls
from novadocker.virt.docker.face import faults, listening
from novadocker.virt.docker.host import cpu_sets, devices, resources
from novadocker.virt.docker.instances import assigned, pinning
from novadocker.virt.docker.parts import Parts

LOG = logging.getLogger(__name__)
CONF = conf.load()

_MANAGED_TRAITS = {resources.TRAIT_DOCKER, resources.TRAIT_QUOTA}
# What a driver says of its virtual machines and their processors; that of Nova's own it says anew.
_OF_DRIVERS = ("COMPUTE_", "HW_ARCH_", "HW_CPU_", devices.PREFIX)
# Set by Nova's API, not by a driver.
_OF_NOVA = "COMPUTE_STATUS_DISABLED"
# Inventories of a virtual machine's alone: a provider that has but these is of the driver before.
_OF_MACHINES = {"VGPU", "PGPU"}


class Host(driver.ComputeDriver):
    """Prepares the host, and describes it to Nova and Placement."""

    parts: Parts

    def init_host(self, host: str) -> None:
        """Wait for the engine, prepare it, and begin to follow its events."""
        parts = self.parts
        parts.facts.name = host
        with faults.translated(None, faults.starting(host)):
            parts.devices.check()
            readiness.require_lxcfs(CONF.docker.lxcfs_path)
            readiness.await_engine(parts.engine)
            self._prepare_engine()
            self._check_processors(host)
            parts.spool.clean()
            parts.snapshots.clean()
            parts.volumes.prepare()
            parts.shares.prepare()
            try:
                parts.wiring.prepare()
            except exceptions.NetworkError as err:
                # Instances without ports work without it.
                LOG.error("Instances will get no network: %s", err)
        listener = listening.Listening(parts, self.virtapi, self._emit, self._prepare_engine)
        parts.watcher = events.Watcher(parts.engine, host, parts.workloads, listener)
        parts.watcher.start()

    def _prepare_engine(self) -> None:
        """Have in the engine what instances need, and learn what it can do.

        :raises NotReady: it cannot do what the options ask for
        """
        parts = self.parts
        info = parts.engine.call("info")
        readiness.require_runtime(info, CONF.docker.runtime)
        version = parts.engine.call("version")
        for lack in system_calls.lacks(version, info, CONF.docker.seccomp_profile):
            LOG.warning("%s; %s", lack.told, lack.remedy)
        parts.devices.check(info.get("CDISpecDirs") or ())
        parts.facts.has_cdi = bool(info.get("CDISpecDirs"))
        parts.facts.processors = cpu_sets.of_host(CONF, bool(info.get("CPUSet")))
        parts.sandboxes.ensure_image()
        parts.facts.disk_quota = readiness.disk_quota(parts.sandboxes, CONF.docker.disk_quota)

    def _check_processors(self, host: str) -> None:
        """Check that all instances can live with how the host's processors are divided.

        :raises NotReady: one cannot
        """
        divided = self.parts.facts.processors
        if divided.are_divided:
            instances = objects.InstanceList.get_by_host(
                nova_context.get_admin_context(), host, expected_attrs=["numa_topology"]
            )
            pinning.check_host(instances, divided)

    def cleanup_host(self, host: str) -> None:
        """Stop following events, and close the consoles."""
        self.parts.consoles.close_all()
        if self.parts.watcher is not None:
            self.parts.watcher.stop()

    def _emit(self, uuid: str, transition: int) -> None:
        self.emit_event(virtevent.LifecycleEvent(uuid, transition))

    def get_available_nodes(self, refresh: bool = False) -> list[str]:
        """Return the name of the one node: the host, unless the operator says otherwise."""
        return [CONF.docker.node_name or self.parts.facts.name]

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        """Return what the host has, for the resource tracker."""
        info = self.parts.engine.call("info")
        root = CONF.docker.root_directory or info["DockerRootDir"]
        return resources.available(info, nodename, root, self.parts.facts.processors)

    def update_provider_tree(
        self, provider_tree: Any, nodename: str, allocations: Any = None
    ) -> None:
        """Set what the host has in Placement; what its operator and Neutron have set stays.

        What another driver has left there goes: machines would be sent to this host by it.
        """
        data = provider_tree.data(nodename)
        divided = self.parts.facts.processors
        reserved = {
            "VCPU": CONF.reserved_host_cpus,
            "MEMORY_MB": CONF.reserved_host_memory_mb,
            "DISK_GB": self._get_reserved_host_disk_gb_from_config(),
        }
        by_class = self._devices()
        provider_tree.update_resources(nodename, assigned.resources(by_class, data.uuid))
        provider_tree.update_inventory(
            nodename,
            resources.inventory(
                self.get_available_resource(nodename),
                self._get_allocation_ratios(data.inventory),
                reserved,
                divided,
                {name: len(identifiers) for name, identifiers in by_class.items()},
            ),
        )
        ours = cpu_sets.traits(divided) | resources.traits(
            self.parts.facts.disk_quota, platform.machine()
        )
        # Flavors for others stay away from hosts with devices by them.
        ours |= set(by_class)
        kept = {
            name
            for name in data.traits
            if name == _OF_NOVA or not (name in _MANAGED_TRAITS or name.startswith(_OF_DRIVERS))
        }
        provider_tree.update_traits(nodename, kept | ours)
        for name in self._providers_of_machines(provider_tree, nodename):
            provider_tree.remove(name)

    def _devices(self) -> dict[str, set[str]]:
        """Return the names of the host's devices that Nova is to know of, by resource class."""
        held = self.parts.workloads.held_devices()
        return self.parts.devices.names(held, self.parts.facts.has_cdi)

    @staticmethod
    def _providers_of_machines(provider_tree: Any, nodename: str) -> list[str]:
        """Return the names of the node's providers that are of another driver's machines."""
        root = provider_tree.data(nodename).uuid
        below = [
            provider_tree.data(uuid) for uuid in provider_tree.get_provider_uuids(nodename)[1:]
        ]
        return [
            provider.name
            for provider in below
            if provider.parent_uuid == root
            and provider.inventory
            and set(provider.inventory) <= _OF_MACHINES
        ]

    def get_host_ip_addr(self) -> str:
        """Return the address of this host for migrations."""
        return str(CONF.my_ip)

    def get_host_uptime(self) -> str:
        """Return how long the host has been up, in the words of uptime(1)."""
        return resources.uptime()

    def get_host_cpu_stats(self) -> dict[str, int]:
        """Return the nanoseconds that the host's processors spent, and their clock in MHz."""
        return resources.cpu_stats()

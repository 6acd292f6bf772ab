# SPDX-License-Identifier: Apache-2.0
"""The network of an instance: its sandbox, and the ports that are wired into it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from oslo_log import log as logging
from oslo_privsep import daemon as privsep_daemon

from novadocker import exceptions
from novadocker.privsep import hosts
from novadocker.types import Instance, NetworkInfo, Vif
from novadocker.virt.docker.engine import containers, names
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.engine.sandbox import Namespace, Sandboxes, host_name
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.network import advertisements, dns
from novadocker.virt.docker.network.waiting import Waiting
from novadocker.virt.docker.network.wiring import Wiring

LOG = logging.getLogger(__name__)


class Networks:
    """Makes, connects and removes the networks of instances."""

    def __init__(
        self,
        facts: HostFacts,
        workloads: Containers,
        sandboxes: Sandboxes,
        wiring: Wiring,
        waiting: Waiting,
    ) -> None:
        self._facts = facts
        self._workloads = workloads
        self._sandboxes = sandboxes
        self._wiring = wiring
        self._waiting = waiting

    def create_sandbox(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Make the sandbox of an instance, without starting it."""
        name = names.sandbox_name(instance.uuid)
        arguments = (
            name,
            names.labels(instance, self._facts.name, names.Role.SANDBOX),
            instance.hostname,
            dns.servers(network_info or []),
            dns.addresses(network_info or []),
            advertisements.are_for(network_info or []),
        )
        try:
            self._sandboxes.create(*arguments)
        except exceptions.Conflict:
            LOG.warning("Removing the left-over container %s", name, instance=instance)
            self._workloads.remove(name)
            self._sandboxes.create(*arguments)

    def start_sandbox(self, instance: Instance) -> str:
        """Start the sandbox of an instance.

        :return: path of its network namespace
        """
        return self._sandboxes.start(names.sandbox_name(instance.uuid)).path

    def sandbox(self, instance: Instance, network_info: NetworkInfo) -> dict[str, Any]:
        """Return the engine's description of the sandbox, which is made where there is none."""
        name = names.sandbox_name(instance.uuid)
        with contextlib.suppress(exceptions.NotFound):
            return self._workloads.inspect(name)
        LOG.warning("The sandbox is gone: making it again", instance=instance)
        self.create_sandbox(instance, network_info)
        return self._workloads.inspect(name)

    def ensure(
        self, instance: Instance, network_info: NetworkInfo, sandbox: Mapping[str, Any]
    ) -> bool:
        """Start the sandbox unless it runs, and wire all ports.

        :param sandbox: the engine's description of it
        :return: whether the namespace is new
        :raises NetworkError: a port could not be wired
        """
        namespace = self._sandboxes.ensure_running(names.sandbox_name(instance.uuid), sandbox)
        if namespace.fresh:
            # The switch still has ports whose devices went with the old namespace.
            self._wiring.unplug_dead(instance, network_info)
        self._wiring.plug(instance, network_info, namespace.path)
        self._name(instance, network_info, namespace)
        if namespace.fresh:
            # As after a reboot of the host: what runs in it may ask for its database at once.
            self._waiting.until_wired(instance, network_info)
        return namespace.fresh

    def plug_host(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Plug the host's ends of all ports of a new instance, so that Neutron wires them."""
        self._wiring.plug_host(instance, network_info)

    def wire(self, network_info: NetworkInfo, path: str) -> None:
        """Move the ends of all ports into the namespace of a new instance.

        :param path: path of the sandbox's network namespace
        """
        self._wiring.attach(network_info, path)

    def remove(self, instance: Instance, network_info: NetworkInfo, quiet: bool = False) -> None:
        """Unplug the ports of an instance and remove its sandbox.

        :param quiet: only log a port that cannot be unplugged
        :raises NetworkError: a port is left; the sandbox is removed
        """
        fault: exceptions.NetworkError | None = None
        try:
            self._wiring.unplug(instance, network_info)
        except exceptions.NetworkError as err:
            fault = err
        self._workloads.remove(names.sandbox_name(instance.uuid))
        if fault is not None:
            if not quiet:
                raise fault
            LOG.error("A port of the instance may be left: %s", fault, instance=instance)

    def plug(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Wire the ports of an instance if its sandbox runs; otherwise its start does that."""
        namespace = self._sandboxes.namespace(names.sandbox_name(instance.uuid))
        if namespace is not None:
            running = self._is_running(instance)
            self._wiring.plug(instance, network_info, namespace.path, running)
            self._name(instance, network_info, namespace)

    def unplug(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Unplug ports of an instance in whatever state."""
        self._wiring.unplug(instance, network_info)

    def unplug_dead(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Unplug ports that Nova does not know any more; a failure is only logged."""
        self._wiring.unplug_dead(instance, network_info)

    def attach(self, instance: Instance, vif: Vif) -> None:
        """Wire one more port.

        The sandbox runs also while the instance is stopped. Only after a restart of the host it
        does not; the port is then wired with the others when the instance starts.

        :raises NetworkError: the port could not be wired, or the sandbox of a running instance is
            gone
        """
        namespace = self._sandboxes.namespace(names.sandbox_name(instance.uuid))
        running = self._is_running(instance)
        if namespace is not None:
            self._wiring.plug_new(instance, vif, namespace.path, running)
            others = [port for port in instance.get_network_info() or [] if port["id"] != vif["id"]]
            self._name(instance, [*others, vif], namespace)
        elif running:
            raise exceptions.NetworkError("its sandbox has ended: reboot the instance first")

    def connect(self, instance: Instance, up: bool) -> None:
        """Connect or disconnect the ports of an instance; a failure is only logged."""
        namespace = self._sandboxes.namespace(names.sandbox_name(instance.uuid))
        try:
            self._wiring.set_links(namespace.path if namespace else None, up)
        except exceptions.NetworkError as err:
            LOG.warning("%s", err, instance=instance)

    def _name(self, instance: Instance, network_info: NetworkInfo, namespace: Namespace) -> None:
        """Give an instance's own name the addresses of its ports; a failure is only logged."""
        name = host_name(instance.hostname)
        if name is None or not namespace.hosts_file:
            return
        try:
            hosts.set_own_addresses(namespace.hosts_file, name, dns.addresses(network_info))
        except (OSError, privsep_daemon.FailedToDropPrivileges) as err:
            LOG.warning(
                "%s may have former addresses in /etc/hosts: %s", name, err, instance=instance
            )

    def _is_running(self, instance: Instance) -> bool:
        """Return whether ports are to be connected: those of a stopped or frozen one are not."""
        try:
            state = self._workloads.state(names.workload_name(instance.uuid))
        except exceptions.NotFound:
            return False
        return state is containers.State.RUNNING

# SPDX-License-Identifier: Apache-2.0
"""An instance is a sandbox, its ports and a workload: their order when it is made and removed.

The workload never runs before the ports are wired, and a failed build leaves nothing behind. The
host's ends of the ports are plugged first: Neutron wires them while Docker makes the containers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Flavor, Instance, NetworkInfo
from novadocker.virt.docker.engine import containers, names
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.engine.kept import Kept
from novadocker.virt.docker.host.devices import Devices
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.instances import assigned, guest
from novadocker.virt.docker.instances.contents import Content
from novadocker.virt.docker.instances.meanwhile import meanwhile
from novadocker.virt.docker.instances.networks import Networks
from novadocker.virt.docker.instances.specification import Settings, Specification
from novadocker.virt.docker.network.waiting import PortsWait

LOG = logging.getLogger(__name__)


class Instances:
    """Makes, runs and removes whole instances."""

    def __init__(
        self,
        facts: HostFacts,
        settings: Settings,
        devices: Devices,
        workloads: Containers,
        kept: Kept,
        networks: Networks,
    ) -> None:
        self._settings = settings
        self._specification = Specification(facts, settings, devices)
        self._workloads = workloads
        self._kept = kept
        self._networks = networks

    def build(
        self,
        instance: Instance,
        content: Callable[[], Content],
        network_info: NetworkInfo,
        wait: PortsWait,
        power_on: bool = True,
    ) -> None:
        """Make an instance and start it.

        :param content: returns what runs in it; called in another thread, while Neutron wires the
            ports
        :param wait: waits for the ports
        :param power_on: whether to start it
        :raises DriverError: the instance could not be made; nothing is left of it
        """

        def make_workload() -> None:
            wanted = content()
            self.create_workload(instance, wanted)
            if wanted.files:
                self._workloads.put_archive(names.workload_name(instance.uuid), wanted.files)

        self._make(instance, network_info, make_workload, wait, power_on)

    def destroy(
        self,
        instance: Instance,
        network_info: NetworkInfo,
        quiet: bool = False,
        aside: bool = False,
    ) -> None:
        """Remove an instance. Idempotent.

        :param quiet: only log a port that cannot be unplugged
        :param aside: whether to remove what a resize or a rescue has put aside, too
        :raises NetworkError: a port is left; everything else is removed
        :raises EngineError: a container is left
        """
        own = {names.workload_name(instance.uuid), names.new_name(instance.uuid)}
        there = self._workloads.names_of(instance.uuid) - {names.sandbox_name(instance.uuid)}
        for name in sorted(there if aside else there & own):
            self._workloads.remove(name)
        try:
            self._networks.remove(instance, network_info, quiet)
        finally:
            self._kept.forget(instance.uuid)

    def start(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Start an instance from whatever state, its network first.

        :raises NotFound: there is no such instance
        :raises NetworkError: a port could not be wired
        """
        details = self._restored(instance, network_info)
        state = containers.state_of(details["State"]["Status"])
        self._start(instance, network_info, details, state)

    def _start(
        self,
        instance: Instance,
        network_info: NetworkInfo,
        details: Mapping[str, Any],
        state: containers.State,
    ) -> None:
        """Start an instance.

        :param details: the engine's description of its container
        :param state: its state by now
        """
        name = names.workload_name(instance.uuid)
        sandbox = self._networks.sandbox(instance, network_info)
        if details["HostConfig"]["NetworkMode"] != f"container:{sandbox['Id']}":
            # The sandbox that the workload joined was removed: the engine knows sandboxes by id.
            LOG.warning("Joining the sandbox that there is", instance=instance)
            self.recreate(instance)
            state = containers.State.STOPPED
        elif state is containers.State.STOPPED:
            self._fit(instance, details)
        fresh = self._networks.ensure(instance, network_info, sandbox)
        if fresh and state is not containers.State.STOPPED:
            # The workload still runs in the namespace that is gone.
            self._workloads.kill(name)
            self._fit(instance, details)
        elif state is containers.State.PAUSED:
            self._workloads.unpause(name)
        self._workloads.start(name, self._specification.restart(instance))

    def _fit(self, instance: Instance, details: Mapping[str, Any]) -> None:
        """Give a stopped instance the devices and limits that it is to have by now.

        :raises HostUnfit: the host does not have its devices any more
        """
        if not self._specification.given(instance).is_in(names.devices_label(details)):
            # By now, their former nodes may be those of others.
            LOG.info("Its devices have changed: making it anew", instance=instance)
            self.recreate(instance)
        else:
            self._limit(instance, details)

    def _limit(self, instance: Instance, details: Mapping[str, Any]) -> None:
        """Give a stopped instance the limits of its flavor, which a resize may have changed."""
        try:
            self._workloads.limit(
                names.workload_name(instance.uuid),
                instance.flavor,
                details,
                self._specification.cpus(instance),
            )
        except exceptions.FlavorRefused as err:
            # It lived with this flavor before.
            LOG.warning("It keeps the limits that it has: %s", err, instance=instance)

    def stop(self, instance: Instance, timeout_s: int) -> None:
        """Stop the workload; the sandbox keeps the ports, disconnected.

        :param timeout_s: seconds that the workload has to end by itself, capped by the option
        :raises NotFound: there is no such instance
        """
        self._workloads.stop(names.workload_name(instance.uuid), self._capped(timeout_s))
        self._networks.connect(instance, up=False)

    def _capped(self, timeout_s: int) -> int:
        return min(timeout_s, self._settings.stop_timeout_cap_s)

    def pause(self, instance: Instance) -> None:
        """Freeze an instance, and disconnect it, as the kernel would answer pings for it.

        :raises NotFound: there is no such instance
        """
        self._workloads.pause(names.workload_name(instance.uuid))
        self._networks.connect(instance, up=False)

    def unpause(self, instance: Instance) -> None:
        """Unfreeze an instance, and connect it.

        :raises NotFound: there is no such instance
        """
        self._networks.connect(instance, up=True)
        self._workloads.unpause(names.workload_name(instance.uuid))

    def thaw(self, instance: Instance) -> None:
        """Unfreeze an instance that is frozen, if there is one; its ports are left alone."""
        with contextlib.suppress(exceptions.NotFound):
            self._workloads.unpause(names.workload_name(instance.uuid))

    def reboot(self, instance: Instance, network_info: NetworkInfo, timeout_s: int) -> None:
        """Stop and start an instance from whatever state.

        :param timeout_s: seconds that the workload has to end by itself; 0 is a hard reboot, by
            which options of the host that have changed reach the instance
        :raises NotFound: there is no such instance
        """
        name = names.workload_name(instance.uuid)
        details = self._restored(instance, network_info)
        state = containers.state_of(details["State"]["Status"])
        if state is not containers.State.STOPPED:
            self._workloads.end(name, state, self._capped(timeout_s))
        if timeout_s <= 0 and self.is_outdated(instance, details):
            details = self._renewed(instance, network_info, details)
        self._start(instance, network_info, details, containers.State.STOPPED)

    def is_outdated(self, instance: Instance, details: Mapping[str, Any]) -> bool:
        """Return whether an instance has other options than it would be made with now.

        :param details: the engine's description of its container
        """
        disk_gb = self._specification.disk_gb(instance.flavor)
        try:
            workload = self._specification.workload(instance, Content(image="", image_id=""))
            return not self._workloads.can_become(workload, instance.flavor, disk_gb, details)
        except exceptions.DriverError as err:
            LOG.warning("It could not be made with the options of now: %s", err, instance=instance)
            return False

    def tell_outdated(self, instance: Instance) -> None:
        """Log where options have changed since an instance was made, and how it gets them."""
        with contextlib.suppress(exceptions.NotFound):
            if self.is_outdated(
                instance, self._workloads.inspect(names.workload_name(instance.uuid))
            ):
                LOG.info("It has former options until its next hard reboot", instance=instance)

    def _renewed(
        self, instance: Instance, network_info: NetworkInfo, details: dict[str, Any]
    ) -> dict[str, Any]:
        """Recreate a stopped instance with the options of now; where that fails, it stays.

        :param details: the engine's description of its container
        :return: the engine's description of its container by now
        """
        name = names.workload_name(instance.uuid)
        LOG.info("The options have changed: making its container anew", instance=instance)
        self._networks.sandbox(instance, network_info)
        try:
            self.recreate(instance)
        except exceptions.DriverError as err:
            if not self._workloads.exists(name):
                raise
            LOG.error("It keeps the options that it has: %s", err, instance=instance)
            return details
        return self._workloads.inspect(name)

    def recreate(self, instance: Instance, old: str | None = None) -> None:
        """Recreate the workload's container from its own file system, stopped.

        The new container joins the instance's sandbox and has the limits of its present flavor.

        :param old: name of the container to make it from, which stays; by default the workload's
            own, which is replaced once the new one exists
        """
        name = names.workload_name(instance.uuid)
        new = name if old else names.new_name(instance.uuid)
        details = self._workloads.inspect(old or name)
        if old is None and self._is_replaced(instance, details):
            return
        if self._workloads.remove(new):
            LOG.warning("Removed the left-over container %s", new, instance=instance)
        image = self._kept.keep(old or name, instance.uuid)
        # Command and environment are in the committed image.
        content = Content(
            image=image,
            image_id=names.image_label(details),
            environment=guest.taken_back(names.devices_label(details)),
            own_environment=names.environment_label(details),
            health_check=details["Config"].get("Healthcheck"),
        )
        self.create_workload(instance, content, new)
        if old is None:
            self._workloads.remove(name)
            self._workloads.rename(new, name)

    def _is_replaced(self, instance: Instance, details: Mapping[str, Any]) -> bool:
        """Finish to replace a container that the engine has removed by half.

        What was in it is in the new container alone.

        :param details: the engine's description of it
        :return: whether it has been replaced
        :raises EngineError: it cannot be removed
        """
        name, new = names.workload_name(instance.uuid), names.new_name(instance.uuid)
        if not (containers.is_half_removed(details) and self._workloads.exists(new)):
            return False
        LOG.warning("The container was removed by half: taking %s", new, instance=instance)
        self._workloads.remove(name)
        self._workloads.rename(new, name)
        return True

    def create_workload(
        self, instance: Instance, content: Content, name: str | None = None
    ) -> None:
        """Make the workload's container in the existing sandbox, without starting it.

        :param name: name of the container; by default that of the instance's workload
        """
        workload = self._specification.workload(instance, content, name)
        if workload.devices.names:
            held = self._workloads.held_devices()
            assigned.require_free(instance, workload.devices, held)
        disk_gb = self._specification.disk_gb(instance.flavor)
        try:
            self._workloads.create(workload, instance.flavor, disk_gb)
        except exceptions.Conflict:
            LOG.warning("Removing the left-over container %s", workload.name, instance=instance)
            self._workloads.remove(workload.name)
            self._workloads.create(workload, instance.flavor, disk_gb)

    def can_become(self, instance: Instance, flavor: Flavor) -> bool:
        """Return whether an instance takes nothing but new limits to be one of another flavor.

        :raises NotFound: there is no such instance
        :raises DriverError: the flavor asks for what the operator has not allowed on this host
        """
        if assigned.are_others(instance):
            return False
        workload = self._specification.workload(instance, Content(image="", image_id=""))
        return self._workloads.can_become(workload, flavor, self._specification.disk_gb(flavor))

    def become(self, instance: Instance, network_info: NetworkInfo, power_on: bool) -> None:
        """Give an instance that was stopped for a resize the limits of its present flavor.

        :param power_on: whether to start it
        :raises NotFound: there is no such instance
        """
        name = names.workload_name(instance.uuid)
        self._workloads.limit(name, instance.flavor, cpus=self._specification.cpus(instance))
        if power_on:
            self.start(instance, network_info)

    def adopt(
        self,
        instance: Instance,
        old: str,
        network_info: NetworkInfo,
        wait: PortsWait,
        power_on: bool,
    ) -> None:
        """Make an instance from the file system of another container, which stays.

        :param old: name of the other container
        :raises DriverError: the instance could not be made; nothing is left of it
        """
        # A migration may have left its ports, in a namespace that is gone.
        self._networks.unplug_dead(instance, network_info)
        self._make(instance, network_info, lambda: self.recreate(instance, old), wait, power_on)

    def _make(
        self,
        instance: Instance,
        network_info: NetworkInfo,
        make_workload: Callable[[], None],
        wait: PortsWait,
        power_on: bool,
    ) -> None:
        def plug() -> None:
            self._networks.plug_host(instance, network_info)

        try:
            with wait(), contextlib.ExitStack() as works:
                with meanwhile(plug, f"novadocker-ports-{instance.uuid}"):
                    self._networks.create_sandbox(instance, network_info)
                    works.enter_context(meanwhile(make_workload, f"novadocker-{instance.uuid}"))
                    path = self._networks.start_sandbox(instance)
                self._networks.wire(network_info, path)
            if power_on:
                name = names.workload_name(instance.uuid)
                self._workloads.start(name, self._specification.restart(instance))
        except BaseException:
            # BaseException: on eventlet, a timeout is no Exception.
            LOG.warning(
                "Removing what there is of an instance that could not be made", instance=instance
            )
            self.destroy(instance, network_info, quiet=True)
            raise

    def _restored(self, instance: Instance, network_info: NetworkInfo) -> dict[str, Any]:
        """Return the workload's container, restored where a crash or somebody has removed it.

        :return: the engine's description
        :raises NotFound: there is no such instance, nor anything to restore it from
        """
        name = names.workload_name(instance.uuid)
        with contextlib.suppress(exceptions.NotFound):
            details = self._workloads.inspect(name)
            if not self._is_replaced(instance, details):
                return details
            return self._workloads.inspect(name)
        for aside in names.aside_names(instance.uuid):
            if self._workloads.exists(aside):
                LOG.warning("The container is gone: taking %s", aside, instance=instance)
                self._workloads.rename(aside, name)
                return self._workloads.inspect(name)
        image = self._kept_image(instance)
        LOG.error(
            "The container is gone: making it again from the image that it was made from last",
            instance=instance,
        )
        self._networks.sandbox(instance, network_info)
        self.create_workload(instance, Content(image=image, image_id=instance.image_ref or ""))
        return self._workloads.inspect(name)

    def _kept_image(self, instance: Instance) -> str:
        """Return the image that a container that is gone can be made from again.

        :raises EngineError: there is none, and what the server had written is lost
        :raises NotFound: there is no such instance
        """
        try:
            return self._kept.find(instance.uuid)
        except exceptions.NotFound:
            if not self._workloads.exists(names.sandbox_name(instance.uuid)):
                raise
        raise exceptions.EngineError(
            "somebody has removed its container on the host (docker system prune?), and with it "
            "all that the server had written: rebuild the server to have it anew from its image"
        )

# SPDX-License-Identifier: Apache-2.0
"""An instance is a sandbox, its ports and a workload: their order when it is made and removed.

The workload never runs before the ports are wired, and a failed build leaves nothing behind. The
host's ends of the ports are plugged first: Neutron wires them while Docker makes the containers.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance, NetworkInfo, Vif
from novadocker.virt.docker.engine import containers
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.engine.sandbox import Sandboxes
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.network.waiting import PortsWait
from novadocker.virt.docker.network.wiring import Wiring, dns_servers

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Content:
    """Image, command, environment and files of a workload.

    :param image: id of the image in the engine
    :param image_id: id of the image in Glance
    :param command: arguments to the image's entry point; None for the image's own
    :param files: archive to unpack at the container's root before it starts
    """

    image: str
    image_id: str
    command: list[str] | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Settings:
    """Options that apply to every instance.

    :param stop_timeout_cap_s: most seconds that a stop waits for a workload to end by itself
    """

    tty: bool
    init: bool
    stop_timeout_cap_s: int

    @classmethod
    def from_section(cls, section: Any) -> "Settings":
        """Return the options of the section [docker]."""
        return cls(tty=section.tty, init=section.init, stop_timeout_cap_s=section.stop_timeout_cap)


class Instances:
    """Makes, runs and removes whole instances."""

    def __init__(
        self,
        facts: HostFacts,
        settings: Settings,
        workloads: Containers,
        sandboxes: Sandboxes,
        wiring: Wiring,
    ) -> None:
        self._facts = facts
        self._settings = settings
        self._workloads = workloads
        self._sandboxes = sandboxes
        self._wiring = wiring

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
                self._workloads.put_archive(containers.workload_name(instance.uuid), wanted.files)

        self._make(instance, network_info, make_workload, wait, power_on)

    def destroy(self, instance: Instance, network_info: NetworkInfo, quiet: bool = False) -> None:
        """Remove every trace of an instance. Idempotent.

        :param quiet: only log a port that cannot be unplugged
        :raises NetworkError: a port is left; everything else is removed
        :raises EngineError: a container is left
        """
        self._workloads.remove(containers.workload_name(instance.uuid))
        self._workloads.remove(containers.new_name(instance.uuid))
        try:
            self.remove_network(instance, network_info, quiet)
        finally:
            self._workloads.forget_kept(instance.uuid)

    def remove_network(
        self, instance: Instance, network_info: NetworkInfo, quiet: bool = False
    ) -> None:
        """Unplug the ports of an instance and remove its sandbox.

        :param quiet: only log a port that cannot be unplugged
        :raises NetworkError: a port is left; the sandbox is removed
        """
        fault: exceptions.NetworkError | None = None
        try:
            self._wiring.unplug(instance, network_info)
        except exceptions.NetworkError as err:
            fault = err
        self._workloads.remove(containers.sandbox_name(instance.uuid))
        if fault is not None:
            if not quiet:
                raise fault
            LOG.error("A port of the instance may be left: %s", fault, instance=instance)

    def start(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Start an instance from whatever state, its network first.

        :raises NotFound: there is no such instance
        :raises NetworkError: a port could not be wired
        """
        name = containers.workload_name(instance.uuid)
        details = self._restored(instance, network_info)
        state = containers.state_of(details["State"]["Status"])
        sandbox_id = self._sandbox_id(instance, network_info)
        if details["HostConfig"]["NetworkMode"] != f"container:{sandbox_id}":
            # The sandbox that the workload joined was removed: the engine knows sandboxes by id.
            LOG.warning("Joining the sandbox that there is", instance=instance)
            self.recreate(instance)
            state = containers.State.STOPPED
        if self._ensure_network(instance, network_info) and state is not containers.State.STOPPED:
            # The workload still runs in the namespace that is gone.
            self._workloads.kill(name)
        self._workloads.unpause(name)
        self._workloads.start(name)

    def stop(self, instance: Instance, timeout_s: int) -> None:
        """Stop the workload; the sandbox keeps the ports, disconnected.

        :param timeout_s: seconds that the workload has to end by itself, capped by the option
        :raises NotFound: there is no such instance
        """
        timeout_s = min(timeout_s, self._settings.stop_timeout_cap_s)
        self._workloads.stop(containers.workload_name(instance.uuid), timeout_s)
        self._set_links(instance, up=False)

    def pause(self, instance: Instance) -> None:
        """Freeze an instance, and disconnect it, as the kernel would answer pings for it.

        :raises NotFound: there is no such instance
        """
        self._workloads.pause(containers.workload_name(instance.uuid))
        self._set_links(instance, up=False)

    def unpause(self, instance: Instance) -> None:
        """Unfreeze an instance, and connect it.

        :raises NotFound: there is no such instance
        """
        self._set_links(instance, up=True)
        self._workloads.unpause(containers.workload_name(instance.uuid))

    def thaw(self, instance: Instance) -> None:
        """Unfreeze an instance that is frozen, if there is one; its ports are left alone."""
        with contextlib.suppress(exceptions.NotFound):
            self._workloads.unpause(containers.workload_name(instance.uuid))

    def reboot(self, instance: Instance, network_info: NetworkInfo, timeout_s: int) -> None:
        """Stop and start an instance from whatever state.

        :param timeout_s: seconds that the workload has to end by itself; 0 is a hard reboot
        :raises NotFound: there is no such instance
        """
        try:
            self.stop(instance, timeout_s)
        except exceptions.NotFound:
            LOG.warning("There is nothing to stop", instance=instance)
        self.start(instance, network_info)

    def plug(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Wire the ports of an instance if its sandbox runs; otherwise its start does that."""
        path = self._sandboxes.namespace(containers.sandbox_name(instance.uuid))
        if path is not None:
            self._wiring.plug(instance, network_info, path, self._is_running(instance))

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
        """
        path = self._sandboxes.namespace(containers.sandbox_name(instance.uuid))
        if path is not None:
            self._wiring.plug_new(instance, vif, path, self._is_running(instance))

    def recreate(self, instance: Instance, old: str | None = None) -> None:
        """Recreate the workload's container from its own file system, stopped.

        The new container joins the instance's sandbox and has the limits of its present flavor.

        :param old: name of the container to make it from, which stays; by default the workload's
            own, which is replaced once the new one exists
        """
        name = containers.workload_name(instance.uuid)
        new = name if old else containers.new_name(instance.uuid)
        details = self._workloads.inspect(old or name)
        if self._workloads.remove(new):
            LOG.warning("Removed the left-over container %s", new, instance=instance)
        image = self._workloads.keep(old or name, instance.uuid)
        # Command and environment are in the committed image.
        content = Content(image=image, image_id=containers.image_label(details))
        self.create_workload(instance, content, new)
        if old is None:
            self._workloads.remove(name)
            self._workloads.rename(new, name)

    def create_workload(
        self, instance: Instance, content: Content, name: str | None = None
    ) -> None:
        """Make the workload's container in the existing sandbox, without starting it.

        :param name: name of the container; by default that of the instance's workload
        """
        workload = containers.Workload(
            name=name or containers.workload_name(instance.uuid),
            sandbox=containers.sandbox_name(instance.uuid),
            image=content.image,
            labels=containers.labels(
                instance, self._facts.name, containers.Role.WORKLOAD, content.image_id
            ),
            command=content.command,
            environment=content.environment,
            tty=self._settings.tty,
            init=self._settings.init,
        )
        disk_gb = int(instance.flavor.root_gb) if self._facts.disk_quota else None
        try:
            self._workloads.create(workload, instance.flavor, disk_gb)
        except exceptions.Conflict:
            LOG.warning("Removing the left-over container %s", workload.name, instance=instance)
            self._workloads.remove(workload.name)
            self._workloads.create(workload, instance.flavor, disk_gb)

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
        self._wiring.unplug_dead(instance, network_info)
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
            self._wiring.plug_host(instance, network_info)

        try:
            with wait(), contextlib.ExitStack() as works:
                with _meanwhile(plug, f"novadocker-ports-{instance.uuid}"):
                    self._create_sandbox(instance, network_info)
                    works.enter_context(_meanwhile(make_workload, f"novadocker-{instance.uuid}"))
                    path = self._sandboxes.start(containers.sandbox_name(instance.uuid))
                self._wiring.attach(network_info, path)
            if power_on:
                self._workloads.start(containers.workload_name(instance.uuid))
        except BaseException:
            # BaseException: on eventlet, a timeout is no Exception.
            LOG.warning(
                "Removing what there is of an instance that could not be made", instance=instance
            )
            self.destroy(instance, network_info, quiet=True)
            raise

    def _ensure_network(self, instance: Instance, network_info: NetworkInfo) -> bool:
        """Start the sandbox unless it runs, and wire all ports.

        :return: whether the namespace is new
        """
        name = containers.sandbox_name(instance.uuid)
        namespace = self._sandboxes.ensure_running(name)
        if namespace.fresh:
            # The switch still has ports whose devices went with the old namespace.
            self._wiring.unplug_dead(instance, network_info)
        self._wiring.plug(instance, network_info, namespace.path)
        return namespace.fresh

    def _is_running(self, instance: Instance) -> bool:
        """Return whether ports are to be connected: those of a stopped or frozen one are not."""
        try:
            state = self._workloads.state(containers.workload_name(instance.uuid))
        except exceptions.NotFound:
            return False
        return state is containers.State.RUNNING

    def _set_links(self, instance: Instance, up: bool) -> None:
        path = self._sandboxes.namespace(containers.sandbox_name(instance.uuid))
        try:
            self._wiring.set_links(path, up)
        except exceptions.NetworkError as err:
            LOG.warning("%s", err, instance=instance)

    def _create_sandbox(self, instance: Instance, network_info: NetworkInfo) -> None:
        name = containers.sandbox_name(instance.uuid)
        arguments = (
            name,
            containers.labels(instance, self._facts.name, containers.Role.SANDBOX),
            instance.hostname,
            dns_servers(network_info or []),
        )
        try:
            self._sandboxes.create(*arguments)
        except exceptions.Conflict:
            LOG.warning("Removing the left-over container %s", name, instance=instance)
            self._workloads.remove(name)
            self._sandboxes.create(*arguments)

    def _restored(self, instance: Instance, network_info: NetworkInfo) -> dict[str, Any]:
        """Return the workload's container, restored where a crash or somebody has removed it.

        :return: the engine's description
        :raises NotFound: there is no such instance, nor anything to restore it from
        """
        name = containers.workload_name(instance.uuid)
        with contextlib.suppress(exceptions.NotFound):
            return self._workloads.inspect(name)
        for aside in containers.aside_names(instance.uuid):
            if self._workloads.exists(aside):
                LOG.warning("The container is gone: taking %s", aside, instance=instance)
                self._workloads.rename(aside, name)
                return self._workloads.inspect(name)
        image = self._workloads.kept(instance.uuid)
        LOG.error(
            "The container is gone: making it again from the image that it was made from last",
            instance=instance,
        )
        self._sandbox_id(instance, network_info)
        self.create_workload(instance, Content(image=image, image_id=instance.image_ref or ""))
        return self._workloads.inspect(name)

    def _sandbox_id(self, instance: Instance, network_info: NetworkInfo) -> str:
        """Return the id of the sandbox, which is made where there is none."""
        name = containers.sandbox_name(instance.uuid)
        with contextlib.suppress(exceptions.NotFound):
            return str(self._workloads.inspect(name)["Id"])
        LOG.warning("The sandbox is gone: making it again", instance=instance)
        self._create_sandbox(instance, network_info)
        return str(self._workloads.inspect(name)["Id"])


@contextlib.contextmanager
def _meanwhile(work: Callable[[], None], name: str) -> Iterator[None]:
    """Do some work in a thread while the body runs; wait for its end, and raise its exception.

    :param name: name of the thread
    """
    faults: list[BaseException] = []

    def do() -> None:
        try:
            work()
        except BaseException as err:  # noqa: BLE001 - raised again by the thread that waits
            faults.append(err)

    thread = threading.Thread(target=do, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if faults:
        raise faults[0]

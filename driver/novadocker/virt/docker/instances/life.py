# SPDX-License-Identifier: Apache-2.0
"""An instance is a sandbox, its ports and a workload: the order in which they come and go.

The workload never runs before the ports are wired, and whatever fails leaves nothing behind. The
host's ends of the ports come first: Neutron wires them while Docker makes what they lead to.
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
    """What runs in an instance.

    :param image: id of the engine's image
    :param image_id: id of Glance's
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


class Instances:
    """Makes, runs and removes instances as a whole."""

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
        """Make an instance and, unless told otherwise, start it.

        :param content: says what runs in it; asked while Neutron wires the ports, by another thread
        :raises DriverError: it could not be made; nothing of it is left
        """

        def make_workload() -> None:
            found = content()
            self.create_workload(instance, found)
            if found.files:
                self._workloads.put_archive(containers.workload_name(instance.uuid), found.files)

        self._make(instance, network_info, make_workload, wait, power_on)

    def destroy(self, instance: Instance, network_info: NetworkInfo, quiet: bool = False) -> None:
        """Remove all there is of an instance; that there is nothing is no fault.

        :param quiet: a port that cannot be unplugged is logged and no fault
        :raises NetworkError: a port is left; all else is gone
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
        """Unplug the ports of an instance and remove its sandbox."""
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
        """Start an instance, whatever it does; its network comes first.

        :raises NotFound: there is no such instance
        :raises NetworkError: a port could not be wired
        """
        name = containers.workload_name(instance.uuid)
        details = self._restored(instance, network_info)
        state = containers.state_of(details["State"]["Status"])
        sandbox_id = self._sandbox_id(instance, network_info)
        if details["HostConfig"]["NetworkMode"] != f"container:{sandbox_id}":
            # The one that it joined was removed: the engine knows it by an id.
            LOG.warning("Joining the sandbox that there is", instance=instance)
            self.recreate(instance)
            state = containers.State.STOPPED
        if self._ensure_network(instance, network_info) and state is not containers.State.STOPPED:
            # It holds on to a namespace that is gone.
            self._workloads.kill(name)
        self._workloads.unpause(name)
        self._workloads.start(name)

    def stop(self, instance: Instance, timeout_s: int) -> None:
        """Stop the workload; the sandbox keeps the ports, disconnected.

        :param timeout_s: time to end by itself; no more than the option allows
        :raises NotFound: there is no such instance
        """
        timeout_s = min(timeout_s, self._settings.stop_timeout_cap_s)
        self._workloads.stop(containers.workload_name(instance.uuid), timeout_s)
        self._set_links(instance, up=False)

    def pause(self, instance: Instance) -> None:
        """Freeze an instance, and disconnect it: the kernel would answer pings for it.

        :raises NotFound: there is no such instance
        """
        self._workloads.pause(containers.workload_name(instance.uuid))
        self._set_links(instance, up=False)

    def unpause(self, instance: Instance) -> None:
        """Let a frozen instance go on.

        :raises NotFound: there is no such instance
        """
        self._set_links(instance, up=True)
        self._workloads.unpause(containers.workload_name(instance.uuid))

    def reboot(self, instance: Instance, network_info: NetworkInfo, timeout_s: int) -> None:
        """Stop and start an instance, whatever it does.

        :param timeout_s: time to end by itself; 0 is a hard reboot
        """
        try:
            self.stop(instance, timeout_s)
        except exceptions.NotFound:
            LOG.warning("There is nothing to stop", instance=instance)
        self.start(instance, network_info)

    def plug(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Wire the ports of an instance whose sandbox runs; others are wired at the start."""
        path = self._sandboxes.namespace(containers.sandbox_name(instance.uuid))
        if path is not None:
            self._wiring.plug(instance, network_info, path)
            self._disconnect_unless_running(instance)

    def unplug(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Take ports away from an instance, in whatever state."""
        self._wiring.unplug(instance, network_info)

    def unplug_dead(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Take ports away that nobody knows; one that cannot be is logged and no fault."""
        self._wiring.unplug_dead(instance, network_info)

    def attach(self, instance: Instance, vif: Vif) -> None:
        """Wire one more port.

        A stopped instance's sandbox runs; only after a restart of the host it does not, and the
        port is wired with the others at the start.
        """
        path = self._sandboxes.namespace(containers.sandbox_name(instance.uuid))
        if path is not None:
            self._wiring.plug_new(instance, vif, path)
            self._disconnect_unless_running(instance)

    def recreate(self, instance: Instance, old: str | None = None) -> None:
        """Make the workload's container anew from its own file system, stopped.

        It joins the sandbox of the instance and gets the limits of its flavor as they are now.

        :param old: name of the container that it is made from; by default it is replaced, once
            there is the new one
        """
        name = containers.workload_name(instance.uuid)
        new = name if old else containers.new_name(instance.uuid)
        details = self._workloads.inspect(old or name)
        if self._workloads.remove(new):
            LOG.warning("Removed the left-over container %s", new, instance=instance)
        image = self._workloads.keep(old or name, instance.uuid)
        # Command and environment are the committed image's own.
        content = Content(image=image, image_id=containers.image_label(details))
        self.create_workload(instance, content, new)
        if old is None:
            self._workloads.remove(name)
            self._workloads.rename(new, name)

    def create_workload(
        self, instance: Instance, content: Content, name: str | None = None
    ) -> None:
        """Make the workload's container in the sandbox that there is, and do not start it.

        :param name: of the container; by default the one that the instance runs under
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

        :raises DriverError: it could not be made; nothing of it is left
        """
        # A move may have left ports of its own, dead ones.
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
            # Everything: on eventlet, time that is up is no Exception.
            LOG.warning(
                "Removing what there is of an instance that could not be made", instance=instance
            )
            self.destroy(instance, network_info, quiet=True)
            raise

    def _ensure_network(self, instance: Instance, network_info: NetworkInfo) -> bool:
        """Have a running sandbox with all ports in it.

        :return: whether the namespace is a new one
        """
        name = containers.sandbox_name(instance.uuid)
        namespace = self._sandboxes.ensure_running(name)
        if namespace.fresh:
            # A port whose device went with an old namespace does not come back by itself.
            self._wiring.unplug_dead(instance, network_info)
        self._wiring.plug(instance, network_info, namespace.path)
        return namespace.fresh

    def _disconnect_unless_running(self, instance: Instance) -> None:
        """Take back what plugging connects of an instance that is stopped or frozen."""
        with contextlib.suppress(exceptions.NotFound):
            state = self._workloads.state(containers.workload_name(instance.uuid))
            if state is not containers.State.RUNNING:
                self._set_links(instance, up=False)

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
        """Look at the workload's container; have it, where a crash or someone has left none.

        :raises NotFound: there is no such instance
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
        """Find the sandbox; make it where there is none."""
        name = containers.sandbox_name(instance.uuid)
        with contextlib.suppress(exceptions.NotFound):
            return str(self._workloads.inspect(name)["Id"])
        LOG.warning("The sandbox is gone: making it again", instance=instance)
        self._create_sandbox(instance, network_info)
        return str(self._workloads.inspect(name)["Id"])


@contextlib.contextmanager
def _meanwhile(work: Callable[[], None], name: str) -> Iterator[None]:
    """Do some work in a thread of its own, which has ended afterwards.

    :param name: of the thread
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

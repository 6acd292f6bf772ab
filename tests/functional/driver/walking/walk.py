# SPDX-License-Identifier: Apache-2.0
"""One instance on its walk, and what Nova and its host do with it."""

from __future__ import annotations

import contextlib
import itertools
import random
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar
from unittest import mock

from tests.functional.driver import nova_process  # isort: skip - before anything of Nova's

from nova import context, exception, objects
from nova.compute import task_states
from nova.network import model
from nova.virt import fake

from novadocker.virt.docker import driver as docker_driver
from novadocker.virt.docker.parts import Parts
from tests.functional.driver import loop_devices
from tests.functional.driver.programs import network
from tests.functional.driver.walking.rig import Host, Rig, image_id

CONTEXT = context.get_admin_context()
CONF = nova_process.CONF


class Walk:
    """One instance, as Nova has it in its database.

    :ivar files: what may be in the file that tells its files
    """

    numbers: ClassVar[Iterator[int]] = itertools.count(1)
    # That which Nova's database is asked about.
    present: ClassVar[Walk]

    def __init__(self, rig: Rig, layers: int, rng: random.Random) -> None:
        self.rig = rig
        self.rng = rng
        self.layers = layers
        self.instance = nova_process.instance(image_ref=image_id(layers), host=rig.hosts[0].name)
        self.host = self.source = rig.hosts[0]
        self.state = "active"
        self.was_active = True
        self.memory_mb = self.former_mb = 64
        self.options = 3
        self.volume = False
        self.left = ""
        # An image for each time that it is shelved.
        self.shelves = [str(uuid.uuid4())]
        self.files = {""}
        self.latest = ""
        self.told: list[str] = []
        Walk.present = self
        self.set_ports([network.port(1, network.v4(11))])

    def set_ports(self, ports: list[Any]) -> None:
        self.ports = model.NetworkInfo(ports)
        self.instance.info_cache = objects.InstanceInfoCache(network_info=self.ports)

    def set_memory(self, memory_mb: int) -> None:
        self.memory_mb = memory_mb
        self.instance.flavor = self.flavor(memory_mb)

    def set_host(self, host: Host) -> None:
        self.host = host
        self.instance.host = host.name

    def set_state(self, state: str) -> None:
        self.state = state
        self.instance.vm_state = state if state != "shelved" else "shelved_offloaded"

    @staticmethod
    def flavor(memory_mb: int) -> Any:
        return nova_process.make.flavor(vcpus=1, memory_mb=memory_mb, root_gb=0)

    @property
    def devices(self) -> Any:
        """Nova's block devices of the instance."""
        mapping = [{"connection_info": self.connection(), "mount_device": "/dev/vdb"}]
        return {"block_device_mapping": mapping if self.volume else []}

    def connection(self) -> Any:
        return {"driver_volume_type": "local", "data": {"path": self.rig.device}}

    @property
    def elsewhere(self) -> Host:
        return next(host for host in self.rig.hosts if host is not self.host)

    def migration(self) -> Any:
        """Return Nova's record of the migration that it goes back from."""
        return mock.Mock(source_compute=self.source.name, dest_compute=self.host.name)

    def meta(self) -> Any:
        return nova_process.image_meta(self.instance.image_ref)

    def box(self) -> Any:
        return self.host.engine.client().containers.get(f"nova-{self.instance.uuid}")

    def sh(self, command: str) -> str:
        code, output = self.box().exec_run(["sh", "-c", command])
        assert code == 0, output
        return str(output.decode())

    def driver(self, host: Host | None = None) -> Any:
        """Start nova-compute's driver on a host."""
        host = host or self.host
        CONF.set_override("host", host.name)
        CONF.set_override("state_path", str(host.state))
        CONF.set_override("host_url", host.engine.url, group="docker")
        CONF.set_override("log_max_files", self.options, group="docker")
        virtapi = fake.FakeVirtAPI()
        return docker_driver.DockerDriver(
            virtapi,
            Parts.assemble(
                CONF,
                virtapi,
                glance=self.rig.glance,
                connections=loop_devices.Connections(),  # type: ignore[arg-type]
            ),
        )

    # What nova-compute does.

    def spawn(self, driver: Any) -> None:
        driver.spawn(
            CONTEXT, self.instance, self.meta(), [("/x", b"x")], None, {}, self.ports, self.devices
        )

    def destroy(self, driver: Any) -> None:
        driver.destroy(CONTEXT, self.instance, self.ports, self.devices)

    def start(self, driver: Any) -> None:
        driver.power_on(CONTEXT, self.instance, self.ports, self.devices)

    def stop(self, driver: Any) -> None:
        driver.power_off(self.instance)

    def reboot(self, driver: Any, kind: str = "HARD") -> None:
        driver.reboot(CONTEXT, self.instance, self.ports, kind, self.devices)

    def suspend(self, driver: Any) -> None:
        try:
            driver.suspend(CONTEXT, self.instance)
        except NotImplementedError:
            return
        raise AssertionError("it was suspended")

    def rescue(self, driver: Any) -> None:
        driver.rescue(CONTEXT, self.instance, self.ports, self.meta(), "secret", self.devices)

    def is_about_to_leave(self) -> None:
        """Note what Nova's API and scheduler do before nova-compute is asked."""
        self.was_active = self.state == "active"
        self.instance.system_metadata = {"old_vm_state": self.state}

    def leave_with_other_options(self) -> None:
        self.is_about_to_leave()
        self.options_change()

    def leave(self, driver: Any, dest: Host, memory_mb: int) -> None:
        self.left = driver.migrate_disk_and_power_off(
            CONTEXT,
            self.instance,
            dest.name,
            self.flavor(memory_mb),
            self.ports,
            self.devices,
        )

    def has_left(self, dest: Host, memory_mb: int) -> None:
        self.source, self.former_mb = self.host, self.memory_mb
        self.set_host(dest)
        self.set_memory(memory_mb)

    def finish(self, driver: Any) -> None:
        driver.finish_migration(
            CONTEXT,
            None,
            self.instance,
            self.left,
            self.ports,
            None,
            False,
            {},
            self.devices,
            self.was_active,
        )

    def is_back(self) -> None:
        self.set_host(self.source)
        self.set_memory(self.former_mb)

    def confirm(self, _driver: Any) -> None:
        at_source = self.driver(self.source)
        at_source.confirm_migration(CONTEXT, None, self.instance, self.ports)

    def leave_back(self, driver: Any) -> None:
        self.instance.task_state = task_states.RESIZE_REVERTING
        self.destroy(driver)
        self.instance.task_state = None

    def go_back(self, driver: Any) -> None:
        driver.finish_revert_migration(
            CONTEXT, self.instance, self.ports, None, self.devices, self.was_active
        )

    def settled(self) -> None:
        self.instance.system_metadata = {}
        self.source = self.host
        self.set_state("active" if self.was_active else "stopped")

    def store(self, driver: Any, identity: str) -> None:
        driver.snapshot(CONTEXT, self.instance, identity, lambda **_states: None)

    def snapshot(self, driver: Any) -> None:
        identity = str(uuid.uuid4())
        self.store(driver, identity)
        self.rig.glance.delete(CONTEXT, identity)

    def rebuild(self, driver: Any) -> None:
        self.instance.task_state = task_states.REBUILD_SPAWNING
        self.destroy(driver)
        self.spawn(driver)
        self.instance.task_state = None
        if self.state == "stopped":
            self.stop(driver)

    def shelf_id(self) -> str:
        return self.shelves[-1]

    def new_shelf(self) -> None:
        self.shelves.append(str(uuid.uuid4()))

    def shelve(self, driver: Any) -> None:
        self.stop(driver)
        self.store(driver, self.shelf_id())

    def unshelve(self, _driver: Any) -> None:
        at_dest = self.driver(self.host)
        self.instance.image_ref, ref = self.shelf_id(), self.instance.image_ref
        self.instance.task_state = task_states.SPAWNING
        # Of what nova-compute was killed in; a user rebuilds what is in an error by that image.
        self.destroy(at_dest)
        self.spawn(at_dest)
        self.instance.task_state = None
        self.instance.image_ref = ref

    def unshelved(self) -> None:
        self.set_state("active")
        with contextlib.suppress(exception.ImageNotFound):
            self.rig.glance.delete(CONTEXT, self.shelf_id())

    def new_port(self) -> None:
        number = next(self.numbers) % 90 + 100
        self.extra = network.port(number, network.v4(number))

    def attach_port(self, driver: Any) -> None:
        driver.attach_interface(CONTEXT, self.instance, None, self.extra)

    def has_extra(self) -> None:
        self.set_ports([*self.ports, self.extra])

    def detach_port(self, driver: Any) -> None:
        driver.detach_interface(CONTEXT, self.instance, self.extra)

    def has_no_extra(self) -> None:
        self.set_ports([self.ports[0]])

    def attach_volume(self, driver: Any) -> None:
        driver.attach_volume(CONTEXT, self.connection(), self.instance, "/dev/vdb")

    def detach_volume(self, driver: Any) -> None:
        driver.detach_volume(CONTEXT, self.connection(), self.instance, "/dev/vdb")

    def has_volume(self, there: bool) -> None:
        self.volume = there

    def plug(self, driver: Any) -> None:
        driver.init_host(self.host.name)
        driver.plug_vifs(self.instance, self.ports)

    def runs(self) -> bool:
        """Return whether Nova has it as running."""
        resized = self.state == "resized" and self.was_active
        return resized or self.state in ("active", "rescued")

    def resume(self, driver: Any) -> None:
        """Do what Nova does after a reboot of the host."""
        if self.state == "shelved":
            return
        self.plug(driver)
        if self.runs() and driver.get_info(self.instance).state != 1:
            driver.resume_state_on_host_boot(CONTEXT, self.instance, self.ports, None, self.devices)

    def resumed(self) -> None:
        # Nova stops a paused one that has ended by itself.
        if self.state == "paused":
            self.set_state("stopped")

    def has_rebooted(self) -> None:
        self.set_state("active")
        self.source = self.host

    # What happens to it.

    def host_reboots(self) -> None:
        self.host.engine.crash()
        self.host.engine.start()

    def workload_ends(self) -> None:
        self.box().kill()
        self.box().wait()

    def images_are_pruned(self) -> None:
        self.host.engine.client().images.prune({"dangling": False})

    def sandbox_is_removed(self) -> None:
        docker = self.host.engine.client()
        docker.containers.get(f"nova-sandbox-{self.instance.uuid}").remove(force=True)

    def options_change(self) -> None:
        self.options += 1

    def is_rebuilt(self) -> None:
        self.files = {""}

    def is_unrescued(self) -> None:
        self.set_state("active")
        self.files = {self.latest}

    def write(self) -> None:
        """Write what will be looked for."""
        place = {"active": "/kept", "rescued": "/mnt/rescue/kept"}.get(self.state)
        if place is None:
            return
        self.latest = str(next(self.numbers))
        self.sh(f"echo {self.latest} > {place}")
        self.files = {self.latest} if self.state == "active" else {*self.files, self.latest}

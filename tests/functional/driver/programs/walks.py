# SPDX-License-Identifier: Apache-2.0
"""Walks of instances through Nova's actions, with nova-compute and Docker killed on the way.

Two hosts, each with an engine of its own, and one instance at a time. Whatever has happened to it:
in the end it starts with its files and ports, is snapshotted and deleted, and nothing is left.
What Nova does with an instance when nova-compute starts again, and what its user or an operator
does where Nova leaves it to them, is here as Nova's manager has it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import datetime
import functools
import gc
import itertools
import math
import mmap
import random
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from tests.functional.driver import nova_process  # isort: skip - before anything of Nova's

import os_vif
from nova import context, exception, objects
from nova.compute import task_states
from nova.network import model
from nova.virt import fake, images
from pyroute2 import IPRoute
from vif_plug_ovs import privsep as ovs_privsep

from novadocker import privsep
from novadocker.tests import archives
from novadocker.virt.docker import driver as docker_driver
from novadocker.virt.docker.face import block_devices
from novadocker.virt.docker.parts import Parts
from tests.functional.driver import busybox, killing, loop_devices, openvswitch, own_engine
from tests.functional.driver.programs import network

CONTEXT = context.get_admin_context()
CONF = nova_process.CONF
BRIDGE = "br-int"
# One below what the engine can have: it takes one more to run.
LAYERS = (1, 60, 124)
ACTIONS_PER_WALK = 3
# How many are deleted in the state that they are in, and not after they were started.
DELETED_AS_IT_IS = 0.2
NO_SERVICE = exception.ComputeHostNotFound(host="any")
_BLOCKS = struct.Struct("2i")


def image_id(layers: int) -> str:
    """Return the id of the image of so many layers."""
    return f"11111111-2222-4333-8444-{layers:012d}"


def image(layers: int) -> bytes:
    """Pack an image of so many layers."""
    more = [archives.tar((f"layers/{number}", b"%d" % number)) for number in range(1, layers)]
    config = {"config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]}}
    return archives.Parts(layers=[busybox.root_layer(), *more], config=config).docker()


class Glance:
    """Holds images, for all processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self, _context: Any, meta: dict[str, Any]) -> dict[str, Any]:
        identity = str(uuid.uuid4())
        (self.directory / f"{identity}.name").write_text(str(meta["name"]))
        return {"id": identity}

    def update(
        self, _context: Any, identity: str, _meta: Any, data: Any = None, **_more: Any
    ) -> None:
        part = self.directory / f"{identity}.part"
        with part.open("wb") as out:
            while block := data.read(1 << 20):
                out.write(block)
        part.rename(self.directory / identity)

    def get(self, _context: Any, identity: str) -> dict[str, Any]:
        meta = {"container_format": "docker", "disk_format": "raw", "checksum": None, "size": 1}
        return {"id": identity, "owner": None, **meta}

    def get_all(self, context: Any, filters: dict[str, str]) -> list[dict[str, Any]]:
        return [
            self.get(context, path.stem)
            for path in self.directory.glob("*.name")
            if path.read_text() == filters["name"]
        ]

    def delete(self, _context: Any, identity: str) -> None:
        if not list(self.directory.glob(f"{identity}*")):
            raise exception.ImageNotFound(image_id=identity)
        for path in self.directory.glob(f"{identity}*"):
            path.unlink()

    def fetch(self, _context: Any, identity: str, path: str, _certificates: Any = None) -> None:
        Path(path).write_bytes((self.directory / identity).read_bytes())

    def left(self) -> list[str]:
        """List all images but those of tests."""
        base = {image_id(layers) for layers in LAYERS}
        return sorted(path.name for path in self.directory.iterdir() if path.name not in base)


class Devices:
    """Connects volumes that are devices of this machine."""

    def connect(self, info: dict[str, Any]) -> str:
        info["data"]["device_path"] = info["data"]["path"]
        return str(info["data"]["path"])

    def disconnect(self, info: dict[str, Any]) -> None:
        pass


@dataclasses.dataclass
class Host:
    """A host of the cloud's."""

    name: str
    engine: own_engine.OwnEngine
    state: Path


class Progress:
    """What a process has come to, known to the one that waits for its end."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _BLOCKS.size)

    def _get(self) -> tuple[int, int]:
        phases, steps = _BLOCKS.unpack(self._shared[:])
        return int(phases), int(steps)

    def reset(self) -> None:
        self._shared[:] = _BLOCKS.pack(0, 0)

    def step(self) -> int:
        """Count a step, and return how many there are."""
        phases, steps = self._get()
        self._shared[:] = _BLOCKS.pack(phases, steps + 1)
        return steps + 1

    def phase(self) -> None:
        """Count a phase that is over."""
        phases, steps = self._get()
        self._shared[:] = _BLOCKS.pack(phases + 1, steps)

    @property
    def phases(self) -> int:
        return self._get()[0]

    @property
    def steps(self) -> int:
        return self._get()[1]


@dataclasses.dataclass
class Rig:
    """What all walks share."""

    hosts: list[Host]
    switch: openvswitch.Switch
    glance: Glance
    device: str
    progress: Progress = dataclasses.field(default_factory=Progress)

    def left(self) -> dict[str, Any]:
        """List all that could be left of an instance."""
        with IPRoute() as ipr:
            links = sorted(link.get_attr("IFLA_IFNAME") for link in ipr.get_links())
        seen: dict[str, Any] = {
            "links": links,
            "ports": self.switch.ports(BRIDGE),
            "glance": self.glance.left(),
        }
        for host in self.hosts:
            docker = host.engine.client()
            volumes = host.state / "novadocker/volumes"
            seen[host.name] = {
                "containers": sorted(box.name for box in docker.containers.list(all=True)),
                "namespaces": host.engine.namespaces(),
                "images": sorted(
                    tag
                    for listed in docker.api.images()
                    for tag in listed["RepoTags"] or [listed["Id"]]
                    if not tag.startswith(("nova-glance/", "nova-docker/sandbox"))
                ),
                "mounted": [
                    place for place in loop_devices.mounted_below(volumes) if place != str(volumes)
                ],
                "spooled": [str(path) for path in (host.state / "novadocker/spool").glob("*")],
            }
        return seen


class Recovery:
    """How an instance that something was done with is brought back to a state that Nova knows."""

    # Nova, or the user, does the same again.
    AGAIN = "again"
    # An operator resets the state, and the user reboots it hard.
    REBOOT = "reboot"
    # Nova clears the task where the instance runs; otherwise as REBOOT.
    REBOOT_UNLESS_RUNNING = "reboot unless it runs"
    # Nova does nothing but to compare the power state.
    NONE = "none"
    # Nova rolls back an instance that was about to leave.
    ROLL_BACK = "roll back"
    # As REBOOT; where it is to go back to another host, an operator has it go on.
    REBOOT_OR_AGAIN = "reboot, or again elsewhere"


@dataclasses.dataclass(frozen=True)
class Phase:
    """What one host does of an action.

    :param do: what nova-compute does, with its driver
    :param done: what Nova has in its database then
    :param killed: what is done after nova-compute was killed in it
    :param failed: what is done after it has failed
    :param cut: what Nova has in its database after nova-compute was killed in it
    :param lost: what Nova has in its database after it has failed
    """

    do: Callable[[Walk, Any], None]
    done: Callable[[Walk], None] = lambda _walk: None
    killed: str = Recovery.NONE
    failed: str = Recovery.NONE
    cut: Callable[[Walk], None] = lambda _walk: None
    lost: Callable[[Walk], None] = lambda _walk: None


@dataclasses.dataclass(frozen=True)
class Action:
    """An action of Nova's API, or something that happens to a host.

    :param states: in which Nova takes it
    :param to: the state that it leads to; None for the same
    :param first: what happens before, and is not cut short
    :param wants: whether an instance has to have a second port or a volume; None for no matter
    """

    states: tuple[str, ...]
    phases: tuple[Phase, ...]
    to: str | None = None
    first: Callable[[Walk], None] = lambda _walk: None
    port: bool | None = None
    volume: bool | None = None


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
                connections=Devices(),  # type: ignore[arg-type]
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


def other_size(walk: Walk) -> int:
    """Return the memory of the flavor that it is resized to, up or down."""
    return 160 - walk.memory_mb


def resize(dest: Callable[[Walk], Host], memory_mb: Callable[[Walk], int]) -> tuple[Phase, ...]:
    return (
        Phase(
            lambda walk, driver: walk.leave(driver, dest(walk), memory_mb(walk)),
            lambda walk: walk.has_left(dest(walk), memory_mb(walk)),
            killed=Recovery.ROLL_BACK,
            failed=Recovery.REBOOT,
        ),
        Phase(
            lambda walk, _driver: walk.finish(walk.driver()),
            lambda walk: walk.set_state("resized"),
            killed=Recovery.REBOOT,
            failed=Recovery.REBOOT,
            lost=Walk.is_back,
        ),
    )


def to(state: str) -> Callable[[Walk], None]:
    return lambda walk: walk.set_state(state)


RUN, OFF, PAUSED, RESCUED, RESIZED, SHELVED = (
    "active",
    "stopped",
    "paused",
    "rescued",
    "resized",
    "shelved",
)
AGAIN = {"killed": Recovery.AGAIN, "failed": Recovery.AGAIN}
REBOOT = {"killed": Recovery.REBOOT, "failed": Recovery.REBOOT}
UNLESS = {"killed": Recovery.REBOOT_UNLESS_RUNNING, "failed": Recovery.REBOOT_UNLESS_RUNNING}
HERE: Callable[[Walk], Host] = lambda walk: walk.host  # noqa: E731
ANY = (RUN, OFF, PAUSED, RESCUED, RESIZED)
UNSHELVE = Phase(Walk.unshelve, Walk.unshelved, **AGAIN)

ACTIONS: dict[str, Action] = {
    "start": Action((OFF,), (Phase(Walk.start, to(RUN), **AGAIN),), RUN),
    "stop": Action((RUN,), (Phase(Walk.stop, to(OFF), **AGAIN),), OFF),
    "reboot soft": Action((RUN,), (Phase(lambda w, d: w.reboot(d, "SOFT"), **UNLESS),)),
    "reboot hard": Action((RUN, OFF, PAUSED), (Phase(Walk.reboot, to(RUN), **UNLESS),), RUN),
    "reboot with other options": Action(
        (RUN, OFF, PAUSED),
        (Phase(Walk.reboot, to(RUN), **REBOOT),),
        RUN,
        first=Walk.options_change,
    ),
    "pause": Action(
        (RUN,), (Phase(lambda w, d: d.pause(w.instance), to(PAUSED), **UNLESS),), PAUSED
    ),
    "unpause": Action(
        (PAUSED,), (Phase(lambda w, d: d.unpause(w.instance), to(RUN), **AGAIN),), RUN
    ),
    "suspend": Action((RUN,), (Phase(Walk.suspend),)),
    "rescue": Action((RUN, OFF), (Phase(Walk.rescue, to(RESCUED), **REBOOT),), RESCUED),
    "unrescue": Action(
        (RESCUED,),
        (Phase(lambda w, d: d.unrescue(CONTEXT, w.instance), Walk.is_unrescued, **REBOOT),),
        RUN,
    ),
    "resize": Action((RUN, OFF), resize(HERE, other_size), RESIZED, first=Walk.is_about_to_leave),
    "resize with other options": Action(
        (RUN, OFF), resize(HERE, other_size), RESIZED, first=Walk.leave_with_other_options
    ),
    "migrate": Action(
        (RUN, OFF),
        resize(lambda w: w.elsewhere, lambda w: w.memory_mb),
        RESIZED,
        first=Walk.is_about_to_leave,
    ),
    "confirm": Action((RESIZED,), (Phase(Walk.confirm, Walk.settled, **REBOOT),), RUN),
    "revert": Action(
        (RESIZED,),
        (
            Phase(
                Walk.leave_back,
                Walk.is_back,
                killed=Recovery.REBOOT_OR_AGAIN,
                failed=Recovery.REBOOT_OR_AGAIN,
            ),
            Phase(lambda w, _d: w.go_back(w.driver()), Walk.settled, **REBOOT),
        ),
        RUN,
    ),
    "snapshot": Action((RUN, OFF, PAUSED), (Phase(Walk.snapshot),)),
    "rebuild": Action((RUN, OFF), (Phase(Walk.rebuild, Walk.is_rebuilt, **AGAIN),)),
    "shelve": Action(
        (RUN, OFF, PAUSED),
        (
            Phase(Walk.shelve, to(OFF), killed=Recovery.REBOOT, failed=Recovery.NONE),
            Phase(Walk.destroy, to(SHELVED), **AGAIN),
        ),
        SHELVED,
        first=Walk.new_shelf,
    ),
    "unshelve": Action((SHELVED,), (UNSHELVE,), RUN),
    "unshelve elsewhere": Action(
        (SHELVED,), (UNSHELVE,), RUN, first=lambda w: w.set_host(w.elsewhere)
    ),
    "attach a port": Action(
        (RUN, OFF, PAUSED),
        (Phase(Walk.attach_port, Walk.has_extra, cut=Walk.has_extra),),
        first=Walk.new_port,
        port=False,
    ),
    "detach a port": Action(
        (RUN, OFF, PAUSED), (Phase(Walk.detach_port, Walk.has_no_extra),), port=True
    ),
    "attach a volume": Action(
        (RUN, OFF, PAUSED),
        (Phase(Walk.attach_volume, lambda w: w.has_volume(True)),),
        volume=False,
    ),
    "detach a volume": Action(
        (RUN, OFF, PAUSED),
        (Phase(Walk.detach_volume, lambda w: w.has_volume(False)),),
        volume=True,
    ),
    "the workload ends": Action(
        (RUN,), (Phase(Walk.stop, to(OFF), **AGAIN),), OFF, first=Walk.workload_ends
    ),
    "nova-compute starts again": Action(ANY, (Phase(Walk.plug, **AGAIN),)),
    "the host reboots": Action(
        (*ANY, SHELVED),
        (Phase(Walk.resume, Walk.resumed, **AGAIN),),
        first=Walk.host_reboots,
    ),
    "images are pruned": Action((*ANY, SHELVED), (), first=Walk.images_are_pruned),
    "its sandbox is removed": Action(
        (RUN, OFF), (Phase(Walk.reboot, to(RUN), **REBOOT),), RUN, first=Walk.sandbox_is_removed
    ),
}
DELETE = Action((*ANY, SHELVED), (Phase(Walk.destroy, **AGAIN),))
SPAWN = Action((), (Phase(Walk.spawn),))
# What leads to each state.
WAYS = {
    RUN: (),
    OFF: ("stop",),
    PAUSED: ("pause",),
    RESCUED: ("rescue",),
    RESIZED: ("resize",),
    SHELVED: ("shelve",),
}
# What brings an instance back to where it runs.
BACK = {
    OFF: ("start",),
    PAUSED: ("unpause",),
    RESCUED: ("unrescue",),
    RESIZED: ("confirm", "revert"),
    SHELVED: ("unshelve",),
}


def possible_pairs() -> set[tuple[str, str]]:
    """Return each action that can come after another one."""
    pairs = set()
    for first, before in ACTIONS.items():
        # Nova stops what was paused when its host went down.
        kept = set(before.states) - ({PAUSED} if first == "the host reboots" else set())
        for state in (before.to,) if before.to else kept:
            for second, after in ACTIONS.items():
                undone = (first, second) in (
                    ("attach a port", "attach a port"),
                    ("detach a port", "detach a port"),
                    ("attach a volume", "attach a volume"),
                    ("detach a volume", "detach a volume"),
                )
                if state in after.states and not undone:
                    pairs.add((first, second))
    return pairs


def runs(driver: Any, walk: Walk) -> bool:
    """Return whether an instance runs; one that is not there does not."""
    with contextlib.suppress(exception.InstanceNotFound):
        return bool(driver.get_info(walk.instance).state == 1)
    return False


class Walks:
    """All walks, and what they have come by."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.rng = random.Random(seed)
        self.pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        self.triples: set[tuple[str, ...]] = set()
        self.kills: collections.Counter[tuple[str, str]] = collections.Counter()
        self.steps: dict[str, int] = {}
        self.stranded: list[str] = []

    def prepare(self, host: Host) -> None:
        """Start nova-compute on a host for the first time."""
        Walk(self.rig, 1, self.rng).driver(host).init_host(host.name)

    def walk(self, layers: int) -> None:
        """Take one instance through some actions, and see that it is whole in the end."""
        walk = Walk(self.rig, layers, self.rng)
        before = self.rig.left()
        try:
            self._act(walk, "spawn", SPAWN, None)
            walk.instance.launched_at = datetime.datetime.now(datetime.UTC)
            self._through(walk)
            if self.rng.random() > DELETED_AS_IT_IS:
                self._whole(walk)
            self._act(walk, "delete", DELETE, self._kill())
            self._deleted(walk, before)
        except BaseException as err:
            told = f"{layers} layers: {', '.join(walk.told)}: {type(err).__name__}: {err}"
            print(f"STRANDED: {told}", flush=True)
            self.stranded.append(told)
            if not isinstance(err, Exception):
                raise
            self._sweep(walk)
        print(f"{layers} layers: {', '.join(walk.told)}", flush=True)

    def _through(self, walk: Walk) -> None:
        # Those that were come by least.
        fewest = min(self._seen(known) for known in ACTIONS)
        name = self.rng.choice([known for known in sorted(ACTIONS) if self._seen(known) == fewest])
        for step in self._way(walk, ACTIONS[name]):
            self._act(walk, step, ACTIONS[step], None)
        done: list[str] = []
        for number in range(ACTIONS_PER_WALK):
            walk.write()
            self._act(walk, name, ACTIONS[name], self._kill())
            if done:
                self.pairs[done[-1], name] += 1
            done.append(name)
            if number < ACTIONS_PER_WALK - 1:
                name = self._next(walk, name)
        self.triples.add(tuple(done))

    def _kill(self) -> str | None:
        return self.rng.choice((None, "compute", "engine"))

    def _seen(self, first: str) -> int:
        return sum(count for pair, count in self.pairs.items() if pair[0] == first)

    def _way(self, walk: Walk, action: Action) -> list[str]:
        """Return what leads an instance that runs to where an action can be taken."""
        way = ["attach a port"] if action.port else []
        way += ["attach a volume"] if action.volume else []
        return [*way, *WAYS[self.rng.choice(action.states)]]

    def _next(self, walk: Walk, last: str) -> str:
        able = [name for name, action in sorted(ACTIONS.items()) if self._takes(walk, action)]
        fewest = min(self.pairs[last, name] for name in able)
        return self.rng.choice([name for name in able if self.pairs[last, name] == fewest])

    @staticmethod
    def _takes(walk: Walk, action: Action) -> bool:
        return (
            walk.state in action.states
            and action.port in (None, len(walk.ports) > 1)
            and action.volume in (None, walk.volume)
        )

    def _act(self, walk: Walk, name: str, action: Action, kill: str | None) -> None:
        """Do something with an instance; where it is cut short, bring the instance back."""
        action.first(walk)
        at = self.rng.randint(1, self.steps.get(name, 8)) if kill else 0
        walk.told.append(f"{name} ({walk.state}{f', {kill} killed at {at}' if kill else ''})")
        engine = walk.host.engine
        self.rig.progress.reset()

        def work() -> None:
            happens = engine.kill if kill == "engine" else killing.die
            killing.at_step(at, happens, taken=self.rig.progress.step)
            for phase in action.phases:
                phase.do(walk, walk.driver())
                phase.done(walk)
                self.rig.progress.phase()

        code = killing.in_child(work)
        is_killed = 0 < at <= self.rig.progress.steps
        if is_killed:
            self.kills[name, str(kill)] += 1
            if kill == "engine":
                engine.kill()
                engine.start()
            else:
                # What the engine was asked for it does, whoever is dead.
                time.sleep(0.3)
        for phase in action.phases[: self.rig.progress.phases]:
            phase.done(walk)
        if self.rig.progress.phases == len(action.phases):
            self.steps[name] = max(self.steps.get(name, 1), self.rig.progress.steps)
            return
        assert is_killed, f"{name} has failed with {code}, and nothing was killed"
        left = action.phases[self.rig.progress.phases :]
        self._recover(walk, left, kill)

    def _recover(self, walk: Walk, phases: tuple[Phase, ...], kill: str | None) -> None:
        recovery = phases[0].failed if kill == "engine" else phases[0].killed
        (phases[0].lost if kill == "engine" else phases[0].cut)(walk)
        if recovery == Recovery.REBOOT_OR_AGAIN:
            here = walk.source is walk.host
            recovery = Recovery.REBOOT if here else Recovery.AGAIN
        walk.told.append(recovery)

        def recover() -> None:
            driver = walk.driver()
            if recovery == Recovery.AGAIN:
                driver.init_host(walk.host.name)
                for phase in phases:
                    phase.do(walk, walk.driver())
                    phase.done(walk)
                return
            if recovery in (Recovery.REBOOT, Recovery.REBOOT_UNLESS_RUNNING) and kill == "compute":
                # Nova has it in the middle of something.
                walk.instance.task_state = task_states.REBOOTING
            with contextlib.suppress(exception.VirtualInterfacePlugException):
                walk.plug(driver)
            walk.instance.task_state = None
            if recovery == Recovery.ROLL_BACK:
                walk.was_active = walk.state == "active"
                walk.go_back(driver)
            elif recovery == Recovery.REBOOT or (
                recovery == Recovery.REBOOT_UNLESS_RUNNING and not runs(driver, walk)
            ):
                walk.reboot(driver)
            elif recovery == Recovery.NONE:
                state = driver.get_info(walk.instance).state
                if (walk.state == "stopped") != (state == 4):
                    driver.power_off(walk.instance)

        code = killing.in_child(recover)
        assert code == 0, f"it is not brought back ({recovery}): {code}"
        if recovery == Recovery.AGAIN:
            for phase in phases:
                phase.done(walk)
        elif recovery in (Recovery.REBOOT, Recovery.REBOOT_UNLESS_RUNNING):
            walk.has_rebooted()
        elif recovery == Recovery.NONE and walk.state != "shelved":
            status = walk.box().status
            if status not in ("running", "paused"):
                walk.set_state("stopped")

    def _whole(self, walk: Walk) -> None:
        """See that an instance is what it should be: it runs, with its files and ports."""
        while walk.state != "active":
            name = self.rng.choice(BACK[walk.state])
            self._act(walk, name, ACTIONS[name], None)

        def state() -> None:
            assert walk.driver().get_info(walk.instance).state == 1

        assert killing.in_child(state) == 0, "it does not run"
        told = walk.sh("cat /kept 2>/dev/null; ip -4 addr")
        kept = told.partition("\n")[0] if not told.startswith("1: ") else ""
        assert kept in walk.files, f"its files are {kept!r}, and not of {walk.files}"
        for port in walk.ports:
            address = port["network"]["subnets"][0]["ips"][0]["address"]
            assert f"{address}/24" in told, told
        if walk.volume:
            walk.sh("test -w /volumes/vdb && grep -q ' /volumes/vdb ' /proc/mounts")
        memory = walk.box().attrs["HostConfig"]["Memory"]
        assert memory == walk.memory_mb << 20, f"{memory} is not {walk.memory_mb} MiB"
        self._act(walk, "snapshot", ACTIONS["snapshot"], None)

    def _deleted(self, walk: Walk, before: dict[str, Any]) -> None:
        for host in self.rig.hosts:
            if host is not walk.host:
                self._reap(walk, host)
        # What nova-compute removes when it starts: images of snapshots that were cut short.
        for name in walk.rig.glance.left():
            if any(shelf in name for shelf in walk.shelves):
                (walk.rig.glance.directory / name).unlink()
        now = self.rig.left()
        wrong = {what: (before[what], now[what]) for what in before if before[what] != now[what]}
        assert not wrong, f"left: {wrong}"
        for host in self.rig.hosts:
            docker = host.engine.client()
            for shelf in walk.shelves:
                for image in docker.images.list(f"nova-glance/{shelf}"):
                    docker.images.remove(image.id, force=True)

    def _reap(self, walk: Walk, host: Host) -> None:
        """Do what Nova does with instances that a host has and that are deleted."""

        def reap() -> None:
            driver = walk.driver(host)
            driver.init_host(host.name)
            if walk.instance.uuid in driver.list_instance_uuids():
                driver.destroy(CONTEXT, walk.instance, walk.ports, {"block_device_mapping": []})

        assert killing.in_child(reap) == 0, f"{host.name} has something of it"

    def _sweep(self, walk: Walk) -> None:
        """Take away what a stranded instance has left, so that others are not judged by it."""
        for host in self.rig.hosts:

            def sweep(host: Host = host) -> None:
                driver = walk.driver(host)
                driver.init_host(host.name)
                driver.destroy(CONTEXT, walk.instance, walk.ports, walk.devices)

            killing.in_child(sweep)
            for box in host.engine.client().containers.list(all=True):
                box.remove(force=True)
        for name in self.rig.glance.left():
            (self.rig.glance.directory / name).unlink()

    def figures(self) -> str:
        """Tell what was come by."""
        possible = possible_pairs()
        kills = collections.Counter(kind for _, kind in self.kills.elements())
        return (
            f"{len(possible & set(self.pairs))} of {len(possible)} pairs and {len(self.triples)} "
            f"triples of {len(ACTIONS)} actions; nova-compute killed {kills['compute']} times, "
            f"Docker {kills['engine']}; {len(self.stranded)} instances stranded"
        )


@contextlib.contextmanager
def rig_running() -> Iterator[Rig]:
    """Run two hosts."""
    with contextlib.ExitStack() as entered:
        place = Path(entered.enter_context(tempfile.TemporaryDirectory(prefix="novadocker-walk-")))
        switch = entered.enter_context(openvswitch.running(BRIDGE))
        hosts = []
        for letter in "ab":
            state = place / letter
            state.mkdir()
            engine = entered.enter_context(own_engine.running())
            hosts.append(Host(f"novadocker-test-walk-{letter}", engine, state))
        nova_process.set_up(hosts[0].name, host_url=hosts[0].engine.url, stop_timeout_cap=0)
        CONF.set_override("volume_file_systems", ["ext4"], group="docker")
        os_vif.initialize()
        for privileges in (privsep.ctx, privsep.volumes_ctx, ovs_privsep.vif_plug):
            # Each step is a process of its own that ends soon: helpers would only cost time.
            privileges.set_client_mode(False)
        (place / "glance").mkdir()
        glance = Glance(place / "glance")
        images.fetch = glance.fetch
        # There is no database of Nova's.
        for target, name, answer in (
            (block_devices, "known", lambda *_: Walk.present.devices),
            (objects.Migration, "get_by_instance_and_status", lambda *_: Walk.present.migration()),
            (objects.Instance, "get_by_uuid", lambda *_: Walk.present.instance),
            (objects.Service, "get_by_compute_host", mock.Mock(side_effect=NO_SERVICE)),
        ):
            entered.enter_context(mock.patch.object(target, name, answer))
        loops = loop_devices.LoopDevices()
        entered.callback(loops.close)
        rig = Rig(hosts, switch, glance, loops.make(16 << 20))
        entered.callback(_unmount, place)
        yield rig


def _unmount(place: Path) -> None:
    for target in reversed(loop_devices.mounted_below(place)):
        subprocess.run(["umount", "--lazy", target], check=False)


def run(layers: tuple[int, ...], count: int, seed: int, budget_s: float) -> Walks:
    with rig_running() as rig:
        for number in layers:
            (rig.glance.directory / image_id(number)).write_bytes(image(number))
        walks = Walks(rig, seed)
        for host in rig.hosts:
            assert killing.in_child(functools.partial(walks.prepare, host)) == 0
        # Whatever a collection touches each child would have to copy.
        gc.collect()
        gc.freeze()
        began = time.monotonic()
        for number in range(count):
            if time.monotonic() - began > budget_s:
                print(f"the time is over after {number} walks")
                break
            walks.walk(layers[number % len(layers)])
        return walks


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", default=",".join(map(str, LAYERS)))
    parser.add_argument("--walks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget-s", type=float, default=math.inf)
    arguments = parser.parse_args()
    layers = tuple(int(number) for number in arguments.layers.split(","))
    walks = run(layers, arguments.walks, arguments.seed, arguments.budget_s)
    print(f"figures: {walks.figures()}", flush=True)
    return 1 if walks.stranded else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Bringing the lab up, in order, and taking it down without a trace."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from lab import controlplane
from lab.errors import HostError
from lab.hosts import containers, networks, ssh
from lab.hosts.access import Host, lab_hosts
from lab.images import layers, wheelhouse
from lab.images.layers import Layer
from lab.images.snapshots import Snapshots
from lab.images.wheelhouse import Lock, Project, Wheel
from lab.machine import engine, parallel
from lab.machine.progress import Progress
from lab.settings import DEFAULT_HOSTS, HostSettings, LabSettings

# On the controller of a lab that was brought up to the end, and may have been used since.
USED = "/etc/novadocker-lab/used"
Hosts = Mapping[str, Host]


class Stage(Protocol):
    """What a lab is brought up for: it is handed the cloud, and the lab imports nothing of it."""

    @property
    def projects(self) -> Sequence[Project]:
        """Return the projects of the checkout whose wheels the hosts find in the wheelhouse."""

    @property
    def locks(self) -> Sequence[Lock]:
        """Return the locks of the checkout whose files hosts find in the wheelhouse."""

    @property
    def layers(self) -> Sequence[Layer]:
        """Return the layers of images, each on what hosts of a role boot otherwise."""

    @property
    def next_step(self) -> str:
        """Return what the operator does with a blank host, in words."""

    def set_up(
        self,
        settings: LabSettings,
        progress: Progress,
        controller: Host,
        wheels: Mapping[str, Wheel],
    ) -> None:
        """Put onto a cloud that works what the stage needs; what is there already is kept.

        :param wheels: those of the stage's projects, by name
        """

    def prepare_compute(self, host: Host) -> None:
        """Put onto a compute host, before its services start, what its site has there."""

    def prepare_blank(self, host: Host, controller: Host) -> None:
        """Put onto a blank host what its site would have put there."""


class BareStage:
    """The cloud alone: nothing is put onto it."""

    projects: Sequence[Project] = ()
    locks: Sequence[Lock] = ()
    layers: Sequence[Layer] = ()
    next_step = "nothing is set up on it"

    def set_up(self, *_: object) -> None:
        """Leave the cloud as it is."""

    def prepare_compute(self, *_: object) -> None:
        """Leave the host as it is."""

    def prepare_blank(self, *_: object) -> None:
        """Leave the host as it is."""


def build(settings: LabSettings, progress: Progress, stage: Stage) -> None:
    """Build what hosts are made of: their images, and the wheels of the stage's projects."""
    _wheels(settings, progress, stage, _images(settings, progress, stage))


def up(settings: LabSettings, progress: Progress, stage: Stage) -> None:
    """Bring the whole lab up; what is there already is left as it is."""
    built = _images(settings, progress, stage)
    usual = dataclasses.replace(settings, hosts=DEFAULT_HOSTS)
    snapshots = Snapshots(usual, built)
    with concurrent.futures.ThreadPoolExecutor(1) as aside:
        wheels = aside.submit(_wheels, settings, progress, stage, built)
        ready = snapshots.complete()
        hosts = lab_hosts(settings)

        def image(host: HostSettings) -> str:
            kept = ready and host in usual.hosts
            return snapshots.reference(host) if kept else built.for_host(host)

        with progress.step(f"boot {', '.join(hosts)}"):
            boot(settings, hosts, image)
        fresh = not ready and settings == usual and not _used(settings, hosts)
        controlplane.start(hosts, settings, progress, stage.prepare_compute)
        stage.set_up(settings, progress, hosts[settings.controller.name], wheels.result())
    if fresh:
        _snapshot(settings, progress, hosts, snapshots, stage)
    controlplane.start_dashboard(hosts[settings.controller.name])
    hosts[settings.controller.name].put(USED, "")


def boot(settings: LabSettings, hosts: Hosts, image: Callable[[HostSettings], str]) -> None:
    """Create and start the hosts of the plan, all at the same time, and wait until they are up.

    :param image: gives the image of a host that has no container yet
    """
    networks.ensure(settings)

    def boot_one(planned: HostSettings) -> None:
        host = hosts[planned.name]
        state = host.state()
        if state == "paused":
            raise HostError(f"{host.name} is paused: docker unpause {host.container}")
        if state == "absent":
            containers.create(settings, planned, image(planned))
        if state != "running":
            host.start()
        host.wait_booted()

    parallel.each(settings.hosts, boot_one)
    ssh.set_up(settings, hosts)


def _images(settings: LabSettings, progress: Progress, stage: Stage) -> layers.Images:
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    with progress.step("Docker engine of this machine"):
        engine.ensure(settings.log_dir / "engine.log")
    built = layers.Images(settings, progress, stage.layers)
    built.ensure()
    return built


def _wheels(
    settings: LabSettings, progress: Progress, stage: Stage, built: layers.Images
) -> dict[str, Wheel]:
    with progress.step("wheels of this checkout"):
        wheelhouse.fetch(settings, built.reference("openstack"), stage.locks)
        return wheelhouse.build(settings, stage.projects)


def _used(settings: LabSettings, hosts: Hosts) -> bool:
    controller = hosts[settings.controller.name]
    return controller.run(["test", "-e", USED], check=False).returncode == 0


def _snapshot(
    settings: LabSettings, progress: Progress, hosts: Hosts, snapshots: Snapshots, stage: Stage
) -> None:
    """Keep the state of a lab that was never used; it is shut down for that, and booted again."""
    with progress.step("keep this state for the next start"):
        parallel.each(hosts.values(), lambda host: host.stop())
        snapshots.take()
    with progress.step(f"boot {', '.join(hosts)}"):
        boot(settings, hosts, snapshots.reference)
    controlplane.start(hosts, settings, progress, stage.prepare_compute)


def add_host(settings: LabSettings, progress: Progress, name: str, stage: Stage) -> Host:
    """Start one more, blank host: an operating system that nobody configured.

    :param name: its host name
    :raises HostError: when the name is taken or the lab is down
    """
    there = containers.existing(settings)
    if settings.controller not in there:
        raise HostError("the lab is down: run the lab's up first")
    if name in [x.name for x in there] or settings.host(name):
        raise HostError(f"there is a host {name} already: choose another name")
    controller = Host(settings.controller.name, settings)
    # Refuses a cloud of another networking than a pool's template sets up.
    controlplane.provision.controller_cloud(controller)
    planned = HostSettings(name, "blank", settings.free_address({x.address for x in there}))
    built = layers.Images(settings, progress, stage.layers)
    built.ensure()
    host = Host(name, settings)
    with progress.step(f"boot {name} ({planned.address})"):
        containers.create(settings, planned, built.for_host(planned))
        host.start()
        host.wait_booted()
        ssh.set_up(settings, {x.name: Host(x.name, settings) for x in [*there, planned]})
        stage.prepare_blank(host, controller)
    return host


def down(settings: LabSettings, progress: Progress, *, purge: bool) -> None:
    """Remove hosts, volumes and networks.

    :param purge: remove images and the cache as well
    """
    if engine.running_version() is None:
        progress.say("The Docker engine does not run: there is nothing to take down.")
    else:
        with progress.step("remove hosts and networks"):
            containers.remove(settings, [host.name for host in containers.existing(settings)])
            layers.remove_builders(settings)
            networks.remove(settings)
        if purge:
            with progress.step("remove images"):
                layers.remove(layers.known(settings))
    if purge:
        with progress.step("remove the cache"):
            shutil.rmtree(settings.cache_dir, ignore_errors=True)

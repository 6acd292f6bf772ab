# SPDX-License-Identifier: Apache-2.0
"""Bringing the lab up, in order, and taking it down without a trace."""

from __future__ import annotations

import concurrent.futures
import shutil
from collections.abc import Callable, Mapping

from lab import (
    bundle,
    containers,
    controlplane,
    engine,
    enrolment,
    images,
    network,
    nodes,
    parallel,
    ssh,
    wheelhouse,
)
from lab.controlplane import blank
from lab.errors import NodeError
from lab.progress import Progress
from lab.settings import HostSettings, LabSettings
from lab.snapshots import Snapshots

# On the controller of a lab that was brought up to the end, and may have been used since.
USED = "/etc/novadocker-lab/used"
Nodes = Mapping[str, nodes.Node]


def build(settings: LabSettings, progress: Progress) -> None:
    """Build what hosts are made of: their images, and the wheels of this checkout."""
    _wheels(settings, progress, _images(settings, progress))


def up(settings: LabSettings, progress: Progress) -> None:
    """Bring the whole lab up; what is there already is left as it is."""
    built = _images(settings, progress)
    snapshots = Snapshots(settings, built)
    with concurrent.futures.ThreadPoolExecutor(1) as aside:
        wheels = aside.submit(_wheels, settings, progress, built)
        ready = snapshots.complete()
        lab_nodes = nodes.lab_nodes(settings)
        with progress.step(f"boot {', '.join(lab_nodes)}"):
            boot(settings, lab_nodes, snapshots.reference if ready else built.for_host)
        fresh = not ready and not _used(settings, lab_nodes)
        controlplane.start(lab_nodes, settings, progress)
        _configure(settings, progress, lab_nodes, wheels.result()[wheelhouse.BUNDLE.name])
    if fresh:
        _snapshot(settings, progress, lab_nodes, snapshots)
    lab_nodes[settings.controller.name].put(USED, "")


def boot(settings: LabSettings, lab_nodes: Nodes, image: Callable[[HostSettings], str]) -> None:
    """Create and start the hosts of the plan, all at the same time, and wait until they are up.

    :param image: gives the image of a host that has no container yet
    """
    network.ensure(settings)

    def boot_one(host: HostSettings) -> None:
        node = lab_nodes[host.name]
        state = node.state()
        if state == "paused":
            raise NodeError(f"{node.name} is paused: docker unpause {node.container}")
        if state == "absent":
            containers.create(settings, host, image(host))
        if state != "running":
            node.start()
        node.wait_booted()

    parallel.each(settings.hosts, boot_one)
    ssh.set_up(settings, lab_nodes)


def _images(settings: LabSettings, progress: Progress) -> images.Images:
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    with progress.step("Docker engine of this machine"):
        engine.ensure(settings.log_dir / "engine.log")
    built = images.Images(settings, progress)
    built.ensure()
    return built


def _wheels(
    settings: LabSettings, progress: Progress, built: images.Images
) -> dict[str, wheelhouse.Wheel]:
    with progress.step("wheels of this checkout"):
        wheelhouse.fetch(settings, built.reference("openstack"))
        return wheelhouse.build(settings)


def _used(settings: LabSettings, lab_nodes: Nodes) -> bool:
    controller = lab_nodes[settings.controller.name]
    return controller.run(["test", "-e", USED], check=False).returncode == 0


def _configure(
    settings: LabSettings, progress: Progress, lab_nodes: Nodes, wheel: wheelhouse.Wheel
) -> None:
    controller = lab_nodes[settings.controller.name]

    def take_up() -> None:
        with progress.step("load actions and workbook into Mistral"):
            bundle.take_up(settings, controller, wheel)

    def enrol() -> None:
        with progress.step("enrol the hosts"):
            enrolment.enrol(settings, controller, wheel)

    with progress.step("install the bundle on the controller"):
        is_new = bundle.install(settings, controller, wheel)
    parallel.each([take_up, enrol] if is_new else [enrol], lambda work: work())


def _snapshot(
    settings: LabSettings, progress: Progress, lab_nodes: Nodes, snapshots: Snapshots
) -> None:
    """Keep the state of a lab that was never used; it is shut down for that, and booted again."""
    with progress.step("keep this state for the next start"):
        parallel.each(lab_nodes.values(), lambda node: node.stop())
        snapshots.take()
    with progress.step(f"boot {', '.join(lab_nodes)}"):
        boot(settings, lab_nodes, snapshots.reference)
    controlplane.start(lab_nodes, settings, progress)


def add_host(settings: LabSettings, progress: Progress, name: str) -> nodes.Node:
    """Start one more, blank host: an operating system that nobody configured.

    :param name: its host name
    :raises NodeError: when the name is taken or the lab is down
    """
    there = containers.existing(settings)
    if settings.controller not in there:
        raise NodeError("the lab is down: run the lab's up first")
    if name in [host.name for host in there] or settings.host(name):
        raise NodeError(f"there is a host {name} already: choose another name")
    # Refuses a cloud of another networking than a pool's template sets up.
    controlplane.provision.controller_cloud(nodes.Node(settings.controller.name, settings))
    host = HostSettings(name, "blank", settings.free_address({x.address for x in there}))
    built = images.Images(settings, progress)
    built.ensure()
    node = nodes.Node(name, settings)
    with progress.step(f"boot {name} ({host.address})"):
        containers.create(settings, host, built.for_host(host))
        node.start()
        node.wait_booted()
        ssh.set_up(settings, {x.name: nodes.Node(x.name, settings) for x in [*there, host]})
        blank.prepare(node, nodes.Node(settings.controller.name, settings))
    return node


def down(settings: LabSettings, progress: Progress, *, purge: bool) -> None:
    """Remove hosts, volumes and networks.

    :param purge: remove images and the cache as well
    """
    if engine.running_version() is None:
        progress.say("The Docker engine does not run: there is nothing to take down.")
    else:
        with progress.step("remove hosts and networks"):
            containers.remove(settings, [host.name for host in containers.existing(settings)])
            images.remove_builders(settings)
            network.remove(settings)
        if purge:
            with progress.step("remove images"):
                images.remove(images.known(settings))
    if purge:
        with progress.step("remove the cache"):
            shutil.rmtree(settings.cache_dir, ignore_errors=True)

# SPDX-License-Identifier: Apache-2.0
"""Bringing the lab up, in order, and taking it down without a trace."""

from __future__ import annotations

import shutil

from lab import containers, engine, images, network, nodes, parallel, ssh
from lab.errors import NodeError
from lab.progress import Progress
from lab.settings import HostSettings, LabSettings


def up(settings: LabSettings, progress: Progress) -> None:
    """Bring the whole lab up; what is there already is left as it is."""
    prepare(settings, progress)
    built = images.Images(settings, progress)
    built.ensure()
    boot(settings, progress, built)


def prepare(settings: LabSettings, progress: Progress) -> None:
    """Make sure of the engine and the folders."""
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    with progress.step("Docker engine of this machine"):
        engine.ensure(settings.log_dir / "engine.log")


def boot(settings: LabSettings, progress: Progress, built: images.Images) -> None:
    """Create and start every host, all at the same time, and wait until they are up."""
    network.ensure(settings)
    lab_nodes = nodes.lab_nodes(settings)

    def boot_one(node: nodes.Node) -> None:
        host = settings.host(node.name)
        state = node.state()
        if state == "absent":
            if host is None:
                raise NodeError(f"{node.name} is not a host of the lab")
            containers.create(settings, host, built.for_role(host.role))
        if state == "paused":
            raise NodeError(f"{node.name} is paused: docker unpause {node.container}")
        if state != "running":
            node.start()
        node.wait_booted()

    with progress.step(f"boot {', '.join(lab_nodes)}"):
        parallel.each(lab_nodes.values(), boot_one)
        ssh.set_up(settings, lab_nodes)


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
    host = HostSettings(name, "blank", settings.free_address({x.address for x in there}))
    built = images.Images(settings, progress)
    node = nodes.Node(name, settings)
    with progress.step(f"boot {name} ({host.address})"):
        containers.create(settings, host, built.for_role("blank"))
        node.start()
        node.wait_booted()
        ssh.set_up(settings, {x.name: nodes.Node(x.name, settings) for x in [*there, host]})
    return node


def down(settings: LabSettings, progress: Progress, *, purge: bool) -> None:
    """Remove hosts, volumes and networks.

    :param purge: remove images and the cache as well
    """
    if engine.running_version() is None:
        progress.say("The Docker engine does not run: there is nothing to take down.")
        return
    with progress.step("remove hosts and networks"):
        containers.remove(settings, [host.name for host in containers.existing(settings)])
        network.remove(settings)
    if purge:
        with progress.step("remove images and cache"):
            images.remove(images.known(settings))
            shutil.rmtree(settings.cache_dir, ignore_errors=True)

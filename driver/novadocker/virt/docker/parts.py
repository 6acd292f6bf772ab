# SPDX-License-Identifier: Apache-2.0
"""What the driver is made of, assembled in one place, in the order of dependence."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

from nova.image import glance as nova_glance
from oslo_utils import units

from novadocker.virt.docker.engine.client import Engine
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.engine.events import Watcher
from novadocker.virt.docker.engine.isolation import Isolation
from novadocker.virt.docker.engine.kept import Kept
from novadocker.virt.docker.engine.sandbox import Sandboxes
from novadocker.virt.docker.engine.terminals import Terminals
from novadocker.virt.docker.host.devices import Devices
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.images.cache import ImageCache
from novadocker.virt.docker.images.snapshots import Snapshots
from novadocker.virt.docker.images.spool import Spool
from novadocker.virt.docker.images.store import Images
from novadocker.virt.docker.instances.consoles import Consoles
from novadocker.virt.docker.instances.contents import Contents
from novadocker.virt.docker.instances.life import Instances
from novadocker.virt.docker.instances.migrations import Migrations
from novadocker.virt.docker.instances.networks import Networks
from novadocker.virt.docker.instances.passwords import Passwords
from novadocker.virt.docker.instances.rescues import Rescues
from novadocker.virt.docker.instances.specification import Settings
from novadocker.virt.docker.network.waiting import Waiting
from novadocker.virt.docker.network.wiring import Wiring
from novadocker.virt.docker.volumes import mounted
from novadocker.virt.docker.volumes.attachments import Attachments
from novadocker.virt.docker.volumes.brick import Connections
from novadocker.virt.docker.volumes.mounted import Volumes
from novadocker.virt.docker.volumes.shares import Shares


@dataclasses.dataclass
class Parts:
    """The driver's parts; each has those that it uses from its constructor.

    :ivar glance: Nova's client of Glance
    :ivar watcher: follows the engine's events; None until the host is ready
    """

    facts: HostFacts
    glance: Any
    engine: Engine
    devices: Devices
    volumes: Volumes
    shares: Shares
    workloads: Containers
    kept: Kept
    sandboxes: Sandboxes
    attachments: Attachments
    wiring: Wiring
    waiting: Waiting
    spool: Spool
    images: Images
    cache: ImageCache
    snapshots: Snapshots
    contents: Contents
    passwords: Passwords
    networks: Networks
    instances: Instances
    rescues: Rescues
    migrations: Migrations
    consoles: Consoles
    watcher: Watcher | None = None

    @classmethod
    def assemble(
        cls,
        conf: Any,
        virtapi: Any,
        *,
        engine: Engine | None = None,
        wiring: Wiring | None = None,
        connections: Connections | None = None,
        glance: Any = None,
    ) -> Parts:
        """Make all parts as the options say; those that are handed over are taken instead.

        :param conf: Nova's options
        :param virtapi: Nova's way back into nova-compute
        :raises DriverError: the engine is not to be reached in a safe way
        """
        section, facts = conf.docker, HostFacts(conf.host)
        glance, engine = glance or nova_glance.API(), engine or Engine.from_conf(conf)
        state = os.path.join(conf.state_path, "novadocker")
        max_bytes = section.max_image_size_gb * units.Gi
        devices = Devices(section.cdi_spec_dirs, section.cdi_kinds)
        volumes = _volumes(conf, engine, connections or Connections(conf))
        shares = Shares.from_conf(conf)
        workloads = _workloads(section, engine, facts, volumes, shares)
        kept = Kept(engine, workloads, section.snapshot_flatten_layers)
        sandboxes, waiting = Sandboxes(engine), Waiting(virtapi)
        wiring = wiring or Wiring(section.tx_checksum)
        spool = Spool(section.image_spool_dir or os.path.join(state, "spool"), facts.name)
        images = Images(engine, spool, glance, section.shared_directory, max_bytes, workloads.room)
        snapshots = Snapshots(engine, workloads, spool, max_bytes, section.snapshot_flatten_layers)
        networks = Networks(facts, workloads, sandboxes, wiring, waiting)
        instances = _instances(section, facts, devices, workloads, kept, networks)
        is_here = _is_here(conf, facts)
        return cls(
            facts=facts,
            glance=glance,
            engine=engine,
            devices=devices,
            volumes=volumes,
            shares=shares,
            workloads=workloads,
            kept=kept,
            sandboxes=sandboxes,
            attachments=Attachments(volumes, workloads),
            wiring=wiring,
            waiting=waiting,
            spool=spool,
            images=images,
            cache=ImageCache(engine, os.path.join(state, "images.json"), images),
            snapshots=snapshots,
            contents=Contents(facts, section, images, glance, workloads),
            passwords=Passwords(section, workloads),
            networks=networks,
            instances=instances,
            rescues=Rescues(instances, workloads),
            migrations=Migrations(
                instances, networks, workloads, kept, snapshots, images, glance, is_here
            ),
            consoles=Consoles(conf, Terminals(engine)),
        )


def _volumes(conf: Any, engine: Engine, connections: Connections) -> Volumes:
    return Volumes(
        mounted.base(conf.state_path),
        conf.docker.volume_file_systems,
        connections,
        lambda: mounted.remapped_root(engine.call("info")),
    )


def _workloads(
    section: Any, engine: Engine, facts: HostFacts, volumes: Volumes, shares: Shares
) -> Containers:
    return Containers(
        engine,
        facts,
        Isolation.from_section(section),
        lambda uuid: [*volumes.bound(uuid), *shares.bound(uuid)],
        section.root_directory,
        section.snapshot_freeze,
        section.health_check_interval,
    )


def _instances(
    section: Any,
    facts: HostFacts,
    devices: Devices,
    workloads: Containers,
    kept: Kept,
    networks: Networks,
) -> Instances:
    settings = Settings.from_section(section)
    return Instances(facts, settings, devices, workloads, kept, networks)


def _is_here(conf: Any, facts: HostFacts) -> Callable[[str], bool]:
    return lambda dest: dest in (facts.name, str(conf.my_ip))

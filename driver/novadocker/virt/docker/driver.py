# SPDX-License-Identifier: Apache-2.0
"""The compute driver that Nova loads: what it can do, and what it is made of."""

from __future__ import annotations

from typing import Any

from nova.virt import driver

from novadocker import conf
from novadocker.virt.docker.face import (
    consoles,
    host,
    images,
    life,
    lookups,
    migration,
    ports,
    refusals,
    rescue,
    shares,
    volumes,
)
from novadocker.virt.docker.parts import Parts

CONF = conf.load()


class DockerDriver(
    host.Host,
    life.Life,
    lookups.Lookups,
    ports.Ports,
    consoles.Consoles,
    volumes.Volumes,
    shares.Shares,
    migration.Migration,
    rescue.Rescue,
    images.Images,
    refusals.Refusals,
    driver.ComputeDriver,
):
    """Runs each instance as a Docker container.

    :param virtapi: Nova's way back into nova-compute
    :param parts: what the driver is made of; by default, what the options say
    """

    capabilities = {
        **driver.ComputeDriver.capabilities,
        "has_imagecache": True,
        "supports_evacuate": True,
        "supports_migrate_to_same_host": True,
        "supports_attach_interface": True,
        "supports_device_tagging": True,
        "supports_tagged_attach_interface": True,
        "supports_trusted_certs": True,
        "supports_image_type_raw": True,
        "supports_pcpus": True,
    }

    def __init__(self, virtapi: Any, parts: Parts | None = None) -> None:
        super().__init__(virtapi)
        # Nova's generic suite of driver tests reads it; there are no live migrations.
        self.active_migrations: dict[str, Any] = {}
        self.parts = parts or Parts.assemble(CONF, virtapi)
        if self.parts.volumes.allowed:
            self.capabilities = {**self.capabilities, "supports_extend_volume": True}
        if self.parts.shares.protocols:
            # Nova's API lets no server have a share without them, whatever the driver needs.
            needed = dict.fromkeys(("supports_virtio_fs", "supports_mem_backing_file"), True)
            self.capabilities = {**self.capabilities, **needed}

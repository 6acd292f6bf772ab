# SPDX-License-Identifier: Apache-2.0
"""Snapshots: a container's file system as an archive for Glance."""

import contextlib
import itertools
import os
import platform
from collections.abc import Iterable, Iterator
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance
from novadocker.virt.docker.engine import room, streams
from novadocker.virt.docker.engine.client import Engine
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.images import process
from novadocker.virt.docker.images.spool import Spool

LOG = logging.getLogger(__name__)

REPOSITORY = "nova-docker/snapshot"


class Snapshots:
    """Takes snapshots.

    :param max_bytes: largest snapshot; a larger one would not be taken back as an image
    :param flatten_layers: number of layers from which on a snapshot is flattened to one layer
    """

    def __init__(
        self,
        engine: Engine,
        workloads: Containers,
        spool: Spool,
        max_bytes: int,
        flatten_layers: int,
    ) -> None:
        self._engine = engine
        self._workloads = workloads
        self._spool = spool
        self._max_bytes = max_bytes
        self._flatten_layers = flatten_layers
        self._archives = process.Archives(max_bytes)

    def clean(self) -> None:
        """Remove images of unfinished snapshots that a killed nova-compute has left."""
        for image in self._engine.call("images", filters={"reference": REPOSITORY}):
            for tag in image.get("RepoTags") or []:
                if tag.startswith(f"{REPOSITORY}:"):
                    LOG.info("Removing the left-over %s", tag)
                    self._engine.call("remove_image", tag)

    @contextlib.contextmanager
    def commit(self, name: str, tag: str) -> Iterator[str]:
        """Yield the id of an image of a container's file system, which is removed afterwards."""
        image = self._workloads.commit(name, REPOSITORY, tag, self._max_bytes)
        try:
            yield image
        finally:
            with contextlib.suppress(exceptions.NotFound):
                self._engine.call("remove_image", f"{REPOSITORY}:{tag}")

    @contextlib.contextmanager
    def open(
        self, name: str, tag: str, without_env: set[str], without: str | None = None
    ) -> Iterator[streams.Parts]:
        """Yield a container's file system as an archive that this driver accepts as an image.

        :param without_env: environment variables to leave out: the instance's metadata
        :param without: directory of the container to leave out
        :raises ImageRefused: the archive exceeds the limit
        :raises HostFull: there is no space for it on this host
        """
        without = without and without.strip("/")
        with self.commit(name, tag) as image, self._spool.lend() as directory:
            details = self._engine.call("inspect_image", image)
            path = os.path.join(directory, "snapshot.tar")
            flat = len(details["RootFS"].get("Layers") or []) >= self._flatten_layers
            size_bytes = int(details.get("Size") or 0)
            with contextlib.ExitStack() as reserved:
                if flat:
                    saved = self._workloads.export(name)
                else:
                    claims = reserved.enter_context(
                        self._workloads.room.reserve_bytes(size_bytes, "a copy of the snapshot")
                    )
                    saved = _saved(self._engine.stream("get_image", image), claims)
                reserved.enter_context(self._spool.promise(path, min(size_bytes, self._max_bytes)))
                self._spool.write(path, saved, self._max_bytes, "the instance")
            if flat:
                config = {
                    "architecture": details["Architecture"],
                    "os": details["Os"],
                    "config": details["Config"],
                }
                parts = self._archives.flattened(path, config, without_env, without)
            else:
                parts = self._archives.cleaned(path, platform.machine(), without_env, without)
            with contextlib.closing(parts):
                # A refusal comes before the first part, and before Glance is told of a snapshot.
                yield streams.Parts(itertools.chain([next(parts)], parts))


def _saved(parts: Iterable[bytes], claims: list[room.Claim]) -> Iterator[bytes]:
    """Yield the parts of an image; the engine has written a copy of all of it before the first."""
    for part in parts:
        for claim in claims:
            claim.written_bytes = claim.size_bytes
        yield part


def glance_meta(instance: Instance) -> dict[str, Any]:
    """Return the description of a snapshot, for Glance."""
    return {
        "disk_format": "raw",
        "container_format": "docker",
        "properties": {
            "image_location": "snapshot",
            "image_state": "available",
            "img_hv_type": "docker",
            "owner_id": instance.project_id,
        },
    }

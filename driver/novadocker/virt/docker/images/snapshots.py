# SPDX-License-Identifier: Apache-2.0
"""Snapshots: a container's file system as an archive for Glance."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance
from novadocker.virt.docker.engine import streams
from novadocker.virt.docker.engine.client import Engine
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.host.space import Claim
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
        self, name: str, tag: str, without_env: Mapping[str, str | None], without: str | None = None
    ) -> Iterator[streams.Parts]:
        """Yield a container's file system as an archive that this driver accepts as an image.

        :param without_env: environment variables to leave out, and values to have instead
        :param without: directory of the container to leave out
        :raises ImageRefused: the archive exceeds the limit
        :raises HostFull: there is no space for it on this host
        """
        without = without and without.strip("/")
        container = self._workloads.inspect(name)
        base = self._engine.call("inspect_image", container["Image"])
        # The engine makes no image of one that has as many layers as there may be.
        flat = len(base["RootFS"].get("Layers") or []) + 1 >= self._flatten_layers
        with self._spool.lend() as directory:
            path = os.path.join(directory, "snapshot.tar")
            if flat:
                self._export(name, path)
                config = {
                    "architecture": base["Architecture"],
                    "os": base["Os"],
                    "config": container["Config"],
                }
                parts = self._archives.flattened(path, config, without_env, without)
            else:
                with self.commit(name, tag) as image:
                    self._save(image, path)
                parts = self._archives.cleaned(path, platform.machine(), without_env, without)
            with contextlib.closing(parts):
                # A refusal comes before the first part, and before Glance is told of a snapshot.
                yield streams.Parts(itertools.chain([next(parts)], parts))

    def _export(self, name: str, path: str) -> None:
        """Write all files of a container into one archive, while it is frozen."""
        with self._workloads.frozen(name):
            size_bytes = self._workloads.room.whole_bytes(name, self._max_bytes)
            with self._spool.promise(path, size_bytes):
                exported = self._workloads.export(name)
                self._spool.write(path, exported, self._max_bytes, "the instance")

    def _save(self, image: str, path: str) -> None:
        """Write an image of the engine's into an archive."""
        size_bytes = int(self._engine.call("inspect_image", image).get("Size") or 0)
        with (
            self._workloads.room.reserve_bytes(size_bytes, "a copy of the snapshot") as claims,
            self._spool.promise(path, min(size_bytes, self._max_bytes)),
        ):
            saved = _saved(self._engine.stream("get_image", image), claims)
            self._spool.write(path, saved, self._max_bytes, "the instance")


def _saved(parts: Iterable[bytes], claims: list[Claim]) -> Iterator[bytes]:
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

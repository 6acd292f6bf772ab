# SPDX-License-Identifier: Apache-2.0
"""Snapshots: a container's file system as an archive for Glance."""

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator
from typing import IO, Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance
from novadocker.virt.docker.engine import room, streams
from novadocker.virt.docker.engine.client import Engine
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.images import archive, compression, layers
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
                    parts = streams.tar_without(
                        self._workloads.export(name), frozenset({without} if without else ())
                    )
                else:
                    claims = reserved.enter_context(
                        self._workloads.room.reserve_bytes(size_bytes, "a copy of the snapshot")
                    )
                    parts = _saved(self._engine.stream("get_image", image), claims)
                reserved.enter_context(self._spool.promise(path, min(size_bytes, self._max_bytes)))
                self._spool.write(path, parts, self._max_bytes, "the instance")
            with open(path, "rb") as source:
                if flat:
                    yield self._flattened(source, details, without_env)
                else:
                    yield self._cleaned(source, without_env, without)

    def _cleaned(
        self, source: IO[bytes], without_env: set[str], without: str | None
    ) -> streams.Parts:
        """Return an archive with the layers of the container."""
        saved = archive.Archive(source, self._max_bytes)
        image = saved.image(platform.machine(), without)
        config = clean_config(json.loads(image.config), without_env)
        content: list[tuple[int, compression.Reader]] = []
        for number, layer in enumerate(image.layers):
            if without and layer.watched:
                left_out = frozenset({without})
                digest, size = _digest(streams.tar_without(saved.content(layer), left_out))
                config["rootfs"]["diff_ids"][number] = digest
                parts = streams.tar_without(saved.content(layer), left_out)
            else:
                size, parts = layer.size_bytes, saved.content(layer)
            content.append((size, streams.Parts(parts)))
        return self._written(config, content)

    def _flattened(
        self, source: IO[bytes], details: dict[str, Any], without_env: set[str]
    ) -> streams.Parts:
        """Return an archive with one layer, the exported file system."""
        bounded = compression.Bounded(source, "the instance", self._max_bytes)
        hashing = layers.Hashing(bounded)
        layers.Inspection().check(hashing, "of all files")
        while hashing.read(compression.CHUNK):
            pass
        source.seek(0)
        config = clean_config(
            {
                "architecture": details["Architecture"],
                "os": details["Os"],
                "config": details["Config"],
                "rootfs": {
                    "type": "layers",
                    "diff_ids": [f"sha256:{hashing.digest.hexdigest()}"],
                },
            },
            without_env,
        )
        return self._written(config, [(bounded.count, source)])

    def _written(
        self, config: dict[str, Any], content: list[tuple[int, compression.Reader]]
    ) -> streams.Parts:
        packed = json.dumps(config).encode()
        size = archive.size_bytes(packed, [one for one, _content in content])
        if size > self._max_bytes:
            raise exceptions.ImageRefused(
                f"the instance has {size} bytes; [docker]max_image_size_gb allows {self._max_bytes}"
            )
        return streams.Parts(archive.write(packed, content))


def _saved(parts: Iterable[bytes], claims: list[room.Claim]) -> Iterator[bytes]:
    """Yield the parts of an image; the engine has written a copy of all of it before the first."""
    for part in parts:
        for claim in claims:
            claim.written_bytes = claim.size_bytes
        yield part


def _digest(parts: Iterable[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for part in parts:
        digest.update(part)
        size += len(part)
    return f"sha256:{digest.hexdigest()}", size


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


def clean_config(config: dict[str, Any], without_env: set[str]) -> dict[str, Any]:
    """Return an image's configuration without what is the instance's own."""
    cleaned = {
        key: value for key, value in config.items() if key not in ("container", "container_config")
    }
    inner = dict(config.get("config") or {})
    inner["Env"] = [
        one for one in inner.get("Env") or [] if one.split("=", 1)[0] not in without_env
    ]
    for key in ("Hostname", "Domainname", "Image"):
        inner[key] = ""
    for key in ("Labels", "Healthcheck"):
        inner.pop(key, None)
    cleaned["config"] = inner
    return cleaned

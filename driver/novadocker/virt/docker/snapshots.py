# SPDX-License-Identifier: Apache-2.0
"""Snapshots: a container's file system becomes an image of Glance's."""

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from typing import IO, Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker import archive, client, containers, images, streams

LOG = logging.getLogger(__name__)

REPOSITORY = "nova-docker/snapshot"
# The archive is one of our own engine's.
_NO_LIMIT = 1 << 60


class Snapshots:
    """Takes snapshots.

    :param flatten_layers: with so many layers or more, a snapshot is made of one
    """

    def __init__(
        self,
        engine: client.Engine,
        workloads: containers.Containers,
        spool: images.Images,
        flatten_layers: int,
    ) -> None:
        self._engine = engine
        self._workloads = workloads
        self._spool = spool
        self._flatten_layers = flatten_layers

    def clean(self) -> None:
        """Remove what a killed nova-compute has left of snapshots under way."""
        for image in self._engine.call("images", filters={"reference": REPOSITORY}):
            for tag in image.get("RepoTags") or []:
                if tag.startswith(f"{REPOSITORY}:"):
                    LOG.info("Removing the left-over %s", tag)
                    self._engine.call("remove_image", tag)

    @contextlib.contextmanager
    def commit(self, name: str, tag: str) -> Iterator[str]:
        """Lend an image of a container's file system, which is deleted afterwards.

        :return: the engine's id of it
        """
        image = self._workloads.commit(name, REPOSITORY, tag)
        try:
            yield image
        finally:
            with contextlib.suppress(exceptions.NotFound):
                self._engine.call("remove_image", f"{REPOSITORY}:{tag}")

    @contextlib.contextmanager
    def open(self, name: str, tag: str, without_env: set[str]) -> Iterator[streams.Parts]:
        """Lend a container's file system as an archive that this driver accepts as an image.

        :param without_env: environment variables that are not part of it: the instance's metadata
        """
        with self.commit(name, tag) as image, self._spool.spool_directory() as directory:
            details = self._engine.call("inspect_image", image)
            path = os.path.join(directory, "snapshot.tar")
            flat = len(details["RootFS"].get("Layers") or []) >= self._flatten_layers
            with open(path, "wb") as out:
                for part in (
                    self._workloads.export(name)
                    if flat
                    else self._engine.stream("get_image", image)
                ):
                    out.write(part)
            with open(path, "rb") as source:
                if flat:
                    yield streams.Parts(_flattened(source, details, without_env))
                else:
                    yield streams.Parts(_cleaned(source, without_env))


def _cleaned(source: IO[bytes], without_env: set[str]) -> Iterator[bytes]:
    saved = archive.Archive(source, _NO_LIMIT)
    image = saved.image(platform.machine())
    config = clean_config(json.loads(image.config), without_env)
    return saved.rewritten(archive.Image(json.dumps(config).encode(), image.layers))


def _flattened(
    source: IO[bytes], details: dict[str, Any], without_env: set[str]
) -> Iterator[bytes]:
    """Write an image of one layer, the exported file system."""
    digest, size = hashlib.sha256(), 0
    while data := source.read(1 << 20):
        digest.update(data)
        size += len(data)
    source.seek(0)
    diff_id = f"sha256:{digest.hexdigest()}"
    config = clean_config(
        {
            "architecture": details["Architecture"],
            "os": details["Os"],
            "config": details["Config"],
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        },
        without_env,
    )
    return archive.write(json.dumps(config).encode(), [(size, source)])


def glance_meta(instance: Any) -> dict[str, Any]:
    """Say what Glance is to know of a snapshot."""
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
    """Take out of an image's configuration what belongs to the instance that it was made from."""
    cleaned = {
        key: value for key, value in config.items() if key not in ("container", "container_config")
    }
    inner = dict(config.get("config") or {})
    inner["Labels"] = {
        key: value
        for key, value in (inner.get("Labels") or {}).items()
        if not key.startswith(containers.LABEL)
    }
    inner["Env"] = [
        one for one in inner.get("Env") or [] if one.split("=", 1)[0] not in without_env
    ]
    for key in ("Hostname", "Domainname", "Image"):
        inner[key] = ""
    inner.pop("Healthcheck", None)
    cleaned["config"] = inner
    return cleaned

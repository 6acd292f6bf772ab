# SPDX-License-Identifier: Apache-2.0
"""Glance images in the engine: fetched, verified, and loaded under a tag of the driver's."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import platform
import re
import time
from collections.abc import Iterator
from typing import Any

from nova.virt import images as nova_images
from oslo_concurrency import lockutils
from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Context
from novadocker.virt.docker.engine.client import Engine
from novadocker.virt.docker.engine.room import Room
from novadocker.virt.docker.host.space import Claim
from novadocker.virt.docker.images import compression, process
from novadocker.virt.docker.images.refusals import Refusals
from novadocker.virt.docker.images.spool import Spool

LOG = logging.getLogger(__name__)

REPOSITORY = "nova-glance"
# A build that has its image waits for its ports, at most; Nova does not list it as the host's yet.
AWAITED_S = 3600.0
# The kernel's words in what the engine says when a file system, or a quota on it, is full.
_FULL = ("no space left on device", "disk quota exceeded")


@dataclasses.dataclass(frozen=True)
class EngineImage:
    """An image in the engine.

    :param id: the engine's id
    :param config: its ``Config``: Cmd, Entrypoint, Env, ...
    :param size_bytes: size of its files, unpacked
    :param fetched: whether it was loaded into the engine just now
    """

    id: str
    config: dict[str, Any]
    size_bytes: int = 0
    fetched: bool = dataclasses.field(default=False, compare=False)


def tag_of(image_id: str, checksum: str | None) -> str:
    """Return the tag of a Glance image in the engine, in a repository that only the driver uses."""
    digits = re.sub(r"[^0-9a-f]", "", (checksum or "").lower())[:16]
    return f"{REPOSITORY}/{image_id}:{digits or 'none'}"


class Images:
    """Glance images in the engine.

    :param spool: space for images on their way
    :param glance: Nova's client of Glance
    :param shared: directory of archives named by Glance id, tried before Glance
    :param max_bytes: largest image, packed or unpacked
    :param space: the space where the engine keeps its data; by default where it says that it does
    """

    def __init__(
        self,
        engine: Engine,
        spool: Spool,
        glance: Any,
        shared: str | None,
        max_bytes: int,
        space: Room | None = None,
    ) -> None:
        self._engine = engine
        self._spool = spool
        self._glance = glance
        self._shared = shared
        self._max_bytes = max_bytes
        self._room = space or Room(engine, None)
        self._refusals = Refusals()
        self._ensured: dict[str, float] = {}
        self._archives = process.Archives(max_bytes)

    def find(self, image_id: str, checksum: str | None) -> EngineImage | None:
        """Return a Glance image that the engine has; None when it has not."""
        try:
            return self.inspect(tag_of(image_id, checksum))
        except exceptions.NotFound:
            return None

    def inspect(self, name: str) -> EngineImage:
        """Return an image of the engine, by any of its names.

        :raises NotFound: the engine has no such image
        """
        details = self._engine.call("inspect_image", name)
        return EngineImage(
            details["Id"], details.get("Config") or {}, int(details.get("Size") or 0)
        )

    def ensure(
        self, context: Context, meta: dict[str, Any], trusted_certs: Any = None
    ) -> EngineImage:
        """Return a Glance image in the engine, fetched if need be.

        :param meta: Glance's description of the image
        :param trusted_certs: certificates, one of which must have signed the image; such an image
            is always fetched, as the engine's copy may have been loaded without
        :raises ImageRefused: the image is refused; nothing is left of it
        :raises HostFull: there is no space for it on this host
        """
        image_id = meta["id"]
        with self.lock(image_id), _named(image_id):
            check_meta(meta, self._max_bytes)
            self._ensured[image_id] = time.monotonic()
            present = None if trusted_certs else self.find(image_id, meta.get("checksum"))
            if present is not None:
                return present
            reason = self._refusals.reason(meta)
            if reason is not None:
                raise exceptions.ImageRefused(f"{reason} (found before; it is not fetched again)")
            tag = tag_of(image_id, meta.get("checksum"))
            return self._load(context, meta, trusted_certs, tag)

    def lock(self, image_id: str) -> Any:
        """Return the lock of all that is done about an image of Glance's in the engine."""
        return lockutils.lock(f"novadocker-image-{image_id}")

    def is_awaited(self, image_id: str) -> bool:
        """Return whether a container may be about to be made of an image."""
        return time.monotonic() - self._ensured.get(image_id, -AWAITED_S) < AWAITED_S

    def ensure_for_one(self, context: Context, meta: dict[str, Any], name: str) -> EngineImage:
        """Fetch a Glance image for one instance, with which it is removed.

        :param meta: Glance's description of the image
        :param name: repository and tag in the engine, which name the instance
        :raises ImageRefused: the image is refused; nothing is left of it
        """
        with _named(meta["id"]):
            check_meta(meta, self._max_bytes)
            return self._load(context, meta, None, name)

    def _load(
        self, context: Context, meta: dict[str, Any], trusted_certs: Any, tag: str
    ) -> EngineImage:
        with self._spool.lend() as directory:
            path = self._fetch(context, meta, trusted_certs, directory)
            with self._noted(meta):
                path = self._plain(path, directory)
                image = self._archives.image(path, platform.machine())
            # The engine writes what it is sent into a file, and unpacks it from there.
            size_bytes = image.size_bytes + image.disk_bytes
            with self._room.reserve_bytes(size_bytes, "the image") as claims:
                # The archive names the tag, so that a crash leaves no image without a name.
                self._send(_counted(self._archives.rewritten(path, image, tag), claims))
        try:
            return dataclasses.replace(self.inspect(tag), fetched=True)
        except exceptions.NotFound:
            raise exceptions.ImageRefused(
                "the engine did not load it, and did not say why"
            ) from None

    @contextlib.contextmanager
    def _noted(self, meta: dict[str, Any]) -> Iterator[None]:
        """Note the refusal of an image for what is in it."""
        try:
            yield
        except exceptions.ImageRefused as err:
            self._refusals.note(meta, str(err))
            raise

    def _fetch(
        self, context: Context, meta: dict[str, Any], trusted_certs: Any, directory: str
    ) -> str:
        path = os.path.join(directory, "image")
        if self._shared and not trusted_certs:
            # The id is a UUID that Glance has assigned: it cannot lead out of the directory.
            seed = os.path.join(self._shared, meta["id"])
            if os.path.isfile(seed) and self._is_glances(context, meta, seed, path):
                LOG.info("Taking image %s from %s", meta["id"], self._shared)
                return path
        size = meta.get("size")
        if size is None:
            # Nova does not always know it; what is promised could not be kept.
            size = self._glance.get(context, meta["id"]).get("size")
        if size is None:
            raise exceptions.ImageRefused("Glance does not say how large it is")
        if int(size) > self._max_bytes:
            raise exceptions.ImageRefused(_too_large(int(size), self._max_bytes))
        with self._spool.promise(path, int(size)):
            nova_images.fetch(context, meta["id"], path, trusted_certs)
        return path

    def _is_glances(self, context: Context, meta: dict[str, Any], seed: str, path: str) -> bool:
        """Copy a file, and return whether the copy has Glance's checksum of the image.

        Who may write into the shared directory could change the file itself after it was read.

        :param path: path of the copy

        :return: False where Glance has no checksum
        :raises ImageRefused: the file has another checksum
        """
        if "os_hash_value" not in meta:
            meta = self._glance.get(context, meta["id"])
        algorithm, wanted = str(meta.get("os_hash_algo")), meta.get("os_hash_value")
        if not wanted or algorithm not in hashlib.algorithms_available:
            algorithm, wanted = "md5", meta.get("checksum")
        if not wanted:
            LOG.warning("Glance has no checksum of image %s: %s is not taken", meta["id"], seed)
            return False
        digest = hashlib.new(algorithm, usedforsecurity=False)
        with open(seed, "rb") as source:
            bounded = compression.Bounded(source, seed, self._max_bytes)
            self._spool.write(path, _hashed(bounded, digest), self._max_bytes, "it")
        if digest.hexdigest() != wanted:
            raise exceptions.ImageRefused(
                f"{seed} is not what Glance has, its {algorithm} is another one: replace or "
                "delete the file"
            )
        return True

    def _plain(self, path: str, directory: str) -> str:
        """Return the path of an archive that is not packed, and keep no other copy in the spool."""
        with open(path, "rb") as packed:
            if compression.detect(packed.read(8)) is None:
                return path
        plain = os.path.join(directory, "archive.tar")
        with contextlib.closing(self._archives.unpacked(path)) as parts:
            self._spool.write(plain, parts, self._max_bytes, "it")
        if os.path.dirname(path) == directory:
            os.unlink(path)
        return plain

    def _send(self, parts: Iterator[bytes]) -> None:
        """Load an archive that the driver has written.

        :raises ImageRefused: the engine does not take it
        :raises HostFull: the engine has no space for it
        """
        for event in self._engine.stream("load_image", parts):
            if "error" in event:
                full = any(message in event["error"] for message in _FULL)
                kind = exceptions.HostFull if full else exceptions.ImageRefused
                raise kind(f"the engine refuses it: {event['error']}")


def _hashed(source: compression.Bounded, digest: Any) -> Iterator[bytes]:
    while data := source.read():
        digest.update(data)
        yield data


def _counted(parts: Iterator[bytes], claims: list[Claim]) -> Iterator[bytes]:
    """Yield parts, and count them as written."""
    for part in parts:
        yield part
        for claim in claims:
            claim.written_bytes += len(part)


@contextlib.contextmanager
def _named(image_id: str) -> Iterator[None]:
    """Set the image's id in refusals."""
    try:
        yield
    except exceptions.ImageRefused as err:
        err.image_id = image_id
        raise


def check_meta(meta: dict[str, Any], max_bytes: int) -> None:
    """Check Glance's description of an image, before the image is fetched.

    :raises ImageRefused: no container can be made from the image
    """
    if meta.get("container_format") != "docker":
        raise exceptions.ImageRefused(
            f"its container_format is {meta.get('container_format')!r}; this host runs containers "
            "and takes 'docker' only"
        )
    if meta.get("disk_format") not in (None, "raw"):
        raise exceptions.ImageRefused(
            f"its disk_format is {meta.get('disk_format')!r}; an archive of 'docker save' is 'raw'"
        )
    if int(meta.get("size") or 0) > max_bytes:
        raise exceptions.ImageRefused(_too_large(int(meta["size"]), max_bytes))


def _too_large(size_bytes: int, max_bytes: int) -> str:
    return f"it has {size_bytes} bytes; [docker]max_image_size_gb allows {max_bytes}"

# SPDX-License-Identifier: Apache-2.0
"""Archives of images, as tenants upload them: verified, and written anew for the engine.

Glance does not inspect images of container format docker, and ``docker load`` trusts an archive:
it sets the tags that the archive names, and takes them from the host's images. So only one
configuration and its layers reach the engine, each verified against its digest, in an archive that
is written here. Nothing is ever unpacked to a path of the host.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator
from typing import IO, Any

from novadocker import exceptions
from novadocker.virt.docker.engine import budget, headers
from novadocker.virt.docker.images import compression, layers, manifests
from novadocker.virt.docker.images import config as image_config

# Parsed, JSON takes some forty times its size. A manifest of 125 layers has some 30 KiB.
MAX_JSON_BYTES = 1 << 20
MAX_MEMBERS = 10_000
# Tools name members by digests of 64 digits.
MAX_NAME = 512
# The overlay file system has a limit of about 127, which includes the container's own layer.
MAX_LAYERS = 125

_DIGEST_IN_NAME = re.compile(r"(?:^|[/:])([0-9a-f]{64})(?:\.json)?$")
_END = b"\0" * (2 * tarfile.BLOCKSIZE)
_DISKS = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "VMDK",
    b"# Disk DescriptorFile": "VMDK",
    b"conectix": "VHD",
    b"vhdxfile": "VHDX",
    b"<<< ": "VDI",
    b"\x7fELF": "ELF",
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """One verified layer.

    :param member: name of its file in the archive
    :param diff_id: digest of the unpacked layer
    :param size_bytes: size of the unpacked layer
    :param watched: whether it touches the watched directory
    """

    member: str
    diff_id: str
    size_bytes: int
    watched: bool = False


@dataclasses.dataclass(frozen=True)
class Image:
    """The one image of an archive, verified.

    :param disk_bytes: about what its files take on a disk
    """

    config: bytes
    layers: tuple[Layer, ...]
    disk_bytes: int

    @property
    def size_bytes(self) -> int:
        """Return the size of all layers, unpacked."""
        return sum(layer.size_bytes for layer in self.layers)


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """Position of a file in the archive.

    :param link: target, if the member is a link
    """

    offset: int
    size_bytes: int
    link: str | None


class Archive:
    """An archive of an image, open for reading.

    :param source: the plain (not compressed) archive, seekable
    :param max_bytes: most bytes that all layers together may unpack to
    :raises ImageRefused: it is not an archive, or has members that no image needs
    """

    def __init__(self, source: IO[bytes], max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._spending = budget.Budget()
        self._size = source.seek(0, io.SEEK_END)
        source.seek(0)
        _refuse_disks(source)
        try:
            self._tar = headers.BoundedTar(fileobj=source, spending=self._spending)
            self._members = self._index()
        except (tarfile.TarError, ValueError, RecursionError, OverflowError) as err:
            raise exceptions.ImageRefused(f"it is not a whole tar archive: {err}") from err

    def _index(self) -> dict[str, _Member]:
        members: dict[str, _Member] = {}
        for count, member in enumerate(self._tar, start=1):
            if count > MAX_MEMBERS:
                raise exceptions.ImageRefused(f"the archive has more than {MAX_MEMBERS} members")
            layers.refuse_tricks(self._tar, member, "the archive")
            if len(member.name) > MAX_NAME:
                raise exceptions.ImageRefused(
                    f"the archive has a name of {len(member.name)} characters; {MAX_NAME} are "
                    "allowed"
                )
            name = manifests.safe_name(member.name)
            if member.isdir():
                continue
            link = _target(name, member.linkname) if member.issym() else None
            if not link and not member.isreg():
                raise exceptions.ImageRefused(f"the archive's member {name!r} is not a plain file")
            if member.offset_data + member.size > self._size:
                raise exceptions.ImageRefused(f"the archive is truncated in {name!r}")
            file = _Member(member.offset_data, member.size, link)
            if name in members and not self._are_alike(file, members[name]):
                raise exceptions.ImageRefused(f"the archive has {name!r} twice")
            members[name] = file
        return members

    def _are_alike(self, file: _Member, other: _Member) -> bool:
        """Return whether two files of a name are the same; some tools add a layer twice."""
        if (file.size_bytes, file.link) != (other.size_bytes, other.link):
            return False
        digests = []
        for member in (file, other):
            digest = hashlib.sha256()
            with self._reader(member) as opened:
                while data := opened.read(compression.CHUNK):
                    digest.update(data)
            digests.append(digest.digest())
        return digests[0] == digests[1]

    def image(self, machine: str, watched: str | None = None) -> Image:
        """Return the one image of the archive, verified.

        :param machine: the host's ``uname -m``
        :param watched: directory to watch for; ``Layer.watched`` says which layers touch it
        :raises ImageRefused: the image is damaged, ambiguous, too large, or not for this host
        """
        named = manifests.Manifests(self._json, self._verified_json, machine)
        if "manifest.json" in self._members:
            config_name, layer_names = named.docker()
            layer_names = [self._resolve(layer) for layer in layer_names]
        elif "index.json" in self._members:
            config_name, layer_names = named.oci()
        else:
            raise exceptions.ImageRefused(
                "there is neither a manifest.json nor an index.json in it: it is no image that "
                "'docker save' wrote (perhaps it is one of 'docker export')"
            )
        config_bytes = self._verified(config_name, image_config.MAX_BYTES)
        config = manifests.parsed(config_bytes, config_name)
        diff_ids = image_config.check(config, machine)
        if len(diff_ids) != len(layer_names):
            raise exceptions.ImageRefused(
                f"its configuration names {len(diff_ids)} layers, its manifest {len(layer_names)}"
            )
        if not 0 < len(layer_names) <= MAX_LAYERS:
            raise exceptions.ImageRefused(
                f"it has {len(layer_names)} layers; 1 to {MAX_LAYERS} are possible"
            )
        verified: list[Layer] = []
        rest_bytes = self._max_bytes
        inspection = layers.Inspection(watched, self._spending)
        for name, diff_id in zip(layer_names, diff_ids, strict=True):
            layer = self._layer(name, diff_id, rest_bytes, inspection)
            rest_bytes -= layer.size_bytes
            verified.append(layer)
        config_bytes = image_config.cleaned(config_bytes)
        return Image(config_bytes, tuple(verified), inspection.disk_bytes)

    def rewritten(self, image: Image, name: str | None = None) -> Iterator[bytes]:
        """Yield a new archive that has the image only, and none of the names in this one.

        :param name: name that the engine gives the image when it loads the archive
        :raises ImageRefused: the archive has changed since it was verified
        """
        yield from _head(image.config, len(image.layers), name)
        for number, layer in enumerate(image.layers):
            yield _header(_layer_name(number), layer.size_bytes)
            yield from self.content(layer)
            yield b"\0" * (-layer.size_bytes % tarfile.BLOCKSIZE)
        yield _END

    def content(self, layer: Layer) -> Iterator[bytes]:
        """Yield a layer, unpacked.

        :raises ImageRefused: the layer has changed since it was verified
        """
        digest = hashlib.sha256()
        with self._open(layer.member) as packed, compression.plain(packed) as reader:
            bounded = compression.Bounded(reader, f"layer {layer.member}", layer.size_bytes)
            while data := bounded.read():
                digest.update(data)
                yield data
        if bounded.count != layer.size_bytes or f"sha256:{digest.hexdigest()}" != layer.diff_id:
            raise exceptions.ImageRefused(f"layer {layer.member} changed while it was loaded")

    def _resolve(self, layer: str) -> str:
        """Return the name of a layer's file, which may be behind one link."""
        name = manifests.safe_name(layer)
        member = self._members.get(name)
        return member.link if member is not None and member.link else name

    def _open(self, name: str) -> IO[bytes]:
        member = self._members.get(name)
        if member is None or member.link:
            raise exceptions.ImageRefused(f"the archive has no file {name!r}")
        return self._reader(member)

    def _reader(self, member: _Member) -> IO[bytes]:
        header = tarfile.TarInfo()
        header.offset_data, header.size = member.offset, member.size_bytes
        opened = self._tar.extractfile(header)
        assert opened is not None
        return opened

    def _json(self, name: str) -> Any:
        return manifests.parsed(self._read(name, MAX_JSON_BYTES), name)

    def _verified_json(self, name: str) -> Any:
        return manifests.parsed(self._verified(name, MAX_JSON_BYTES), name)

    def _read(self, name: str, limit: int) -> bytes:
        with self._open(name) as opened:
            data = opened.read(limit + 1)
        if len(data) > limit:
            raise exceptions.ImageRefused(f"{name!r} has more than {limit} bytes")
        return data

    def _verified(self, name: str, limit: int) -> bytes:
        data = self._read(name, limit)
        _compare(name, hashlib.sha256(data).hexdigest())
        return data

    def _layer(self, name: str, diff_id: str, limit: int, inspection: layers.Inspection) -> Layer:
        if re.search(r"(^|/)[0-9a-f]{64}$", name):
            # The file is named by the digest of its packed bytes.
            with self._open(name) as packed:
                hashing = layers.Hashing(compression.Bounded(packed, name, self._size))
                while hashing.read(compression.CHUNK):
                    pass
                _compare(name, hashing.digest.hexdigest())
        with self._open(name) as packed, compression.plain(packed, self._spending) as reader:
            bounded = compression.Bounded(reader, f"layer {name}", limit)
            hashing = layers.Hashing(bounded)
            watched = inspection.check(hashing, name)
            while hashing.read(compression.CHUNK):
                pass
        if f"sha256:{hashing.digest.hexdigest()}" != diff_id:
            raise exceptions.ImageRefused(
                f"layer {name} does not have the digest {diff_id} that its configuration names"
            )
        return Layer(name, diff_id, bounded.count, watched)


def _refuse_disks(source: IO[bytes]) -> None:
    head = source.read(64)
    source.seek(0)
    for magic, kind in _DISKS.items():
        if head.startswith(magic):
            raise exceptions.ImageRefused(f"it is a {kind} file, not an archive of an image")


def _target(name: str, link: str) -> str | None:
    """Return the member that a link leads to; None where it leads out of the archive.

    Tools make such links for a layer that occurs twice, and for loaders of former days.
    """
    if link.startswith("/") or len(link) > MAX_NAME:
        return None
    try:
        return manifests.safe_name(posixpath.join(posixpath.dirname(name), link))
    except exceptions.ImageRefused:
        return None


def _compare(name: str, digest: str) -> None:
    named = _DIGEST_IN_NAME.search(name)
    if named and named.group(1) != digest:
        raise exceptions.ImageRefused(f"{name!r} does not have the digest in its name")


def size_bytes(config: bytes, layers: list[int]) -> int:
    """Return the size of an archive that :func:`write` yields.

    :param layers: size in bytes of each layer
    """
    empty: list[tuple[int, compression.Reader]] = [(size, io.BytesIO()) for size in layers]
    return sum(map(len, write(config, empty))) + sum(layers)


def write(config: bytes, layers: list[tuple[int, compression.Reader]]) -> Iterator[bytes]:
    """Yield an archive of one image without a name.

    :param layers: size in bytes and content of each layer
    """
    yield from _head(config, len(layers), None)
    for number, (size_bytes, content) in enumerate(layers):
        yield _header(_layer_name(number), size_bytes)
        while data := content.read(compression.CHUNK):
            yield data
        yield b"\0" * (-size_bytes % tarfile.BLOCKSIZE)
    yield _END


def _head(config: bytes, layers: int, name: str | None) -> Iterator[bytes]:
    manifest = [
        {
            "Config": "config.json",
            "RepoTags": [name] if name else None,
            "Layers": [_layer_name(number) for number in range(layers)],
        }
    ]
    for file, content in (
        ("config.json", config),
        ("manifest.json", json.dumps(manifest).encode()),
    ):
        yield _header(file, len(content))
        yield content + b"\0" * (-len(content) % tarfile.BLOCKSIZE)


def _layer_name(number: int) -> str:
    return f"{number}/layer.tar"


def _header(name: str, size_bytes: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, 0o644
    return member.tobuf(tarfile.PAX_FORMAT)

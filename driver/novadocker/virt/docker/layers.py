# SPDX-License-Identifier: Apache-2.0
"""Layers of images: their headers and names, looked through while they are hashed."""

import hashlib
import posixpath
import tarfile
from typing import Any

from novadocker import exceptions
from novadocker.virt.docker import compression

MAX_HEADER_BYTES = 1 << 20
MAX_LAYER_ENTRIES = 2_000_000


class BoundedHeader(tarfile.TarInfo):
    """A header that may not ask for much memory: extended ones are read as a whole."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if not self.isreg() and self.type != tarfile.DIRTYPE and self.size > MAX_HEADER_BYTES:
            raise exceptions.ImageRefused(
                f"a header in the archive has {self.size} bytes; {MAX_HEADER_BYTES} are allowed"
            )
        return super()._proc_member(archive)  # type: ignore[misc]


class Hashing:
    """Hashes what is read through it."""

    def __init__(self, reader: compression.Bounded) -> None:
        self._reader = reader
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Read at most so many bytes."""
        data = self._reader.read(size)
        self.digest.update(data)
        return data


def check(reader: Hashing, name: str) -> None:
    """Look through the files of a layer.

    The engine unpacks layers below the container's root and is the authority; what could only be
    meant to break out is refused before it comes there.

    :raises ImageRefused: a name leads out of it, or the kernel or the engine would see more in it
        than is written here
    """
    try:
        with tarfile.open(fileobj=reader, mode="r|", tarinfo=BoundedHeader) as tar:  # type: ignore[call-overload]
            for count, entry in enumerate(tar, start=1):
                if count > MAX_LAYER_ENTRIES:
                    raise exceptions.ImageRefused(
                        f"layer {name} has more than {MAX_LAYER_ENTRIES} files"
                    )
                names = [entry.name, entry.linkname] if entry.islnk() else [entry.name]
                for one in names:
                    base = posixpath.basename(one.rstrip("/"))
                    if ".." in one.split("/") or base in (".wh.", ".wh..", ".wh..."):
                        raise exceptions.ImageRefused(
                            f"layer {name} has a file named {one!r}, which leads out of it"
                        )
                _refuse_tricks(tar, entry, name)
                tar.members = []  # type: ignore[misc] # tarfile keeps all that it has seen
    except tarfile.ReadError as err:
        if "empty" not in str(err):
            raise exceptions.ImageRefused(
                f"layer {name} is not a whole tar archive: {err}"
            ) from err
    except (tarfile.TarError, ValueError, RecursionError, OverflowError) as err:
        raise exceptions.ImageRefused(f"layer {name} is not a whole tar archive: {err}") from err


def _refuse_tricks(tar: tarfile.TarFile, entry: tarfile.TarInfo, name: str) -> None:
    if entry.issparse() or any(key.startswith("GNU.sparse") for key in entry.pax_headers):
        # The engine would write out the holes: terabytes from one block.
        raise exceptions.ImageRefused(f"layer {name} has a sparse file, {entry.name!r}")
    if any(key.startswith("SCHILY.xattr.trusted.") for key in entry.pax_headers):
        raise exceptions.ImageRefused(
            f"layer {name} sets attributes of {entry.name!r} that belong to the host's kernel"
        )
    if tar.pax_headers.keys() - {"comment"}:
        # Some readers apply them and some do not: it would not be clear what is in the layer.
        raise exceptions.ImageRefused(f"layer {name} has a header that is meant for all its files")

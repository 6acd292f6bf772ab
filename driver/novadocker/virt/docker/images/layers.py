# SPDX-License-Identifier: Apache-2.0
"""Layers of images: headers and names are checked while the layer is hashed."""

from __future__ import annotations

import hashlib
import posixpath
import tarfile

from novadocker import exceptions
from novadocker.virt.docker.engine import budget, headers, streams
from novadocker.virt.docker.images import compression

MAX_ENTRIES = 1_000_000
# Of the file systems that engines are kept on. An inode has 256 to 512 bytes, btrfs keeps two.
_BLOCK_BYTES = 4096
_INODE_BYTES = 1024


class Hashing:
    """A reader that hashes the content."""

    def __init__(self, reader: compression.Bounded) -> None:
        self._reader = reader
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes."""
        data = self._reader.read(size)
        self.digest.update(data)
        return data


class Inspection:
    """Checks the layers of one image, whose limits apply to all layers together.

    :param watched: directory, from the root; :meth:`check` returns whether a layer touches it
    :param spending: the budget of the image, if its archive has been read from it already
    :ivar disk_bytes: about what the files of all layers take on a disk
    """

    def __init__(self, watched: str | None = None, spending: budget.Budget | None = None) -> None:
        self._watched = watched
        self._spending = spending or budget.Budget()
        self._entries = 0
        self.disk_bytes = 0

    def check(self, reader: Hashing, name: str) -> bool:
        """Check the files of a layer.

        The engine unpacks layers below the container's root and has the last word; names that can
        only be meant to break out are refused before.

        :return: whether the layer touches the watched directory
        :raises ImageRefused: a name leads out of the layer, or the kernel or the engine would see
            more in it than its headers say
        """
        touched = False
        try:
            with headers.opened(reader, self._spending) as tar:
                for entry in tar:
                    self._count(entry)
                    _refuse_names(entry, name)
                    refuse_tricks(tar, entry, f"layer {name}")
                    touched = touched or (
                        self._watched is not None and streams.is_below(entry, {self._watched})
                    )
        except tarfile.ReadError as err:
            if "empty" not in str(err):
                raise exceptions.ImageRefused(
                    f"layer {name} is not a whole tar archive: {err}"
                ) from err
        except (tarfile.TarError, ValueError, RecursionError, OverflowError) as err:
            raise exceptions.ImageRefused(
                f"layer {name} is not a whole tar archive: {err}"
            ) from err
        return touched

    def _count(self, entry: tarfile.TarInfo) -> None:
        self._entries += 1
        self.disk_bytes += _disk_bytes(entry)
        if self._entries > MAX_ENTRIES:
            raise exceptions.ImageRefused(f"its layers have more than {MAX_ENTRIES} files")


def _disk_bytes(entry: tarfile.TarInfo) -> int:
    """Return about what a file takes on a disk: in whole blocks, and with what describes it."""
    attributes = sum(len(value) for key, value in entry.pax_headers.items() if "xattr" in key)
    content = entry.size if entry.isreg() else 1  # a directory has a block, a long link another
    return _whole_blocks(content) + _whole_blocks(attributes) + _INODE_BYTES + len(entry.name)


def _whole_blocks(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES


def _refuse_names(entry: tarfile.TarInfo, name: str) -> None:
    for path in [entry.name, entry.linkname] if entry.islnk() else [entry.name]:
        # As the engine does, without a look at links; nothing may be in the place of the root.
        clean = posixpath.normpath(path)
        leads_out = clean.split("/")[0] == ".." or (clean in (".", "/") and ".." in path)
        if leads_out or posixpath.basename(clean) in (".wh.", ".wh..", ".wh..."):
            raise exceptions.ImageRefused(
                f"layer {name} has a file named {path!r}, which leads out of it"
            )


def refuse_tricks(tar: tarfile.TarFile, entry: tarfile.TarInfo, where: str) -> None:
    """Refuse a member in which the kernel or the engine would see more than its header says.

    :param where: name of the archive, for messages
    :raises ImageRefused: the member is such a one
    """
    if any(key.startswith("GNU.sparse") for key in entry.pax_headers):
        # The engine would write the holes out as zeros: terabytes from one block.
        raise exceptions.ImageRefused(f"{where} has a sparse file, {entry.name!r}")
    if any(key.startswith("SCHILY.xattr.trusted.") for key in entry.pax_headers):
        raise exceptions.ImageRefused(
            f"{where} sets attributes of {entry.name!r} that belong to the host's kernel"
        )
    if tar.pax_headers.keys() - {"comment"}:
        # Some readers apply global headers and some do not: the content would be ambiguous.
        raise exceptions.ImageRefused(f"{where} has a header that is meant for all its files")

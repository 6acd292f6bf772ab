# SPDX-License-Identifier: Apache-2.0
"""Tar archives that are passed on part by part, and never held as a whole."""

from __future__ import annotations

import posixpath
import sys
import tarfile
from collections.abc import Collection, Iterator

from novadocker.virt.docker.engine import budget, headers

_CHUNK = 1 << 20


class Parts:
    """A file object that reads from an iterator of parts."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return at most so many bytes; fewer do not mean the end, none do."""
        while not self._rest:
            try:
                self._rest = next(self._parts)
            except StopIteration:
                return b""
        cut = len(self._rest) if size is None or size < 0 else size
        data, self._rest = self._rest[:cut], self._rest[cut:]
        return data

    def close(self) -> None:
        """Do nothing: the iterator belongs to the caller."""


def is_below(member: tarfile.TarInfo, directories: Collection[str]) -> bool:
    """Return whether a member, or the target of a hard link, is in one of some directories.

    :param directories: their names, from the root of the archive; each counts as in itself
    """
    names = [member.name, member.linkname] if member.islnk() else [member.name]
    return any(
        f"{posixpath.normpath('/' + name).lstrip('/')}/".startswith(f"{directory}/")
        for name in names
        for directory in directories
    )


def tar_without(parts: Iterator[bytes], left_out: frozenset[str]) -> Iterator[bytes]:
    """Yield an archive without some of its members.

    :param left_out: their names, from the root of the archive; members below them are left out too
    """
    # The engine wrote it, of names that a tenant gave: what they are all together is up to him.
    with headers.opened(Parts(parts), budget.Budget(sys.maxsize)) as tar:
        for member in tar:
            if is_below(member, left_out):
                continue
            yield member.tobuf(tarfile.PAX_FORMAT)
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                continue
            while data := content.read(_CHUNK):
                yield data
            yield b"\0" * (-member.size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)

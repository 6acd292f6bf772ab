# SPDX-License-Identifier: Apache-2.0
"""Reading of tar archives that may be hostile: what their headers may ask for.

:mod:`tarfile` reads extended headers whole, as many as there are and each within the call for the
one before it; follows chains of a sparse file's blocks to their end; and looks through a header by
regular expressions that take minutes over some of them (CVE-2024-6232). Behind the end of a stream
it skips what a header promises there block by block, for years where that are exabytes. What is
meant by a header stays its decision.
"""

from __future__ import annotations

import tarfile
from typing import Any

from novadocker import exceptions
from novadocker.virt.docker.engine import budget

_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# Of the length that each record begins with.
_MAX_DIGITS = 8
_BUFFER_BYTES = 128 << 10


class BoundedTar(tarfile.TarFile):
    """An archive whose headers are paid for from a budget.

    :param spending: the budget
    """

    def __init__(self, *args: Any, spending: budget.Budget, **kwargs: Any) -> None:
        self.spending = spending
        self._last: tarfile.TarInfo | None = None
        # Some headers are read here already.
        super().__init__(*args, **{**kwargs, "tarinfo": _Header})

    def next(self) -> tarfile.TarInfo | None:
        """Read the next member; none that was read is kept."""
        if self.firstmember is None and self._ends_in_padding():  # type: ignore[attr-defined]
            self._loaded = True
            return None
        member = super().next()
        self._last = member
        self.members: list[tarfile.TarInfo] = []
        return member

    def _ends_in_padding(self) -> bool:
        """Move to the next header, and return whether the archive ends before.

        Some tools leave out what fills the last block, and the engine does not miss it.

        :raises ReadError: the archive ends within a member
        """
        if self._last is None or self.offset <= self._last.offset_data:
            return False
        file: Any = self.fileobj
        end = min(self._last.offset_data + self._last.size, self.offset)
        if file.tell() < end:
            file.seek(end - 1)
            if not file.read(1):
                raise tarfile.ReadError("unexpected end of data")
        rest: int = self.offset - file.tell()
        return len(file.read(rest)) < rest


class _Forward:
    """A stream as a file that knows its position, and can only be moved ahead in.

    :param source: what it reads from; a read of nothing is its end
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._buffer = memoryview(b"")
        self._position = 0

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int) -> bytes:
        """Read so many bytes; fewer only where the stream ends."""
        parts = []
        while size and (part := self._part(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def seek(self, position: int) -> None:
        """Move ahead.

        :raises ReadError: the stream ends before
        :raises StreamError: that is behind
        """
        if position < self._position:
            raise tarfile.StreamError("a stream is not read backwards")
        while self._position < position:
            if not self._part(position - self._position):
                raise tarfile.ReadError("unexpected end of data")

    def _part(self, size: int) -> memoryview:
        if not self._buffer:
            self._buffer = memoryview(self._source.read(_BUFFER_BYTES))
        part, self._buffer = self._buffer[:size], self._buffer[size:]
        self._position += len(part)
        return part


def opened(source: Any, spending: budget.Budget) -> BoundedTar:
    """Open an archive that is read once, from its beginning to its end.

    :raises tarfile.TarError, ImageRefused: its first header is not as it should be
    """
    return BoundedTar(fileobj=_Forward(source), spending=spending)


class _Header(tarfile.TarInfo):
    """The header of a member, and those in front of it."""

    def _proc_member(self, archive: BoundedTar) -> Any:
        if self.size < 0:
            # A negative size would lead back to what was read before.
            raise exceptions.ImageRefused(f"a header in the archive has the size {self.size}")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise exceptions.ImageRefused(
                f"the archive has a sparse file, {self.name!r}, which is not a plain file"
            )
        if self.type in _EXTENDED:
            archive.spending.take_header(self.size)
        else:
            archive.spending.end_headers()
        return super()._proc_member(archive)  # type: ignore[misc]

    def _proc_pax(self, archive: BoundedTar) -> Any:
        """Read an extended header of POSIX's, and the member that it belongs to."""
        data = archive.fileobj.read(self._block(self.size))[: self.size]  # type: ignore[attr-defined]
        records = _records(data, archive.spending)
        if self.type == tarfile.XGLTYPE:
            archive.pax_headers.update(records)  # type: ignore[attr-defined]
        try:
            member = self.fromtarfile(archive)
        except tarfile.HeaderError as err:
            raise tarfile.SubsequentHeaderError(str(err)) from None  # type: ignore[attr-defined]
        if self.type == tarfile.XGLTYPE:
            return member
        every = {**archive.pax_headers, **records}
        member._apply_pax_info(every, archive.encoding, archive.errors)  # type: ignore[attr-defined]
        member.offset = self.offset
        if member.size < 0:
            raise exceptions.ImageRefused(f"a header in the archive has the size {member.size}")
        if "size" in every:
            # Where the next header begins is another place then.
            archive.offset = member.offset_data
            if member.isreg() or member.type not in tarfile.SUPPORTED_TYPES:
                archive.offset += member._block(member.size)  # type: ignore[attr-defined]
        return member


def _records(data: bytes, spending: budget.Budget) -> dict[str, str]:
    r"""Read the records of an extended header: ``LENGTH NAME=VALUE\n``, one after the other.

    :raises SubsequentHeaderError: they are not like that
    :raises ImageRefused: there are too many
    """
    records = {}
    start = 0
    while start < len(data):
        spending.take_record()
        digits, space, _ = data[start : start + _MAX_DIGITS + 1].partition(b" ")
        end = start + int(digits) if space and digits.isdigit() else 0
        name, equals, value = data[start + len(digits) + 1 : max(end - 1, 0)].partition(b"=")
        if not name or not equals or end > len(data) or data[end - 1] != ord("\n"):
            raise tarfile.SubsequentHeaderError("an extended header is damaged")  # type: ignore[attr-defined]
        records[_text(name)] = _text(value)
        start = end
    return records


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")

# SPDX-License-Identifier: Apache-2.0
"""Readers of compressed parts of an image, with limits to their output and memory."""

from __future__ import annotations

import bz2
import contextlib
import importlib
import lzma
import shutil
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol

from novadocker import exceptions
from novadocker.virt.docker.engine import budget

_MAGICS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
CHUNK = 1 << 20
# What unpacking may take; "xz -9" takes 65 MiB, "zstd --ultra -22" has a window of 128 MiB.
MAX_MEMORY_BYTES = 128 << 20
_FED_BYTES = 64 << 10


class Reader(Protocol):
    """A file, as far as it is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes."""


def detect(head: bytes) -> str | None:
    """Return the compression that the first bytes of a file indicate; None for none."""
    return next((kind for magic, kind in _MAGICS.items() if head.startswith(magic)), None)


@contextlib.contextmanager
def plain(source: IO[bytes], spending: budget.Budget | None = None) -> Iterator[Reader]:
    """Yield a reader of a file's content, unpacked if the file is compressed.

    :param spending: the budget of the image that it is a part of
    :raises DriverError: this host cannot unpack it
    """
    start = source.tell()
    kind = detect(source.read(8))
    source.seek(start)
    if kind is None:
        yield source
    elif kind in _DECOMPRESSORS:
        yield _Streams(source, _DECOMPRESSORS[kind], spending or budget.Budget())
    else:
        with _zstd(source) as reader:
            yield reader


class Bounded:
    """A reader that refuses damaged content, and more content than its limit.

    :param what: name of the content, for messages
    :param limit: most bytes
    """

    def __init__(self, reader: Reader, what: str, limit: int) -> None:
        self._reader = reader
        self._what = what
        self._limit = limit
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """Return at most so many bytes, and never more than a chunk.

        :raises ImageRefused: the content is damaged or exceeds the limit
        """
        time.sleep(0)  # lets other green threads run, where nova-compute uses eventlet
        wanted = CHUNK if size is None or size < 0 else min(size, CHUNK)
        try:
            data = self._reader.read(wanted)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as err:
            raise exceptions.ImageRefused(f"{self._what} is damaged: {err}") from err
        self.count += len(data)
        if self.count > self._limit:
            raise exceptions.ImageRefused(
                f"{self._what} unpacks to more than the {self._limit} bytes that are left of "
                "the limit ([docker]max_image_size_gb)"
            )
        return data


class _Gzip:
    """Unpacks a stream of gzip as the decompressors of :mod:`bz2` and :mod:`lzma` do theirs."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        # zlib takes 0 for no limit, where the others take -1.
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(max_length, 0))


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "gzip": _Gzip,
    "bzip2": bz2.BZ2Decompressor,
    # A stream may need gigabytes of memory to be unpacked.
    "xz": lambda: lzma.LZMADecompressor(memlimit=MAX_MEMORY_BYTES),
}


class _Streams:
    """Reads compressed streams, one after the other, perhaps with zeros between and behind them.

    The readers of Python's library begin as many as there are, and look for them byte by byte.
    """

    def __init__(self, source: IO[bytes], make: Callable[[], Any], spending: budget.Budget) -> None:
        self._source = source
        self._make = make
        self._spending = spending
        self._decompressor: Any = None

    def read(self, size: int = -1, /) -> bytes:
        if self._decompressor is None:
            self._begin()
        while True:
            if self._decompressor.eof:
                rest = self._next_stream()
                if not rest:
                    return b""
                self._begin()
            elif self._decompressor.needs_input:
                rest = self._source.read(_FED_BYTES)
            else:
                rest = b""
            ended = not rest and self._decompressor.needs_input
            data: bytes = self._decompressor.decompress(rest, size)
            if data:
                return data
            if ended and not self._decompressor.eof:
                raise EOFError("the end is missing")

    def _begin(self) -> None:
        self._spending.take_stream()
        self._decompressor = self._make()

    def _next_stream(self) -> bytes:
        """Return the beginning of the next stream; nothing at the end of the file."""
        rest: bytes = self._decompressor.unused_data.lstrip(b"\0")
        while not rest:
            more = self._source.read(_FED_BYTES)
            if not more:
                return b""
            rest = more.lstrip(b"\0")
        return rest


@contextlib.contextmanager
def _zstd(source: IO[bytes]) -> Iterator[Reader]:
    """Yield a reader of zstd: by Python 3.14's module, a package or the program."""
    for module, opener in (("compression.zstd", "ZstdFile"), ("zstandard", "open")):
        with contextlib.suppress(ImportError):
            library: Any = importlib.import_module(module)
            yield getattr(library, opener)(source)
            return
    if shutil.which("zstd") is None:
        # Of this host; another one may have it.
        raise exceptions.DriverError(
            "the image is packed with zstd, which this host cannot read: install the package zstd"
        )
    with _program(source) as reader:
        yield reader


class _ProgramOutput:
    """Output of the zstd program, which ends in EOFError where the program fails."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def read(self, size: int = -1, /) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if not data and self._process.wait() != 0:
            raise EOFError("zstd could not unpack it")
        return data


@contextlib.contextmanager
def _program(source: IO[bytes]) -> Iterator[Reader]:
    process = subprocess.Popen(
        ["zstd", "-dcq", f"--memory={MAX_MEMORY_BYTES >> 20}MB"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )

    def feed() -> None:
        assert process.stdin is not None
        # When the reader stops early, the program is killed and its input is closed.
        with contextlib.suppress(BrokenPipeError), process.stdin as sink:
            shutil.copyfileobj(source, sink, CHUNK)

    feeder = threading.Thread(target=feed, name="novadocker-zstd", daemon=True)
    feeder.start()
    try:
        yield _ProgramOutput(process)
    finally:
        process.kill()
        feeder.join()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

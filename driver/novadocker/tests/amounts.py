# SPDX-License-Identifier: Apache-2.0
"""Archives that are hostile by amounts alone, and what looking through one of them takes.

Run as a program, it inspects the archive in each file that is named to it, and tells the fault, by
how much its memory grew at most, and how much of headers was read.
"""

from __future__ import annotations

import gzip
import json
import lzma
import signal
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from novadocker.tests.archives import LAYER, Parts, special, tar

# What an image may unpack to, here: more than in the other hostile archives, which are small.
LIMIT = 256 << 20
KIB, MIB = 1 << 10, 1 << 20
# Of the processor's time, for one archive.
MAX_S = 60


def block(kind: bytes, size: int, name: str = "x") -> bytes:
    """Make the header of a member; a negative size is one of GNU's numbers."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def extended(kind: bytes, data: bytes) -> bytes:
    """Make an extended header."""
    return block(kind, len(data)) + data + b"\0" * (-len(data) % tarfile.BLOCKSIZE)


def records(size: int) -> bytes:
    """Make so many bytes of records, the smallest that there are: 150 000 in a MiB."""
    return b"".join(b"7 %03x=\n" % (number % 4096) for number in range(size // 7))


def many(kind: bytes, size: int, members: int) -> bytes:
    """Make an archive in which each member has such an extended header."""
    header = extended(kind, records(size))
    return b"".join(header + block(tarfile.REGTYPE, 0, str(number)) for number in range(members))


def _values() -> bytes:
    value = b"a" * (60 * KIB)
    header = extended(b"x", b"%d SCHILY.xattr.user.a=%s\n" % (len(value) + 27, value))
    return b"".join(header + block(tarfile.REGTYPE, 0, str(number)) for number in range(600))


def nested(kind: bytes, size: int, depth: int) -> bytes:
    """Make an archive of one member with extended headers in front of one another."""
    return extended(kind, records(size)) * depth + LAYER


def in_layer(layer: bytes) -> bytes:
    """Make an image of one layer."""
    return Parts(layers=[layer]).docker()


def _sparse_chain() -> bytes:
    """Make a sparse file of a million holes: each block of its map leads to another one."""
    head = bytearray(block(tarfile.GNUTYPE_SPARSE, 0))
    head[482] = 1
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    link = b"%011o\0" % 1 * 42 + b"\1" + b"\0" * 7
    return bytes(head) + link * 80_000


def _sparse_map() -> bytes:
    """Make a sparse file whose map of holes is in its content, and has no end."""
    head = b"22 GNU.sparse.major=1\n" + b"22 GNU.sparse.minor=0\n" + b"26 GNU.sparse.name=sparse\n"
    content = b"9999999\n" + b"1\n" * (8 * MIB)
    padding = b"\0" * (-len(content) % tarfile.BLOCKSIZE)
    return extended(b"x", head) + block(tarfile.REGTYPE, len(content)) + content + padding


def _long_names() -> bytes:
    name = b"a" * (60 * KIB)
    return b"".join(
        extended(tarfile.GNUTYPE_LONGNAME, name + b"%d\0" % number) + block(tarfile.REGTYPE, 0)
        for number in range(400)
    )


def _with_dictionary(size_code: int) -> bytes:
    """Pack by xz with a dictionary of any size, of which nothing is used.

    :param size_code: 36 is 1 GiB, 31 are 192 MiB
    """
    packed = bytearray(lzma.compress(LAYER, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}]))
    # Behind the stream's header: size, flags, the filter, size of its properties, the dictionary.
    assert packed[14:16] == b"\x21\1"
    packed[16] = size_code
    end = 12 + packed[12] * 4
    packed[end : end + 4] = zlib.crc32(packed[12:end]).to_bytes(4, "little")
    return bytes(packed)


def _zstd_window() -> bytes:
    """Make a frame of zstd that asks for a window of 1 GiB."""
    return b"\x28\xb5\x2f\xfd\x00\xa0" + (1 | len(LAYER) << 3).to_bytes(3, "little") + LAYER


def _promised(size: int) -> bytes:
    """Make a layer of one file with a size in its header, and next to nothing behind it."""
    return block(tarfile.REGTYPE, size) + bytes(10 * KIB)


def _promised_pax(size: int) -> bytes:
    record = b" size=%d\n" % size
    header = extended(b"x", b"%d" % (len(record) + 2) + record)
    return header + block(tarfile.REGTYPE, 0) + bytes(10 * KIB)


def _json(name: str, content: bytes) -> bytes:
    return tar((name, content))


# Name of the archive: how it is made, and what the fault says.
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "header of a megabyte for each member": (
        lambda: many(b"x", MIB, 40),
        "header in the archive has",
    ),
    "headers of 64 KiB for each member": (
        lambda: many(b"x", 64 * KIB, 600),
        "extended headers in the archive have more than 2000000 records",
    ),
    "attributes of 60 KiB for each file of a layer": (
        lambda: in_layer(_values()),
        "extended headers in the archive have more than 33554432 bytes",
    ),
    "headers of a megabyte in front of one another": (
        lambda: in_layer(nested(b"x", MIB, 40)),
        "header in the archive has",
    ),
    "headers of 64 KiB in front of one another": (
        lambda: in_layer(nested(b"x", 64 * KIB, 600)),
        "more than 4 extended headers",
    ),
    "headers of Solaris in front of one another": (
        lambda: in_layer(nested(b"X", 64 * KIB, 600)),
        "more than 4 extended headers",
    ),
    "header of a megabyte for each file of a layer": (
        lambda: in_layer(many(b"x", MIB, 40)),
        "header in the archive has",
    ),
    "headers of 64 KiB for each file of a layer": (
        lambda: in_layer(many(b"x", 64 * KIB, 600)),
        "extended headers in the archive have more than 2000000 records",
    ),
    "headers of 64 KiB over all layers": (
        lambda: Parts(layers=[many(b"x", 64 * KIB, 100 + number) for number in range(6)]).docker(),
        "extended headers in the archive have more than 2000000 records",
    ),
    "headers for all members": (lambda: many(b"g", 64 * KIB, 600), "all its files"),
    "headers for all members in front of one another": (
        lambda: nested(b"g", 64 * KIB, 600),
        "more than 4 extended headers",
    ),
    "long names in front of one another": (
        lambda: in_layer(extended(b"L", b"a\0") * 900 + LAYER),
        "more than 4 extended headers",
    ),
    "long links in front of one another": (
        lambda: extended(b"K", b"a\0") * 900 + LAYER,
        "more than 4 extended headers",
    ),
    "names of 60 KiB": (_long_names, "a name of 614"),
    "header of a negative size": (
        lambda: block(b"x", -512) + Parts().docker(),
        "has the size -512",
    ),
    "file of a negative size": (
        lambda: in_layer(extended(b"x", b"13 size=-512\n") + LAYER),
        "has the size -512",
    ),
    **{
        f"file of 2^{power} bytes that are not there, {kind}": (
            lambda make=make, power=power: in_layer(make(1 << power)),  # type: ignore[misc]
            "unexpected end of data",
        )
        for kind, make in (("by GNU", _promised), ("by POSIX", _promised_pax))
        for power in (40, 62)
    },
    "sparse file of a million holes": (_sparse_chain, "sparse"),
    "sparse file of a million holes in a layer": (lambda: in_layer(_sparse_chain()), "sparse"),
    "sparse file with a map without end": (_sparse_map, "sparse"),
    "sparse file with a map without end in a layer": (lambda: in_layer(_sparse_map()), "sparse"),
    "manifest of millions of lists": (
        lambda: _json("manifest.json", b"[" + b"[]," * (2 * MIB) + b"[]]"),
        "more than 1048576 bytes",
    ),
    "index of millions of objects": (
        lambda: _json("index.json", b"[" + b'{"":0},' * MIB + b"{}]"),
        "more than 1048576 bytes",
    ),
    "manifest of hundreds of thousands of layers": (
        lambda: Parts(manifest={"Layers": ["a"] * 150_000}).docker(),
        "150000",
    ),
    "configuration of hundreds of thousands of names": (
        lambda: Parts(config={"x": {f"{number:x}": 0 for number in range(200_000)}}).docker(),
        "more than 1048576 bytes",
    ),
    "empty streams of gzip without end": (
        lambda: Parts(
            pack=lambda layer: gzip.compress(layer) + gzip.compress(b"") * 500_000
        ).docker(),
        "more than 500000 streams",
    ),
    "empty streams of xz without end": (
        lambda: Parts(
            pack=lambda layer: lzma.compress(layer) + lzma.compress(b"") * 500_000
        ).docker(),
        "more than 500000 streams",
    ),
    "xz with a dictionary of a gigabyte": (
        lambda: Parts(pack=lambda _one: _with_dictionary(36)).docker(),
        "emory usage limit",
    ),
    "xz with a dictionary of 192 MiB": (
        lambda: Parts(pack=lambda _one: _with_dictionary(31)).docker(),
        "emory usage limit",
    ),
    "zstd with a window of a gigabyte": (
        lambda: Parts(pack=lambda _one: _zstd_window()).docker(),
        "damaged",
    ),
    "device with a name of its own and headers": (
        lambda: nested(b"x", 64 * KIB, 4) + special("sda", tarfile.BLKTYPE).tobuf(),
        "neither a manifest.json",
    ),
}


def _memory_bytes(what: str) -> int:
    """Tell what the kernel says of this program's memory.

    Not by ``getrusage``: it has the peak of the process that started this one in it.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(f"{what}:")]
    return int(line.split()[1]) << 10


def main() -> None:
    """Inspect the archives whose paths come by standard input, one a line."""
    import platform

    from novadocker import exceptions
    from novadocker.virt.docker.engine import budget
    from novadocker.virt.docker.images import archive

    budgets = []

    class Noted(budget.Budget):
        def __init__(self, *args: int) -> None:
            super().__init__(*args)
            budgets.append(self)

    budget.Budget = Noted  # type: ignore[misc]
    for path in sys.stdin:
        fault = ""
        # The peak begins anew.
        Path("/proc/self/clear_refs").write_text("5")
        before = _memory_bytes("VmRSS")
        budgets.clear()
        # Whoever goes round for ever is killed by it.
        signal.setitimer(signal.ITIMER_PROF, MAX_S)
        with Path(path.rstrip()).open("rb") as source:
            try:
                archive.Archive(source, LIMIT).image(platform.machine())
            except exceptions.ImageRefused as err:
                fault = str(err)
        read = sum(spent.headers_read_bytes for spent in budgets)
        files = sum(spent.files for spent in budgets)
        grown = _memory_bytes("VmHWM") - before
        told = {"fault": fault, "grown": grown, "headers": read, "files": files}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

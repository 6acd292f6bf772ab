# SPDX-License-Identifier: Apache-2.0
"""What hostile archives take before they are refused: of memory, and of what is read of them."""

from __future__ import annotations

import gzip
import io
import json
import platform
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from novadocker import exceptions
from novadocker.tests import amounts, archives
from novadocker.tests.archives import LAYER, Parts
from novadocker.virt.docker.engine import budget, headers, streams
from novadocker.virt.docker.images import archive, compression, layers

# Above what a Python with the driver in it has anyway: together they stay below 300 MB.
MAX_GROWTH_BYTES = 160 << 20
TREE = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def inspector() -> Iterator[subprocess.Popen[str]]:
    """A process that inspects archives, and nothing else."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", amounts.__name__],
        cwd=TREE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.communicate()


@pytest.mark.parametrize("name", sorted(amounts.ARCHIVES))
def test_hostile_amounts_are_refused_before_they_are_taken_in(
    name: str, tmp_path: Path, inspector: subprocess.Popen[str]
) -> None:
    make, fault = amounts.ARCHIVES[name]
    path = tmp_path / "archive.tar"
    path.write_bytes(make())
    assert inspector.stdin is not None
    assert inspector.stdout is not None
    inspector.stdin.write(f"{path}\n")
    inspector.stdin.flush()
    told = json.loads(inspector.stdout.readline())
    path.unlink()
    assert fault in told["fault"]
    assert told["grown"] <= MAX_GROWTH_BYTES
    assert told["headers"] <= budget.MAX_HEADERS_BYTES + 256 * told["files"]


def test_headers_are_not_looked_through_by_regular_expressions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Those of tarfile take 8 s for this one, and nothing else runs meanwhile.
    digits = b"1" * 60_000
    record = b"%d comment=%s\n" % (len(digits) + 15, digits)

    def forbidden(*_args: Any) -> None:
        raise AssertionError("tarfile looks through an extended header")

    monkeypatch.setattr(tarfile.TarInfo, "_proc_pax", forbidden)
    layer = amounts.extended(b"x", record) + LAYER
    assert archive.Archive(io.BytesIO(amounts.in_layer(layer)), amounts.LIMIT).image(
        platform.machine()
    )


@pytest.mark.parametrize(
    "data",
    [
        b"8 path=a\n",
        b"5 path=a\n",
        b"0 path=a\n",
        b"path=a\n",
        b"11 path=abc ",
        b"6 abc\n",
        b"4 =\n",
        b"-9 path=a\n",
        b"10 path=a\n\n9999999999 a=\n",
    ],
)
def test_records_of_another_form_are_refused(data: bytes) -> None:
    whole = amounts.in_layer(amounts.extended(b"x", data) + LAYER)
    with pytest.raises(Exception, match=r"header is damaged|leads out|digest"):
        archive.Archive(io.BytesIO(whole), amounts.LIMIT).image(platform.machine())


def test_an_extended_header_means_what_it_says() -> None:
    content = b"x" * 600
    header = b"".join([b"14 path=a/b/c\n", b"12 size=600\n", b"16 mtime=1700.5\n"])
    layer = (
        amounts.extended(b"x", header)
        + amounts.block(tarfile.REGTYPE, 0, "other")
        + content
        + b"\0" * (-len(content) % 512)
        + amounts.block(tarfile.REGTYPE, 0, "next")
    )
    with headers.opened(io.BytesIO(layer), budget.Budget()) as tar:
        seen = [(member.name, member.size, member.mtime) for member in tar]
    assert seen == [("a/b/c", 600, 1700.5), ("next", 0, 0)]


class Ended(io.BytesIO):
    """A stream that is asked only a few times for what is behind its end."""

    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.asked += not data
        assert self.asked < 10, "it goes on reading behind the end"
        return data

    def __next__(self) -> bytes:
        data = self.read(1 << 20)
        if not data:
            raise StopIteration
        return data


@pytest.mark.parametrize("power", [33, 40, 62])
@pytest.mark.parametrize("read", ["copy", "inspection", "headers"])
def test_what_a_header_promises_is_not_looked_for_behind_the_end(read: str, power: int) -> None:
    source = Ended(amounts.block(tarfile.REGTYPE, 1 << power) + bytes(10240))
    if read == "copy":
        with pytest.raises(tarfile.ReadError, match="unexpected end of data"):
            for _part in streams.tar_without(source, frozenset({"x"})):
                pass
    elif read == "headers":
        with (
            headers.opened(source, budget.Budget()) as tar,
            pytest.raises(tarfile.ReadError, match="unexpected end of data"),
        ):
            tar.getmembers()
    else:
        reader = layers.Hashing(compression.Bounded(source, "it", 1 << 63))
        with pytest.raises(exceptions.ImageRefused, match="unexpected end of data"):
            layers.Inspection().check(reader, "L")


def test_a_stream_is_read_ahead_only() -> None:
    layer = archives.tar(("a", b"first"), ("b", b"second"))
    with headers.opened(io.BytesIO(layer), budget.Budget()) as tar:
        first, _second = list(tar)
        opened = tar.extractfile(first)
        assert opened is not None
        with pytest.raises(tarfile.StreamError, match="backwards"):
            opened.read()


@pytest.mark.parametrize(("bytes_a_file", "refused"), [(220, False), (2000, True)])
def test_many_files_with_names_that_are_not_of_ascii_are_taken(
    bytes_a_file: int, refused: bool
) -> None:
    name = "ж" * (bytes_a_file // 2)
    layer = b"".join(
        amounts.extended(tarfile.GNUTYPE_LONGNAME, f"{name}{number}\0".encode())
        + amounts.block(tarfile.REGTYPE, 0)
        for number in range(1000)
    )
    reader = layers.Hashing(compression.Bounded(io.BytesIO(layer), "it", amounts.LIMIT))
    inspection = layers.Inspection(spending=budget.Budget(64 << 10))
    if refused:
        with pytest.raises(exceptions.ImageRefused, match="256 for each of"):
            inspection.check(reader, "L")
    else:
        inspection.check(reader, "L")


def test_headers_in_a_row_up_to_the_limit_are_taken() -> None:
    row = b"".join(
        [
            amounts.extended(b"g", b"13 comment=x\n"),
            amounts.extended(b"x", b"10 uid=12\n"),
            amounts.extended(b"K", b"link\0"),
            amounts.extended(b"L", b"name\0"),
        ]
    )
    reader = layers.Hashing(compression.Bounded(io.BytesIO(row + LAYER), "it", amounts.LIMIT))
    layers.Inspection().check(reader, "L")


def test_zeros_behind_a_stream_are_not_looked_at_one_by_one() -> None:
    class Source(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            return super().read(size)

    source = Source(gzip.compress(b"first") + bytes(4 << 20) + gzip.compress(b"second"))
    with compression.plain(source) as reader:
        bounded = compression.Bounded(reader, "it", amounts.LIMIT)
        assert b"".join(iter(bounded.read, b"")) == b"firstsecond"
    assert source.reads < 100


def test_streams_of_all_layers_have_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Parts(layers=[LAYER, LAYER + b"\0" * 512], pack=gzip.compress).docker()
    monkeypatch.setattr(budget, "MAX_STREAMS", 2)
    assert archive.Archive(io.BytesIO(data), amounts.LIMIT).image(platform.machine())
    monkeypatch.setattr(budget, "MAX_STREAMS", 1)
    with pytest.raises(Exception, match="more than 1 streams"):
        archive.Archive(io.BytesIO(data), amounts.LIMIT).image(platform.machine())

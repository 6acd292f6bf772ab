# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import platform
import tarfile

import pytest

from novadocker import exceptions
from novadocker.tests.archives import Parts, special, tar
from novadocker.virt.docker.engine import budget
from novadocker.virt.docker.images import archive, compression, layers


def check(layer: bytes, inspection: layers.Inspection | None = None) -> layers.Hashing:
    """Look through a layer, and read it to its end as the inspection of an archive does."""
    reader = layers.Hashing(compression.Bounded(io.BytesIO(layer), "it", 1 << 30))
    (inspection or layers.Inspection()).check(reader, "L")
    while reader.read(compression.CHUNK):
        pass
    return reader


def long_name(size: int) -> bytes:
    """Make a layer with one extended header of so many bytes."""
    header = special("x", tarfile.GNUTYPE_LONGNAME)
    header.size = size
    name = b"a" * (size - 1) + b"\0"
    return header.tobuf(tarfile.GNU_FORMAT) + name + b"\0" * (-size % 512) + tar(("x", b""))


def pax(headers: dict[str, str]) -> bytes:
    """Make a layer of one file with extended headers."""
    entry = special("x", tarfile.REGTYPE)
    entry.pax_headers = headers
    return tar(entry, format=tarfile.PAX_FORMAT)


@pytest.mark.parametrize(
    "layer",
    [
        b"",
        tar(),
        tar(("..a", b""), ("b..", b""), ("a/.wh.b", b""), ("a/.wh..wh..opq", b"")),
        tar(special("link", tarfile.SYMTYPE, "../../x"), special("hard", tarfile.LNKTYPE, "a/b")),
        pax({"SCHILY.xattr.security.capability": "x", "comment": "y"}),
    ],
    ids=["nothing", "no files", "names", "links", "attributes"],
)
def test_what_layers_have_is_taken(layer: bytes) -> None:
    assert check(layer).digest.hexdigest() == hashlib.sha256(layer).hexdigest()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a/..", ".wh.", "a/.wh..", ".wh..."])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(exceptions.ImageRefused, match="layer L has a file named"):
        check(tar((name, b"")))


def test_an_end_of_a_name_hides_nothing() -> None:
    with pytest.raises(exceptions.ImageRefused, match="leads out"):
        check(tar(special("a/.wh../", tarfile.SYMTYPE, "x")))


def test_hard_links_that_lead_out_are_refused() -> None:
    with pytest.raises(exceptions.ImageRefused, match="leads out"):
        check(tar(special("x", tarfile.LNKTYPE, "a/../../x")))


def test_files_up_to_the_limit_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MAX_ENTRIES", 2)
    check(tar(("1", b""), ("2", b"")))
    with pytest.raises(exceptions.ImageRefused, match="more than 2 files"):
        check(tar(("1", b""), ("2", b""), ("3", b"")))


def test_the_limit_is_that_of_all_layers_together(monkeypatch: pytest.MonkeyPatch) -> None:
    assert layers.MAX_ENTRIES == 1_000_000
    monkeypatch.setattr(layers, "MAX_ENTRIES", 3)
    image = Parts(layers=[tar(("1", b""), ("2", b"")), tar(("3", b""))])
    assert archive.Archive(io.BytesIO(image.docker()), 1 << 20).image(platform.machine())
    image.layers.append(tar(("4", b"")))
    with pytest.raises(exceptions.ImageRefused, match="its layers have more than 3 files"):
        archive.Archive(io.BytesIO(image.docker()), 1 << 20).image(platform.machine())


@pytest.mark.parametrize(
    ("layer", "seen"),
    [
        (tar(("a/b/c", b"")), True),
        (tar(("./a/b", b"")), True),
        (tar(special("x", tarfile.LNKTYPE, "a/b/c")), True),
        (tar(special("x", tarfile.SYMTYPE, "a/b/c")), False),
        (tar(("a/bc", b""), ("x/a/b", b""), ("a", b"")), False),
    ],
)
def test_what_is_below_a_directory_is_seen(layer: bytes, seen: bool) -> None:
    reader = layers.Hashing(compression.Bounded(io.BytesIO(layer), "it", 1 << 20))
    assert layers.Inspection("a/b").check(reader, "L") is seen


def test_headers_up_to_the_limit_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_HEADER_BYTES", 300)
    check(long_name(300))
    with pytest.raises(exceptions.ImageRefused, match="header in the archive has 301 bytes"):
        check(long_name(301))
    # What is in a file is not a header.
    check(tar(("x", b"x" * 1000)))


@pytest.mark.parametrize("key", ["GNU.sparse.name", "GNU.sparse.realsize", "GNU.sparse.major"])
def test_any_word_of_sparse_files_is_refused(key: str) -> None:
    with pytest.raises(exceptions.ImageRefused, match="layer L has a sparse file"):
        check(pax({key: "1"}))


def test_attributes_of_the_kernel_are_refused() -> None:
    with pytest.raises(exceptions.ImageRefused, match="layer L sets attributes of 'x'"):
        check(pax({"SCHILY.xattr.trusted.overlay.opaque": "y"}))


@pytest.mark.parametrize("layer", [b"junk" * 400, tar(("x", b"x" * 2000))[:1000]])
def test_what_is_no_archive_is_refused(layer: bytes) -> None:
    with pytest.raises(exceptions.ImageRefused, match="layer L is not a whole tar archive"):
        check(layer)


def test_reading_is_bounded() -> None:
    reader = layers.Hashing(compression.Bounded(io.BytesIO(b"12345"), "it", 5))
    assert [reader.read(2), reader.read(2), reader.read(2)] == [b"12", b"34", b"5"]
    assert reader.digest.hexdigest() == hashlib.sha256(b"12345").hexdigest()

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tarfile

import pytest

from novadocker.tests.archives import special, tar
from novadocker.virt.docker.engine import streams


def test_parts_are_read_as_a_file() -> None:
    parts = streams.Parts(iter([b"abc", b"", b"defg", b"h"]))
    assert parts.read(0) == b""
    assert [parts.read(2), parts.read(2), parts.read(None), parts.read(-1)] == [
        b"ab",
        b"c",
        b"defg",
        b"h",
    ]
    assert parts.read(1) == parts.read() == b""
    parts.close()


def without(data: bytes, *names: str) -> list[bytes]:
    # In small parts, as they come from a connection.
    pieces = [data[at : at + 100] for at in range(0, len(data), 100)]
    return list(streams.tar_without(iter(pieces), frozenset(names)))


def test_members_are_left_out_and_all_others_stay_as_they_are() -> None:
    kept = [
        ("first", b"1" * 700),
        ("Xetc/hosts", b"named alike"),
        special("a directory", tarfile.DIRTYPE),
        special("link", tarfile.SYMTYPE, "../x"),
        special("hard", tarfile.LNKTYPE, "first"),
        ("last", b"2" * 512),
        ("empty", b""),
    ]
    out = [("./etc/hosts", b"3"), ("/etc/hosts", b"4"), ("etc/hosts", b"5")]
    data = tar(*out[:1], *kept[:4], *out[1:], *kept[4:], format=tarfile.PAX_FORMAT)
    filtered = b"".join(without(data, "etc/hosts"))
    whole = tar(*kept, format=tarfile.PAX_FORMAT)
    # One block for each header, the contents in whole blocks, two blocks that end it.
    assert len(filtered) == 512 * (len(kept) + 2 + 1 + 1 + 2)
    assert filtered == whole[: len(filtered)]


def test_contents_pass_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_CHUNK", 100)
    data = tar(("x", b"x" * 250), format=tarfile.PAX_FORMAT)
    assert [len(part) for part in without(data)] == [512, 100, 100, 50, 262, 1024]

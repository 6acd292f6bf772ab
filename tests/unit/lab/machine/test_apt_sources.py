# SPDX-License-Identifier: Apache-2.0
"""The machine's package sources, as hosts may use them."""

from __future__ import annotations

import pathlib

import pytest

from lab.errors import ImageError
from lab.machine import apt_sources
from lab.machine.apt_sources import Source

DEB822 = """\
# the distribution's own
Types: deb deb-src
# where it came from
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
Enabled: no
"""


def folder(tmp_path: pathlib.Path, **files: str) -> pathlib.Path:
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        place = tmp_path if name == "list" else tmp_path / "sources.list.d"
        (place / {"list": "sources.list"}.get(name, name.replace("_", "."))).write_text(text)
    return tmp_path


def test_deb822_sources_keep_the_releases_own_suites_and_components(tmp_path: pathlib.Path) -> None:
    sources = apt_sources.machine_sources("bookworm", folder(tmp_path, debian_sources=DEB822))
    assert sources == [
        Source(
            "http://archive.example/debian",
            ("bookworm", "bookworm-updates"),
            ("main",),
            "/usr/share/keyrings/debian-archive-keyring.gpg",
        )
    ]


def test_one_line_sources_with_and_without_options(tmp_path: pathlib.Path) -> None:
    text = (
        "deb http://archive.example/debian bookworm main non-free # ours\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://sec.example/ bookworm-security main\n"
        "deb-src http://archive.example/debian bookworm main\n"
        "# deb http://off.example/ bookworm main\n"
    )
    sources = apt_sources.machine_sources("bookworm", folder(tmp_path, list=text))
    assert sources == [
        Source("http://archive.example/debian", ("bookworm",), ("main",)),
        Source("http://sec.example/", ("bookworm-security",), ("main",), "/k.gpg"),
    ]


def test_third_parties_archives_are_left_out(tmp_path: pathlib.Path) -> None:
    text = (
        "deb http://archive.example/debian bookworm main\n"
        "deb http://engine.example/linux bookworm stable\n"
        "deb http://db.example/apt bookworm-pgdg main\n"
    )
    sources = apt_sources.machine_sources("bookworm", folder(tmp_path, list=text))
    assert [source.uri for source in sources] == ["http://archive.example/debian"]


def test_no_source_of_the_release_is_an_error_that_names_the_place(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError, match=f"no source of trixie in {tmp_path}"):
        apt_sources.machine_sources("trixie", folder(tmp_path, debian_sources=DEB822))


def test_an_embedded_key_is_no_path() -> None:
    text = "Types: deb\nURIs: http://x.example\nSuites: s\nComponents: main\nSigned-By:\n key\n"
    assert apt_sources.parse_deb822(text)[0].signed_by is None


def test_a_stanza_is_read_back_as_the_same_source() -> None:
    source = Source("http://x.example", ("a", "b"), ("main",), "/k.gpg")
    assert apt_sources.parse_deb822(source.stanza()) == [source]


@pytest.mark.parametrize("name", ["debian", "ubuntu"])
def test_release_of_the_machine(name: str) -> None:
    assert apt_sources.machine_release(f'ID={name}\nVERSION_CODENAME="noble"\n') == "noble"


def test_another_system_is_refused() -> None:
    with pytest.raises(ImageError, match="Debian's or Ubuntu's"):
        apt_sources.machine_release('ID="fedora"\nVERSION_CODENAME=""\n')

# SPDX-License-Identifier: Apache-2.0
"""The archive for a site without an index, made, checked and unpacked by its command."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from novadocker_actions import driver_wheel
from novadocker_actions.cmd import bundle

SDK = "docker-7.2.0-py3-none-any.whl"


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Words that name a folder of wheels and an image."""
    wheels = tmp_path / "in"
    wheels.mkdir()
    (wheels / SDK).write_bytes(b"the SDK" * 1000)
    with tarfile.open(tmp_path / "busybox.tar", "w") as tar:
        entry = tarfile.TarInfo("manifest.json")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"[]"))
    return ["--wheels", str(wheels), "--image", str(tmp_path / "busybox.tar")]


@pytest.fixture
def archive(tmp_path: Path, inputs: list[str]) -> Path:
    path = tmp_path / "novadocker.tar"
    assert bundle.main(["make", *inputs, str(path)]) == 0
    return path


def test_what_is_put_in_comes_out_with_the_driver_beside_it(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundle.main(["verify", str(archive)]) == 0
    assert "3 files, each as its checksum says" in capsys.readouterr().out
    out = tmp_path / "out"
    assert bundle.main(["unpack", str(archive), str(out)]) == 0
    driver = driver_wheel.find().path
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        *("images/busybox.tar", f"wheels/{SDK}", f"wheels/{driver.name}")
    ]
    assert (out / "wheels" / SDK).read_bytes() == b"the SDK" * 1000
    assert (out / "images/busybox.tar").read_bytes() == (tmp_path / "busybox.tar").read_bytes()
    assert (out / "wheels" / driver.name).read_bytes() == driver.read_bytes()


def test_the_same_files_make_the_same_archive(
    tmp_path: Path, archive: Path, inputs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again.tar"
    capsys.readouterr()
    assert bundle.main(["make", *inputs, str(again)]) == 0
    assert hashlib.sha256(again.read_bytes()).hexdigest() in capsys.readouterr().out
    assert again.read_bytes() == archive.read_bytes()


def rewritten(archive: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    """Write an archive anew with members changed, or left out."""
    with tarfile.open(archive) as tar:
        members = []
        for name in tar.getnames():
            file = tar.extractfile(name)
            assert file is not None
            members.append(change(name, file.read()))
    with tarfile.open(archive, "w") as tar:
        for name, data in filter(None, members):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda n, d: (n, d[:-1] + b"!" if n.endswith(SDK) else d),
            f"wheels/{SDK}: is not what its checksum says, or was altered",
        ),
        (
            lambda n, d: None if n.endswith(SDK) else (n, d),
            f"wheels/{SDK}: is in SHA256SUMS and not in",
        ),
        (
            lambda n, d: (n.replace(SDK, "../../../etc/passwd"), d),
            "wheels/../../../etc/passwd: is in",
        ),
        (lambda n, d: (n.replace("SHA256SUMS", "sums"), d), "does not begin with SHA256SUMS"),
        (
            lambda n, d: (n, d.replace(b"wheels/", b"/etc/cron.d/") if "SUMS" in n else d),
            "SHA256SUMS: of",
        ),
    ],
)
def test_an_archive_that_is_not_whole_is_refused_and_nothing_of_it_is_there(
    tmp_path: Path,
    archive: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[str, bytes], tuple[str, bytes] | None],
    said: str,
) -> None:
    rewritten(archive, change)
    for words in (["verify", str(archive)], ["unpack", str(archive), str(tmp_path / "out")]):
        assert bundle.main(words) == 1
        told = capsys.readouterr().err
        assert said in told
        assert "Copy the archive anew" in told
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".novadocker-*"))


def test_an_archive_that_was_cut_off_is_refused(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.write_bytes(archive.read_bytes()[:4000])
    assert bundle.main(["verify", str(archive)]) == 1
    assert "Copy the archive anew" in capsys.readouterr().err


def test_a_link_is_no_file(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tarfile.open(archive) as tar:
        sums = tar.extractfile("SHA256SUMS")
        assert sums is not None
        data = sums.read()
    with tarfile.open(archive, "w") as tar:
        entry = tarfile.TarInfo("SHA256SUMS")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo(f"wheels/{SDK}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert bundle.main(["unpack", str(archive), str(archive.parent / "out")]) == 1
    assert f"wheels/{SDK}: is in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--wheels", "{tmp}/empty"], "has no wheels"),
        (["--wheels", "{tmp}/in", "--wheels", "{tmp}/other"], "different files of one name"),
        (["--wheels", "{tmp}/in", "--image", "{tmp}/text"], "text is no tar archive"),
    ],
)
def test_what_cannot_be_put_in_is_named(
    tmp_path: Path,
    inputs: list[str],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / SDK).write_bytes(b"another")
    (tmp_path / "text").write_text("no archive")
    given = [word.format(tmp=tmp_path) for word in words]
    assert bundle.main(["make", *given, str(tmp_path / "made.tar")]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "made.tar").exists()


def test_what_is_there_is_not_written_over(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    assert bundle.main(["unpack", str(archive), str(tmp_path / "out")]) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]

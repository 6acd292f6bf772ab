# SPDX-License-Identifier: Apache-2.0
"""The archive for a site without an index: wheels, images, and the checksum of each.

A tar archive whose first member, ``SHA256SUMS``, names every other one as sha256sum(1) does.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from novadocker_actions import driver_wheel
from novadocker_actions.errors import Refused

SUMS = "SHA256SUMS"
LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<name>(?:wheels|images)/[A-Za-z0-9_.+!-]+)")
SUMS_BYTES = 1024 * 1024
CHUNK = 1024 * 1024
REMEDY = "Copy the archive anew from where it was made; what was unpacked of it is nothing to use."


def make(archive: Path, folders: Sequence[Path], images: Sequence[Path]) -> str:
    """Write an archive of all wheels of some folders, the driver's, and images.

    :return: SHA-256 of the archive
    :raises Refused: when a folder has no wheels, a name is there twice, or an image is no archive
    """
    files: dict[str, Path] = {}
    for folder in folders:
        wheels = sorted(folder.glob("*.whl"))
        if not wheels:
            raise Refused("--wheels", f"{folder} has no wheels.", "Give the one that has them.")
        # Of the agent's hook scripts there is no wheel.
        for path in [*wheels, *sorted(folder.glob("*.tar.gz"))]:
            _add(files, f"wheels/{path.name}", path)
    driver = driver_wheel.find().path
    files[f"wheels/{driver.name}"] = driver
    for path in images:
        if not path.is_file() or not tarfile.is_tarfile(path):
            raise Refused("--image", f"{path} is no tar archive.", "Give what docker save wrote.")
        _add(files, f"images/{path.name}", path)
    lines = [f"{_digest(path)}  {name}\n" for name, path in sorted(files.items())]
    draft = archive.with_name(f".{archive.name}.{os.getpid()}")
    try:
        with tarfile.open(draft, "w") as tar:
            _put(tar, SUMS, io.BytesIO("".join(lines).encode()))
            for name, path in sorted(files.items()):
                with path.open("rb") as file:
                    _put(tar, name, file)
        os.replace(draft, archive)
    finally:
        draft.unlink(missing_ok=True)
    return _digest(archive)


def _add(files: dict[str, Path], name: str, path: Path) -> None:
    if not LINE.fullmatch(f"{'0' * 64}  {name}"):
        raise Refused("name", f"{path.name} has characters that no archive of ours has.", "Rename.")
    if name in files and _digest(files[name]) != _digest(path):
        raise Refused(
            "name", f"{files[name]} and {path} are different files of one name.", "Leave one out."
        )
    files[name] = path


def _put(tar: tarfile.TarFile, name: str, file: io.BufferedIOBase) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = file.seek(0, os.SEEK_END)
    file.seek(0)
    tar.addfile(entry, file)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(archive: Path) -> list[str]:
    """Return the names of an archive's files, each of which is what its checksum says.

    :raises Refused: naming the first file that is not, or what is wrong with the archive
    """
    return _read(archive, None)


def unpack(archive: Path, directory: Path) -> list[str]:
    """Unpack an archive; nothing is there of it unless all of it is whole.

    :raises Refused: as `verify`, or when the directory has something in it
    """
    if directory.exists() and any(directory.iterdir()):
        raise Refused("directory", f"{directory} is not empty.", "Give one that is, or none.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".novadocker-") as draft:
        whole = Path(draft, "whole")
        names = _read(archive, whole)
        os.replace(whole, directory)
    return names


def _read(archive: Path, target: Path | None) -> list[str]:
    """Go through an archive once; write its files below a folder where one is given."""
    try:
        with tarfile.open(archive, "r:") as tar:
            wanted = _sums(archive, tar)
            for entry in tar:
                if entry.name == SUMS:
                    continue
                if entry.name not in wanted or entry.type != tarfile.REGTYPE:
                    raise Refused(entry.name, f"is in {archive} and not in {SUMS}.", REMEDY)
                _check(tar, entry, wanted.pop(entry.name), target)
            names = tar.getnames()
    except (tarfile.TarError, EOFError) as err:
        raise Refused(str(archive), f"is no whole archive ({err}).", REMEDY) from err
    if wanted:
        raise Refused(min(wanted), f"is in {SUMS} and not in {archive}.", REMEDY)
    return [name for name in names if name != SUMS]


def _sums(archive: Path, tar: tarfile.TarFile) -> dict[str, str]:
    first = tar.next()
    file = tar.extractfile(first) if first and first.name == SUMS else None
    if file is None:
        raise Refused(str(archive), f"does not begin with {SUMS}.", REMEDY)
    lines = file.read(SUMS_BYTES).decode(errors="replace").splitlines()
    named = [LINE.fullmatch(line) for line in lines]
    if not named or None in named:
        raise Refused(SUMS, f"of {archive} cannot be read.", REMEDY)
    return {line["name"]: line["sha256"] for line in named if line}


def _check(tar: tarfile.TarFile, entry: tarfile.TarInfo, sha256: str, target: Path | None) -> None:
    source = tar.extractfile(entry)
    assert source is not None  # a regular file
    place = (target / entry.name) if target else Path(os.devnull)
    if target:
        place.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with place.open("wb") as file:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != sha256:
        raise Refused(entry.name, "is not what its checksum says, or was altered.", REMEDY)

# SPDX-License-Identifier: Apache-2.0
"""The wheels that this host was given: each in a folder that is named by its SHA-256.

Enrolment over SSH brings them, or a host fetches one from the operator's address. None is used
before its content was found to be what the operator has signed, or driver.lock names.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from library.faults import StepFailed
from library.files import replace_file, sync_directory

WHEELS = "/usr/local/lib/novadocker/wheels"
# A link to the folder of the driver that this host was given last.
DRIVER = "driver"
MAX_BYTES = 64 * 1024 * 1024
FETCH_S = 60
# The name that a wheel's file has: distribution and version, and what it is for (PEP 427).
FILE_NAME = re.compile(r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[A-Za-z0-9_.!+]+)(-[^-/]+){3}\.whl")
LOCKED = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: *;(?P<marker>[^\\\n]*))?"
    r"(?P<hashes>(?: *\\\n +--hash=sha256:[0-9a-f]{64})+)",
    re.M,
)
BY_HAND = "run `novadocker-enroll update` for this host"


@dataclass(frozen=True)
class Wheel:
    """A wheel whose content has been seen to be the one that is meant."""

    path: Path
    sha256: str

    @property
    def version(self) -> str:
        """Return the version that its name tells."""
        named = FILE_NAME.fullmatch(self.path.name)
        return named["version"] if named else ""


@dataclass(frozen=True)
class Locked:
    """A package that driver.lock names.

    :param marker: for which Pythons, as pip takes it; empty for all
    :param sha256: of its files
    """

    name: str
    version: str
    marker: str
    sha256: tuple[str, ...]


def locked() -> list[Locked]:
    """Return what the driver's dependencies are, by driver.lock of this package of steps."""
    text = importlib.resources.files("library").joinpath("driver.lock").read_text()
    return [
        Locked(
            normal(entry["name"]),
            entry["version"],
            (entry["marker"] or "").strip(),
            tuple(re.findall(r"sha256:([0-9a-f]{64})", entry["hashes"])),
        )
        for entry in LOCKED.finditer(text)
    ]


def normal(name: str) -> str:
    """Return a distribution's name in the one form that can be compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def held(root: Path, sha256: str) -> Wheel | None:
    """Return the wheel of a digest, None when this host was not given it.

    :raises StepFailed: when its content is another by now
    """
    for path in sorted(folder_of(root, sha256).glob("*.whl")):
        require_content(path.read_bytes(), sha256, str(path))
        return Wheel(path, sha256)
    return None


def of_version(root: Path, name: str, version: str) -> Wheel | None:
    """Return a wheel of this version that the host was given, None when there is none.

    :param name: of the distribution
    """
    for path in sorted((root / WHEELS.lstrip("/")).glob("*/*.whl")):
        named = FILE_NAME.fullmatch(path.name)
        if path.parent.is_symlink() or named is None or named["version"] != version:
            continue
        if normal(named["name"]) == normal(name):
            return held(root, path.parent.name)
    return None


def folder_of(root: Path, sha256: str) -> Path:
    """Return where a wheel of a digest is, or would be."""
    return root / WHEELS.lstrip("/") / sha256


def is_content(data: bytes, sha256: str) -> bool:
    """Return whether content is the one that is meant."""
    return hashlib.sha256(data).hexdigest() == sha256


def require_content(data: bytes, sha256: str, what: str) -> None:
    """Refuse content that is not the one that is meant.

    :raises StepFailed: naming the file and the remedy
    """
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise StepFailed(
            f"{what} is not the wheel that is meant, or was altered: its SHA-256 is {digest[:16]}, "
            f"and not {sha256[:16]}. Look who changed it; take it away, then {BY_HAND} from a "
            "bundle that is whole"
        )


def current(root: Path) -> Wheel | None:
    """Return the driver's wheel that this host was given last, None when it was given none."""
    link = root / WHEELS.lstrip("/") / DRIVER
    return held(root, os.readlink(link)) if link.is_symlink() else None


def is_current(root: Path, sha256: str) -> bool:
    """Return whether a wheel is the driver for all who name none."""
    link = root / WHEELS.lstrip("/") / DRIVER
    return link.is_symlink() and os.readlink(link) == sha256


def put(root: Path, name: str, data: bytes) -> Wheel:
    """Keep a wheel on this host.

    :param name: of its file
    """
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder_of(root, sha256) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data, 0o644)
    return Wheel(path, sha256)


def make_current(root: Path, sha256: str) -> None:
    """Have a wheel be the driver for all who name none."""
    place = root / WHEELS.lstrip("/")
    draft = place / f".{DRIVER}.new"
    draft.unlink(missing_ok=True)
    os.symlink(sha256, draft)
    os.replace(draft, place / DRIVER)
    sync_directory(place)


def fetch(url: str, name: str, sha256: str, folder: Path) -> Wheel:
    """Fetch a wheel from the operator's address into a folder.

    :param url: of the directory that has it
    :raises StepFailed: when it is not there, or is not the one that is meant
    """
    address = f"{url.rstrip('/')}/{name}"
    try:
        with urllib.request.urlopen(address, timeout=FETCH_S) as answer:
            data = answer.read(MAX_BYTES + 1)
    except (OSError, ValueError, urllib.error.URLError) as err:
        raise StepFailed(
            f"{address} cannot be fetched ({err}): mend driver_url, or {BY_HAND}"
        ) from err
    if len(data) > MAX_BYTES:
        raise StepFailed(f"{address} is larger than {MAX_BYTES} bytes, which no wheel of ours is")
    require_content(data, sha256, address)
    path = folder / name
    path.write_bytes(data)
    return Wheel(path, sha256)

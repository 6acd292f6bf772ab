# SPDX-License-Identifier: Apache-2.0
"""The driver's wheel, which the bundle carries, and the wheels that hosts are given beside it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from novadocker_actions import host_package, resources
from novadocker_actions.errors import MissingFile, Refused

FOLDER = "wheels"
PATTERN = "nova_docker-*.whl"


@dataclass(frozen=True)
class Wheel:
    """A wheel: its file, and the SHA-256 by which hosts know it."""

    path: Path
    sha256: str


def find() -> Wheel:
    """Return the driver's wheel.

    :raises MissingFile: when the bundle has none, or several
    """
    try:
        names = resources.names(FOLDER, PATTERN)
    except MissingFile as err:
        raise MissingFile(
            f"{err} In a checkout, `pip wheel --no-deps --wheel-dir wheels .` makes it."
        ) from err
    if len(names) > 1:
        raise MissingFile(
            f"There are several wheels of the driver: {', '.join(names)}. Keep the one that "
            "belongs to this release."
        )
    path = resources.path(f"{FOLDER}/{names[0]}")
    return Wheel(path, digest_of(path))


def version() -> str:
    """Return the version of the driver's wheel."""
    return find().path.name.split("-")[1]


def settings() -> dict[str, str]:
    """Return the settings of the step install_driver that name the wheel."""
    wheel = find()
    return {"wheel": wheel.path.name, "sha256": wheel.sha256}


def for_hosts(folder: Path | None) -> list[Wheel]:
    """Return what enrolment brings to hosts: the driver, and what driver.lock names of a folder.

    :param folder: with wheels of what the driver needs, None for none
    :raises Refused: when it has none of them
    """
    driver = find()
    if folder is None:
        return [driver]
    locked = set(re.findall(r"sha256:([0-9a-f]{64})", host_package.contents()[host_package.LOCK]))
    wheels = [Wheel(path, digest_of(path)) for path in sorted(folder.glob("*.whl"))]
    needed = [wheel for wheel in wheels if wheel.sha256 in locked]
    if not needed:
        raise Refused(
            "--wheels",
            f"{folder} has no wheel that driver.lock names.",
            "Give the directory wheels of an unpacked archive, or of what is to be installed.",
        )
    return [driver, *needed]


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

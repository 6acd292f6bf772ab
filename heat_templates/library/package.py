# SPDX-License-Identifier: Apache-2.0
"""The packages of steps that this host has: each is a file that is named by its SHA-256."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

from library.files import replace_file, require_own, sync_directory

PACKAGES = "/usr/local/lib/novadocker"
# A link to the one that this host was given last; programs follow it before they begin.
CURRENT = "novadocker-host.pyz"
# What enrolment brings lies in a folder of this name beside the package that it runs.
BROUGHT = "brought"
# One that is not the current one goes away after so long without a message that asks for it.
KEPT_S = 7 * 24 * 3600


def own_package() -> Path:
    """Return where the package is that this program runs from; modules are imported from it."""
    return Path(sys.path[0])


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a package, empty when there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def held(root: Path, digest: str) -> Path | None:
    """Return where a package is on this host, None when it is not there or is not what it was.

    :raises StepFailed: when others than root could change it after this
    """
    path = root / PACKAGES.lstrip("/") / f"{digest}.pyz"
    require_own(path)
    return path if digest and digest_of(path) == digest else None


def put(root: Path, data: bytes) -> Path:
    """Put a package where it belongs, not yet as the current one; return that place."""
    place = root / PACKAGES.lstrip("/")
    place.mkdir(parents=True, exist_ok=True, mode=0o755)
    path = place / f"{hashlib.sha256(data).hexdigest()}.pyz"
    replace_file(path, data, 0o644)
    return path


def make_current(path: Path) -> None:
    """Have the agent use a package from now on; what runs already goes on with its own."""
    draft = path.with_name(f".{CURRENT}.new")
    draft.unlink(missing_ok=True)
    os.symlink(path.name, draft)
    os.replace(draft, path.with_name(CURRENT))
    sync_directory(path.parent)


def is_current(path: Path) -> bool:
    """Return whether a package is the one that the agent uses."""
    link = path.with_name(CURRENT)
    return link.is_symlink() and os.readlink(link) == path.name


def keep(path: Path) -> None:
    """Note that a package was asked for."""
    os.utime(path)


def drop_old(root: Path) -> list[str]:
    """Remove the packages that no message has asked for in a long time; return their names."""
    dropped = []
    for path in sorted((root / PACKAGES.lstrip("/")).glob("*.pyz")):
        if path.is_symlink() or is_current(path):
            continue
        if path.stat().st_mtime < time.time() - KEPT_S:
            path.unlink()
            dropped.append(path.name)
    return dropped

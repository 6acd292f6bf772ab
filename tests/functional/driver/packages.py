# SPDX-License-Identifier: Apache-2.0
"""Programs from packages of the distribution: installed, or unpacked into a cache."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Looked up now: Nova's test classes give each test a temporary directory of its own.
CACHE = Path(tempfile.gettempdir()) / "novadocker-tests"


def root_with(program: str, packages: Sequence[str]) -> Path:
    """Find the root directory below which a program is: the machine's own, or that of the cache.

    :param program: its path, relative
    :param packages: what it takes; to fetch them takes a network
    """
    if Path("/", program).exists():
        return Path("/")
    for package in packages:
        if not list(CACHE.glob(f"{package}_*.deb")):
            unpack(package)
    return CACHE / "root"


def unpack(package: str) -> None:
    """Unpack a package below the cache's root, without installing it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", package], cwd=CACHE, check=True, capture_output=True)
    for deb in CACHE.glob(f"{package}_*.deb"):
        subprocess.run(["dpkg", "-x", str(deb), str(CACHE / "root")], check=True)

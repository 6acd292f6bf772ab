# SPDX-License-Identifier: Apache-2.0
"""Programs from packages of the distribution: installed, or unpacked into a cache."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

# Looked up now: Nova's test classes give each test a temporary directory of its own.
CACHE = Path(tempfile.gettempdir()) / "novadocker-tests"


def root_with(program: str, package: str) -> Path:
    """Find the root directory below which a program is: the machine's own, or one in the cache.

    :param program: its path, relative
    :param package: what it is in; to fetch it takes a network
    """
    return Path("/") if Path("/", program).exists() else unpacked(package)


def unpacked(package: str) -> Path:
    """Find the directory in the cache that a package is unpacked in, with what it depends on."""
    root = CACHE / package
    if not root.exists():
        _unpack(package, root)
    return root


def libraries(root: Path) -> str:
    """List where programs below a root directory have libraries, for ``LD_LIBRARY_PATH``."""
    return ":".join(
        str(path) for path in (*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu"))
    )


def _unpack(package: str, root: Path) -> None:
    """Unpack a package and those of its dependencies that are not installed; install nothing."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        archives, unpacked = Path(work, "archives"), Path(work, "root")
        Path(archives, "partial").mkdir(parents=True)
        fetch = (
            *("apt-get", "install", "--yes", "--download-only", "--no-install-recommends"),
            *("-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=true"),
            # It may be the only user who can read the directory.
            *("-o", "APT::Sandbox::User=root", package),
        )
        done = subprocess.run(fetch, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(fetch)}: {done.stderr}")
        for deb in archives.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(deb), str(unpacked)], check=True)
        try:
            os.rename(unpacked, root)
        except OSError:
            # Another test has been quicker.
            if not root.exists():
                raise

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
    """Unpack a package below the cache's root, without installing it.

    The package itself gets into the cache last: what is there is unpacked.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as fetched:
        fetch = ["apt-get", "download", package]
        done = subprocess.run(fetch, cwd=fetched, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(fetch)}: {done.stderr}")
        (deb,) = Path(fetched).glob("*.deb")
        subprocess.run(["dpkg", "-x", str(deb), str(CACHE / "root")], check=True)
        deb.rename(CACHE / deb.name)

# SPDX-License-Identifier: Apache-2.0
"""lxcfs, from an unpacked package, mounted on a directory of its own."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from novadocker.virt.docker import lxcfs
from tests.functional.driver import busybox

PACKAGES = ("lxcfs", "libfuse3-3")
DAEMON = "usr/bin/lxcfs"


def programs() -> Path:
    """Find where it is: installed, or unpacked into a cache (which takes a network)."""
    if Path("/", DAEMON).exists():
        return Path("/")
    for package in PACKAGES:
        if not list(busybox.CACHE.glob(f"{package}_*.deb")):
            busybox.unpack(package, busybox.CACHE)
    return busybox.CACHE / "root"


@contextlib.contextmanager
def mounted() -> Iterator[str]:
    """Mount it, and unmount it afterwards.

    :return: where it is mounted
    """
    root, path = programs(), tempfile.mkdtemp(prefix="novadocker-lxcfs-")
    libraries = (*root.glob("usr/lib/*-linux-gnu/lxcfs"), *root.glob("lib/*-linux-gnu"))
    daemon = subprocess.Popen(
        [str(root / DAEMON), "-f", "-l", "--enable-cfs", f"--pidfile={path}.pid", path],
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(str(one) for one in libraries)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while lxcfs.fault(path):
            if time.monotonic() > deadline or daemon.poll() is not None:
                raise RuntimeError(f"lxcfs does not run: {lxcfs.fault(path)}")
            time.sleep(0.05)
        yield path
    finally:
        daemon.terminate()
        daemon.wait(20)
        Path(f"{path}.pid").unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)

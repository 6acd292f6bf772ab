# SPDX-License-Identifier: Apache-2.0
"""lxcfs, from an unpacked package, mounted on a directory of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from novadocker.virt.docker.engine import lxcfs
from tests.functional.driver import packages

DAEMON = "usr/bin/lxcfs"


def programs() -> Path:
    """Find below which directory it is."""
    return packages.root_with(DAEMON, "lxcfs")


@contextlib.contextmanager
def mounted() -> Iterator[str]:
    """Mount it, and unmount it afterwards.

    :return: where it is mounted
    """
    root, path = programs(), tempfile.mkdtemp(prefix="novadocker-lxcfs-")
    own = next(root.glob("usr/lib/*-linux-gnu/lxcfs"))
    daemon = subprocess.Popen(
        [str(root / DAEMON), "-f", "-l", "--enable-cfs", f"--pidfile={path}.pid", path],
        env={**os.environ, "LD_LIBRARY_PATH": f"{own}:{packages.libraries(root)}"},
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

# SPDX-License-Identifier: Apache-2.0
"""An engine whose containers have user namespaces, for a process with mounts of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

_USER = "nobody"
# Who is root in containers.
ROOT = 200_000
OPTION = f"--userns-remap={_USER}:nogroup"
_IN_OWN_MOUNTS = "NOVADOCKER_TEST_OWN_MOUNTS"


def in_own_mounts(module: str) -> None:
    """Run a module anew in mounts of its own, unless it is in them already."""
    if _IN_OWN_MOUNTS in os.environ:
        return
    os.environ[_IN_OWN_MOUNTS] = "1"
    python = (sys.executable, "-W", "ignore", "-m", module)
    os.execvp("unshare", ["unshare", "--mount", *python, *sys.argv[1:]])


@contextlib.contextmanager
def users() -> Iterator[None]:
    """Have users for user namespaces, in the mounts of this process alone."""
    assert _IN_OWN_MOUNTS in os.environ
    with tempfile.NamedTemporaryFile("w") as ranges:
        ranges.write(f"{_USER}:{ROOT}:65536\n")
        ranges.flush()
        for table in ("/etc/subuid", "/etc/subgid"):
            subprocess.run(["mount", "--bind", ranges.name, table], check=True)
        yield

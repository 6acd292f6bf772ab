# SPDX-License-Identifier: Apache-2.0
"""Programs of xfs: installed, or from unpacked packages."""

from __future__ import annotations

import os
from pathlib import Path

from tests.functional.driver import packages


def programs() -> dict[str, str]:
    """Have them (which takes a network once).

    :return: the environment to run them in
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    root = packages.root_with("sbin/mkfs.xfs", "xfsprogs")
    if root == Path("/"):
        return {"PATH": path, "LC_ALL": "C"}
    return {
        "PATH": f"{root / 'sbin'}:{root / 'usr/sbin'}:{path}",
        "LC_ALL": "C",
        "LD_LIBRARY_PATH": packages.libraries(root),
    }

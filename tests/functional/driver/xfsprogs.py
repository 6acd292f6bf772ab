# SPDX-License-Identifier: Apache-2.0
"""Programs of xfs: installed, or from unpacked packages."""

import os
from pathlib import Path

from tests.functional.driver import busybox

PACKAGES = ("xfsprogs", "libinih1", "liburcu8")


def programs() -> dict[str, str]:
    """Have them (which takes a network once).

    :return: the environment to run them in
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if Path("/usr/sbin/mkfs.xfs").exists() or Path("/sbin/mkfs.xfs").exists():
        return {"PATH": path, "LC_ALL": "C"}
    for package in PACKAGES:
        if not list(busybox.CACHE.glob(f"{package}_*.deb")):
            busybox.unpack(package, busybox.CACHE)
    root = busybox.CACHE / "root"
    libraries = [*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu")]
    return {
        "PATH": f"{root / 'sbin'}:{root / 'usr/sbin'}:{path}",
        "LC_ALL": "C",
        "LD_LIBRARY_PATH": ":".join(str(one) for one in libraries),
    }

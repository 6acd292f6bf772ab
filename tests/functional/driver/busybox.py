# SPDX-License-Identifier: Apache-2.0
"""A small image to start, made from Debian's busybox-static: no registry is asked."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from novadocker.tests import archives
from tests.functional.driver import packages


def program() -> Path:
    """Find busybox, or fetch Debian's package of it into a cache of the user's."""
    installed = Path("/bin/busybox")
    if (
        installed.exists()
        and b"statically"
        in subprocess.run(
            ["/bin/sh", "-c", "ldd /bin/busybox 2>&1 || echo statically"],
            check=True,
            capture_output=True,
        ).stdout
    ):
        return installed
    root = packages.unpacked("busybox-static")
    return next(path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.exists())


def root_layer() -> bytes:
    """Pack the layer of a busybox system."""
    busybox = program()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        applets = subprocess.run(
            [busybox, "--list"], check=True, capture_output=True, text=True
        ).stdout.split()
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        for name in ("etc", "root", "tmp", "var", "proc", "sys", "dev"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
            ("etc/group", "root:x:0:\n"),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def image(cmd: list[str] | None = None, **config: object) -> bytes:
    """Pack an image of busybox as ``docker save`` does.

    :param cmd: what it runs; by default a shell
    """
    inner = {"Cmd": cmd or ["sh"], "Env": ["PATH=/bin"]}
    return archives.Parts(layers=[root_layer()], config={"config": inner, **config}).docker()

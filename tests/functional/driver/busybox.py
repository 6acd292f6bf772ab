# SPDX-License-Identifier: Apache-2.0
"""A small image to start, made from Debian's busybox-static: no registry is asked."""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
import tempfile
from pathlib import Path

# Looked up now: Nova's test classes give each test a temporary directory of its own.
CACHE = Path(tempfile.gettempdir()) / "novadocker-tests"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


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
    found = CACHE / "root" / "bin" / "busybox"
    if not found.exists():
        unpack("busybox-static", CACHE)
    return found


def unpack(package: str, cache: Path) -> None:
    """Unpack a package of the distribution below ``cache/root``, without installing it."""
    cache.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", package], cwd=cache, check=True, capture_output=True)
    for deb in cache.glob(f"{package}_*.deb"):
        subprocess.run(["dpkg", "-x", str(deb), str(cache / "root")], check=True)


def layer(files: dict[str, bytes]) -> bytes:
    """Pack a layer with some files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


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


def image(
    layers: list[bytes] | None = None,
    cmd: list[str] | None = None,
    tags: list[str] | None = None,
    **config: object,
) -> bytes:
    """Pack an image as ``docker save`` does.

    :param cmd: what it runs; by default a shell
    """
    layers = layers if layers is not None else [root_layer()]
    described = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Cmd": cmd or ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers],
        },
        **config,
    }
    config_bytes = json.dumps(described).encode()
    config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
    names = [
        f"{hashlib.sha256(b'%d' % number + one).hexdigest()}/layer.tar"
        for number, one in enumerate(layers)
    ]
    manifest = [{"Config": config_name, "RepoTags": tags, "Layers": names}]
    return layer(
        {
            config_name: config_bytes,
            **dict(zip(names, layers, strict=True)),
            "manifest.json": json.dumps(manifest).encode(),
        }
    )

# SPDX-License-Identifier: Apache-2.0
"""Make the demo image of Debian's busybox-static and put it into a registry, over its API.

Runs inside the build of the controller's image: standard library only.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import subprocess
import sys
import tarfile
import time
import urllib.request

BUSYBOX = "/bin/busybox"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "var", "var/spool")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hostname": "busybox\n",
}


def file_system(busybox: bytes, applets: list[str]) -> bytes:
    """Return the image's one layer as a tar archive, the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in DIRECTORIES:
            tar.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
        sticky = _entry("tmp", tarfile.DIRTYPE, 0o1777)
        tar.addfile(sticky)
        for name, text in FILES.items():
            tar.addfile(_entry(name, tarfile.REGTYPE, 0o644, len(text)), io.BytesIO(text.encode()))
        program = _entry("bin/busybox", tarfile.REGTYPE, 0o755, len(busybox))
        tar.addfile(program, io.BytesIO(busybox))
        for applet in sorted(set(applets) - {"busybox"}):
            link = _entry(f"bin/{applet}", tarfile.LNKTYPE, 0o755)
            link.linkname = "bin/busybox"
            tar.addfile(link)
    return buffer.getvalue()


def _entry(name: str, kind: bytes, mode: int, size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size = kind, mode, size
    return entry


def describe(layer: bytes, architecture: str) -> tuple[bytes, bytes, bytes]:
    """Return the compressed layer, the image's configuration and its manifest."""
    packed = gzip.compress(layer, mtime=0)
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {
                "Cmd": ["sh"],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "busybox-static"}],
        },
        sort_keys=True,
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": _digest(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(packed),
                    "digest": _digest(packed),
                }
            ],
        },
        sort_keys=True,
    ).encode()
    return packed, config, manifest


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _wait(registry: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            urllib.request.urlopen(f"{registry}/v2/", timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _send(method: str, url: str, data: bytes, kind: str = "application/octet-stream") -> str:
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.headers.get("Location", ""))


def publish(registry: str, name: str, tag: str, image: tuple[bytes, bytes, bytes]) -> None:
    """Upload the blobs and the manifest of one image."""
    packed, config, manifest = image
    for blob in (packed, config):
        where = _send("POST", f"{registry}/v2/{name}/blobs/uploads/", b"")
        joint = "&" if "?" in where else "?"
        _send("PUT", f"{where}{joint}digest={_digest(blob)}", blob)
    _send("PUT", f"{registry}/v2/{name}/manifests/{tag}", manifest, MANIFEST)


def main(registry: str, name: str, tag: str) -> None:
    """Build the image from this machine's busybox and publish it."""
    with open(BUSYBOX, "rb") as program:
        busybox = program.read()
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    architecture = ARCHITECTURES[platform.machine()]
    image = describe(file_system(busybox, listed.stdout.split()), architecture)
    _wait(registry)
    publish(registry, name, tag, image)


if __name__ == "__main__":
    main(*sys.argv[1:])

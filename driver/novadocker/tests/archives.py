# SPDX-License-Identifier: Apache-2.0
"""Archives of images as tools write them, and as nobody should: parts to build them from."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Callable
from typing import Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
HERE = ARCHITECTURES.get(platform.machine(), platform.machine())


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def tar(*members: tuple[str, bytes] | tarfile.TarInfo, **options: Any) -> bytes:
    """Return an archive of files, given by name and content, and of other members as they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as out:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                out.addfile(member)
                continue
            name, content = member
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(content), 0o755
            out.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Make a member that is not a file."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


LAYER = tar(("hello", b"world"))


@dataclasses.dataclass
class Parts:
    """An image in parts, any of which can be made wrong before it is packed."""

    layers: list[bytes] = dataclasses.field(default_factory=lambda: [LAYER])
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    manifest: dict[str, Any] = dataclasses.field(default_factory=dict)
    extra: list[tuple[str, bytes] | tarfile.TarInfo] = dataclasses.field(default_factory=list)
    config_bytes: bytes | None = None
    pack: Callable[[bytes], bytes] = bytes
    diff_ids: list[str] | None = None

    def config_file(self) -> bytes:
        """Return the configuration."""
        if self.config_bytes is not None:
            return self.config_bytes
        described = {
            "architecture": HERE,
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": self.diff_ids or [f"sha256:{digest(layer)}" for layer in self.layers],
            },
            **self.config,
        }
        return json.dumps(described).encode()

    def docker(self) -> bytes:
        """Return the image as ``docker save`` writes it."""
        config = self.config_file()
        names = [
            f"{digest(b'%d' % number + layer)}/layer.tar"
            for number, layer in enumerate(self.layers)
        ]
        entry = {
            "Config": f"{digest(config)}.json",
            "RepoTags": None,
            "Layers": names,
            **self.manifest,
        }
        return tar(
            (f"{digest(config)}.json", config),
            *((name, self.pack(layer)) for name, layer in zip(names, self.layers, strict=True)),
            *self.extra,
            ("manifest.json", json.dumps([entry]).encode()),
        )

    def oci(self, **more: Any) -> bytes:
        """Return the image as an OCI layout.

        :param more: what the index says besides of the image
        """
        config = self.config_file()
        packed = [self.pack(layer) for layer in self.layers]
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "config": {"digest": f"sha256:{digest(config)}"},
                "layers": [{"digest": f"sha256:{digest(layer)}"} for layer in packed],
                **self.manifest,
            }
        ).encode()
        index = {
            "schemaVersion": 2,
            "manifests": [{"digest": f"sha256:{digest(manifest)}"}],
            **more,
        }
        blobs = {digest(blob): blob for blob in (config, manifest, *packed)}
        return tar(
            ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
            *((f"blobs/sha256/{name}", name_blob) for name, name_blob in blobs.items()),
            *self.extra,
            ("index.json", json.dumps(index).encode()),
        )

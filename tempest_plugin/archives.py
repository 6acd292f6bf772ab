# SPDX-License-Identifier: Apache-2.0
"""Docker archives, as `docker save` writes them, made in memory."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

_EPOCH = "1970-01-01T00:00:00Z"


def docker_archive(files: dict[str, bytes], tag: str | None = None) -> bytes:
    """Build the archive of an image of one layer.

    The same arguments give the same bytes.

    :param files: content by path inside the image
    :param tag: the image's name:tag, or None for a nameless image
    :return: an uncompressed tar archive
    """
    layer = _tar({path: (content, 0o755) for path, content in files.items()})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _EPOCH,
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
            "history": [{"created": _EPOCH}],
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}"]},
        },
        sort_keys=True,
    ).encode()
    config_name, layer_name = f"{_sha256(config)}.json", f"{_sha256(layer)}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [tag] if tag else None, "Layers": [layer_name]}]
    return _tar(
        {
            config_name: (config, 0o644),
            layer_name: (layer, 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )


def _tar(members: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (content, mode) in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

# SPDX-License-Identifier: Apache-2.0
"""Archives of images as builders write them, made without the builders."""

from __future__ import annotations

import json
import tarfile
from typing import Any

from novadocker.tests.archives import HERE, LAYER, Parts, digest, special, tar

SECOND = tar(("second", b"2"))


def skopeo(listed: str = "file", repeated: bool = False) -> bytes:
    """Make what skopeo, podman and buildah write to ``docker-archive:``.

    :param listed: whether the manifest names the files of layers, or the links to them
    :param repeated: whether one layer occurs twice
    """
    layers = [LAYER, SECOND, LAYER] if repeated else [LAYER, SECOND]
    config = Parts(layers=layers).config_file()
    members: list[Any] = [(f"{digest(layer)}.tar", layer) for layer in dict.fromkeys(layers)]
    links = []
    for number, layer in enumerate(layers):
        legacy = digest(b"%d" % number)
        members += [
            (f"{legacy}/VERSION", b"1.0"),
            special(f"{legacy}/layer.tar", tarfile.SYMTYPE, f"../{digest(layer)}.tar"),
            (f"{legacy}/json", b"{}"),
        ]
        links.append(f"{legacy}/layer.tar")
    files = [f"{digest(layer)}.tar" for layer in layers]
    entry = {
        "Config": f"{digest(config)}.json",
        "RepoTags": ["localhost/x:1"],
        "Layers": files if listed == "file" else links,
    }
    return tar(
        *members,
        (f"{digest(config)}.json", config),
        ("manifest.json", json.dumps([entry]).encode()),
        ("repositories", b'{"localhost/x": {"1": "0"}}'),
    )


class Layout:
    """An OCI layout that grows."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.entries: list[dict[str, Any]] = []

    def add(self, data: bytes) -> dict[str, Any]:
        """Add a blob, and return its descriptor."""
        self.blobs[f"blobs/sha256/{digest(data)}"] = data
        return {"digest": f"sha256:{digest(data)}", "size": len(data)}

    def image(self, architecture: str = HERE, author: str = "", **more: Any) -> dict[str, Any]:
        """Add an image of one layer, and return its descriptor."""
        config = Parts(config={"architecture": architecture, "author": author}).config_file()
        manifest = {"config": self.add(config), "layers": [self.add(LAYER)], **more}
        return self.add(json.dumps(manifest).encode())

    def packed(self) -> bytes:
        """Return the layout as an archive."""
        index = json.dumps({"schemaVersion": 2, "manifests": self.entries}).encode()
        return tar(*self.blobs.items(), ("index.json", index))

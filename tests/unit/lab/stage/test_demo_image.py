# SPDX-License-Identifier: Apache-2.0
"""The demo image, as it goes to the registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

from lab.stage.images import demo_image


def test_the_layer_holds_busybox_and_a_link_for_each_applet() -> None:
    layer = demo_image.file_system(b"program", ["sh", "busybox", "ping"])
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        links = {entry.name: entry.linkname for entry in tar if entry.islnk()}
        assert links == {"bin/sh": "bin/busybox", "bin/ping": "bin/busybox"}
        program = tar.getmember("bin/busybox")
        assert (program.mode, program.size) == (0o755, 7)
        assert tar.getmember("tmp").mode == 0o1777


def test_the_same_busybox_gives_the_same_digest() -> None:
    first = demo_image.describe(demo_image.file_system(b"program", ["sh"]), "amd64")
    again = demo_image.describe(demo_image.file_system(b"program", ["sh"]), "amd64")
    assert first == again


def test_manifest_and_configuration_name_the_right_digests() -> None:
    layer = demo_image.file_system(b"program", ["sh"])
    packed, config, manifest = demo_image.describe(layer, "arm64")
    described = json.loads(manifest)
    assert gzip.decompress(packed) == layer
    assert described["layers"][0]["digest"] == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert described["config"]["digest"] == f"sha256:{hashlib.sha256(config).hexdigest()}"
    assert json.loads(config)["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(layer).hexdigest()}"
    ]
    assert json.loads(config)["architecture"] == "arm64"

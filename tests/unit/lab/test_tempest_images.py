# SPDX-License-Identifier: Apache-2.0
"""The images that Tempest boots have what its tests take of a container."""

import hashlib
import io
import json
import subprocess
import tarfile

from lab.tempest import cloud
from tempest_plugin import archives

BASE = archives.docker_archive({"bin/sh": b"a shell"}, tag="busybox:latest")


def read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    assert member is not None
    return member.read()


def test_a_program_is_one_more_layer_and_all_digests_are_right() -> None:
    made = cloud.with_program(BASE, "bin/chpasswd", b"a program")
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        (record,) = json.loads(read(tar, "manifest.json"))
        config = read(tar, record["Config"])
        layers = [read(tar, name) for name in record["Layers"]]
    assert record["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
    assert json.loads(config)["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers
    ]
    assert len(layers) == 2
    with tarfile.open(fileobj=io.BytesIO(layers[1])) as layer:
        assert layer.getmember("bin/chpasswd").mode == 0o755
        assert read(layer, "bin/chpasswd") == b"a program"


def test_commands_of_images_are_kept_whole_by_nova() -> None:
    # Longer values of an image's properties are cut off when an instance is made of it.
    assert len(cloud.COMMAND) <= 255


def test_programs_are_shell_scripts_in_order() -> None:
    subprocess.run(["sh", "-n"], input=cloud.CHPASSWD, text=True, check=True)

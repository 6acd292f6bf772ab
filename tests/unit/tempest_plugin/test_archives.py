# SPDX-License-Identifier: Apache-2.0
"""The archives that the plug-in uploads are what Docker would have written."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

from tempest_plugin.archives import docker_archive


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {name: opened.extractfile(name).read() for name in opened.getnames()}


def test_names_are_digests_of_the_content() -> None:
    content = members(docker_archive({"hello": b"hi"}))
    (entry,) = json.loads(content["manifest.json"])
    config, (layer,) = entry["Config"], entry["Layers"]
    assert config == hashlib.sha256(content[config]).hexdigest() + ".json"
    diff_ids = json.loads(content[config])["rootfs"]["diff_ids"]
    assert diff_ids == ["sha256:" + hashlib.sha256(content[layer]).hexdigest()]


def test_layer_holds_the_files() -> None:
    content = members(docker_archive({"bin/hello": b"hi"}))
    (entry,) = json.loads(content["manifest.json"])
    assert members(content[entry["Layers"][0]]) == {"bin/hello": b"hi"}


def test_tag_is_in_the_manifest_or_null() -> None:
    tags = [
        json.loads(members(docker_archive({}, tag=tag))["manifest.json"])[0]["RepoTags"]
        for tag in ("name:tag", None)
    ]
    assert tags == [["name:tag"], None]


def test_same_files_give_same_bytes() -> None:
    assert docker_archive({"a": b"1"}) == docker_archive({"a": b"1"})
    assert docker_archive({"a": b"1"}) != docker_archive({"a": b"2"})

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import io
import json
import lzma
import platform
import subprocess
import tarfile

import pytest

from novadocker import exceptions
from novadocker.tests import hostile
from novadocker.tests.archives import LAYER, Parts, digest, special, tar
from novadocker.virt.docker.images import archive, compression
from novadocker.virt.docker.images import config as image_config


def verified(data: bytes, limit: int = hostile.LIMIT) -> archive.Image:
    return archive.Archive(io.BytesIO(data), limit).image(platform.machine())


def rewritten(data: bytes) -> dict[str, bytes]:
    opened = archive.Archive(io.BytesIO(data), hostile.LIMIT)
    written = b"".join(opened.rewritten(opened.image(platform.machine())))
    with tarfile.open(fileobj=io.BytesIO(written)) as members:
        return {member.name: members.extractfile(member).read() for member in members}


PACKED = {"truncated gzip", "gzipped qcow2", "packed bomb"}


@pytest.mark.parametrize("name", sorted(set(hostile.ARCHIVES) - PACKED))
def test_hostile_archives_are_refused(name: str) -> None:
    make, fault = hostile.ARCHIVES[name]
    with pytest.raises(exceptions.ImageRefused) as refused:
        verified(make())
    assert fault in str(refused.value)


@pytest.mark.parametrize("name", sorted(n for n in set(hostile.ARCHIVES) - PACKED if "bomb" in n))
def test_nothing_but_the_limit_refuses_a_bomb(name: str) -> None:
    data = hostile.ARCHIVES[name][0]()
    with pytest.raises(exceptions.ImageRefused, match="max_image_size_gb"):
        verified(data)
    assert verified(data, 8 * hostile.LIMIT).size_bytes > hostile.LIMIT


@pytest.mark.parametrize("sizes", [[0], [1], [511, 512, 513, 10_000]])
def test_the_size_of_an_archive_is_known_before_it_is_written(sizes: list[int]) -> None:
    content = [(size, io.BytesIO(b"x" * size)) for size in sizes]
    written = b"".join(archive.write(b"{}" * 300, content))
    assert archive.size_bytes(b"{}" * 300, sizes) == len(written)


def test_there_are_enough_hostile_archives() -> None:
    assert len(hostile.ARCHIVES) >= 20


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@pytest.mark.parametrize("layout", ["docker", "oci"])
def test_good_images_are_taken(layout: str, pack: object) -> None:
    parts = Parts(layers=[LAYER, tar(("second", b"2"))], pack=pack)
    image = verified(getattr(parts, layout)())
    assert [layer.diff_id for layer in image.layers] == [
        f"sha256:{digest(layer)}" for layer in parts.layers
    ]
    assert image.config == parts.config_file()


def test_zstd_is_read() -> None:
    # Where it is missing this fails: hosts are to have it, and so is the machine of the tests.
    def pack(data: bytes) -> bytes:
        return subprocess.run(["zstd", "-cq"], input=data, capture_output=True, check=True).stdout

    assert verified(Parts(pack=pack).oci()).layers[0].diff_id == f"sha256:{digest(LAYER)}"
    damaged = pack(LAYER)[:-3]
    with pytest.raises(exceptions.ImageRefused, match="damaged"):
        verified(Parts(pack=lambda _data: damaged).docker())


def test_rewritten_archive_has_the_image_and_no_name() -> None:
    parts = Parts(
        manifest={"RepoTags": ["ubuntu:latest"]},
        extra=[("repositories", b'{"ubuntu": {"latest": "x"}}')],
        pack=gzip.compress,
    )
    written = rewritten(parts.docker())
    assert set(written) == {"config.json", "manifest.json", "0/layer.tar"}
    assert written["0/layer.tar"] == LAYER
    assert json.loads(written["manifest.json"])[0]["RepoTags"] is None
    assert b"ubuntu" not in b"".join(written.values())


def test_rewritten_archive_is_accepted_again() -> None:
    opened = archive.Archive(io.BytesIO(Parts().oci()), hostile.LIMIT)
    again = b"".join(opened.rewritten(opened.image(platform.machine())))
    assert verified(again).layers[0].diff_id == f"sha256:{digest(LAYER)}"


def test_a_layer_that_changes_after_it_was_verified_is_refused() -> None:
    source = io.BytesIO(Parts().docker())
    opened = archive.Archive(source, hostile.LIMIT)
    image = opened.image(platform.machine())
    source.getbuffer()[source.getvalue().index(b"world")] = ord("W")
    with pytest.raises(exceptions.ImageRefused, match="changed"):
        b"".join(opened.rewritten(image))


def test_a_layer_that_occurs_twice_is_found_through_its_link() -> None:
    name = f"{'b' * 64}/layer.tar"
    first = f"{'a' * 64}/layer.tar"
    config = Parts(layers=[LAYER, LAYER]).config_file()
    entry = {"Config": "config.json", "RepoTags": None, "Layers": [first, name]}
    data = tar(
        ("config.json", config),
        (first, LAYER),
        special(name, tarfile.SYMTYPE, f"../{first}"),
        ("manifest.json", json.dumps([entry]).encode()),
    )
    assert [layer.member for layer in verified(data).layers] == [first, first]


def test_attestations_beside_an_image_are_no_second_platform() -> None:
    parts = Parts()
    manifest = json.loads(_member(parts.oci(), "index.json"))["manifests"][0]
    attestation = {"digest": f"sha256:{'0' * 64}", "platform": {"os": "unknown"}}
    assert verified(parts.oci(manifests=[attestation, manifest]))


def test_volumes_and_labels_of_an_image_are_taken_out() -> None:
    inner = {"Cmd": ["sh"], "volumes": {"/data": {}}, "Labels": {"x": "y"}}
    image = verified(Parts(config={"config": inner, "history": [1]}).docker())
    config = json.loads(image.config)
    assert config["config"] == {"Cmd": ["sh"]}
    assert config["history"] == [1]


def test_a_comment_on_a_layer_is_harmless() -> None:
    layer = tar(("x", b""), format=tarfile.PAX_FORMAT, pax_headers={"comment": "of a commit"})
    assert verified(Parts(layers=[layer]).docker())


def test_an_image_may_have_no_settings() -> None:
    assert verified(Parts(config={"config": None}).docker())


def test_members_up_to_the_limit_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    assert verified(Parts().docker())
    with pytest.raises(exceptions.ImageRefused, match="3 members"):
        verified(Parts(extra=[("x", b"")]).docker())


def test_size_is_that_of_the_layers_unpacked() -> None:
    assert verified(Parts(pack=gzip.compress).docker()).size_bytes == len(LAYER)


def test_one_byte_over_the_limit_is_too_much() -> None:
    data = Parts().docker()
    assert verified(data, len(LAYER))
    with pytest.raises(exceptions.ImageRefused, match="limit"):
        verified(data, len(LAYER) - 1)


def in_blocks(name: str, content: bytes) -> bytes:
    """Write a member of an archive, byte by byte as it has to be."""
    member = special(name, tarfile.REGTYPE)
    member.size, member.mode = len(content), 0o644
    return member.tobuf(tarfile.PAX_FORMAT) + content + b"\0" * (-len(content) % 512)


def test_archives_are_written_in_whole_blocks() -> None:
    config = Parts().config_file()
    # Of any size: that it is a tar archive is not for the writer to know.
    layers = [b"1" * 700, b"2" * 512]
    manifest = {
        "Config": "config.json",
        "RepoTags": None,
        "Layers": ["0/layer.tar", "1/layer.tar"],
    }
    assert b"".join(
        archive.write(config, [(len(layer), io.BytesIO(layer)) for layer in layers])
    ) == (
        in_blocks("config.json", config)
        + in_blocks("manifest.json", json.dumps([manifest]).encode())
        + in_blocks("0/layer.tar", layers[0])
        + in_blocks("1/layer.tar", layers[1])
        + b"\0" * 1024
    )


def test_archives_are_written_anew_in_whole_blocks() -> None:
    # A layer that does not end with a block, as some tools write them.
    layer = LAYER + b"\0" * 100
    parts = Parts(layers=[layer])
    opened = archive.Archive(io.BytesIO(parts.docker()), hostile.LIMIT)
    image = opened.image(platform.machine())
    manifest = {"Config": "config.json", "RepoTags": ["our:name"], "Layers": ["0/layer.tar"]}
    assert b"".join(opened.rewritten(image, "our:name")) == (
        in_blocks("config.json", parts.config_file())
        + in_blocks("manifest.json", json.dumps([manifest]).encode())
        + in_blocks("0/layer.tar", layer)
        + b"\0" * 1024
    )


def test_directories_and_dots_in_names_do_not_matter() -> None:
    parts = Parts(extra=[special("a", tarfile.DIRTYPE), special(".//a/./", tarfile.DIRTYPE)])
    assert verified(parts.docker())
    named = parts.manifest | {"Config": f".//{digest(parts.config_file())}.json"}
    assert verified(Parts(extra=parts.extra, manifest=named).docker())


def test_layers_up_to_the_limit_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_LAYERS", 2)
    assert verified(Parts(layers=[tar(("1", b"")), tar(("2", b""))]).docker())
    with pytest.raises(exceptions.ImageRefused, match="3 layers"):
        verified(Parts(layers=[tar((name, b"")) for name in "123"]).docker())


def test_manifests_up_to_the_limit_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Parts().docker()
    size = max(len(_member(data, name)) for name in ("manifest.json", _config_of(data)))
    for module, name in ((archive, "MAX_JSON_BYTES"), (image_config, "MAX_BYTES")):
        monkeypatch.setattr(module, name, size)
    assert verified(data)
    for module, name in ((archive, "MAX_JSON_BYTES"), (image_config, "MAX_BYTES")):
        monkeypatch.setattr(module, name, size - 1)
    with pytest.raises(exceptions.ImageRefused, match=f"more than {size - 1} bytes"):
        verified(data)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_indexes_may_be_nested_a_little(depth: int) -> None:
    parts = Parts()
    data = parts.oci()
    below = _member(data, "index.json")
    blobs = []
    for _ in range(depth - 1):
        blobs.append((f"blobs/sha256/{digest(below)}", below))
        below = json.dumps({"manifests": [{"digest": f"sha256:{digest(below)}"}]}).encode()
    with tarfile.open(fileobj=io.BytesIO(data)) as members:
        others = [
            (member.name, members.extractfile(member).read())
            for member in members
            if member.name != "index.json"
        ]
    nested = tar(*others, *blobs, ("index.json", below))
    if depth <= 3:
        assert verified(nested)
    else:
        with pytest.raises(exceptions.ImageRefused, match="nested too deep"):
            verified(nested)


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ([("manifest.json", b"{]")], "manifest.json is not clear"),
        ([("index.json", b"{]")], "index.json is not clear"),
        ([("index.json", b'{"a": 1, "a": 2}')], "a name occurs twice in an object"),
    ],
)
def test_faults_name_the_file(members: list[tuple[str, bytes]], named: str) -> None:
    with pytest.raises(exceptions.ImageRefused, match=named):
        verified(tar(*members))


@pytest.mark.parametrize("manifest", [{"Config": 1}, {"Layers": "x"}])
def test_manifests_of_other_kinds_are_refused(manifest: dict[str, object]) -> None:
    with pytest.raises(exceptions.ImageRefused, match="names no configuration or no layers"):
        verified(Parts(manifest=manifest).docker())


def test_a_blob_is_verified_by_its_name_even_if_nothing_else_says_so() -> None:
    packed = gzip.compress(LAYER)
    honest = Parts(pack=lambda _data: packed).oci()
    # The same content, packed by someone else: what it unpacks to is right, the blob is not.
    forged = honest.replace(packed, packed[:4] + b"\1" + packed[5:])
    with pytest.raises(exceptions.ImageRefused, match="digest in its name"):
        verified(forged)


def test_others_get_their_turns_while_an_archive_is_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Where nova-compute runs on eventlet, nothing else does until it sleeps.
    class Source(io.BytesIO):
        since_a_turn = longest = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.since_a_turn += len(data)
            self.longest = max(self.longest, self.since_a_turn)
            return data

    data = Parts(layers=[tar(("zeros", bytes(8 << 20)))]).oci()
    source = Source(data)
    monkeypatch.setattr(compression.time, "sleep", lambda _time: setattr(source, "since_a_turn", 0))
    archive.Archive(source, hostile.LIMIT).image(platform.machine())
    assert source.longest <= 2 * compression.CHUNK


def test_names_may_not_hold_a_zero_byte() -> None:
    with pytest.raises(exceptions.ImageRefused, match="leads out"):
        verified(Parts(manifest={"Config": "a\0b"}).docker())


def test_layers_are_named_in_faults() -> None:
    with pytest.raises(exceptions.ImageRefused, match=r"layer [0-9a-f]{64}/layer.tar"):
        verified(Parts(layers=[b"junk" * 400]).docker())
    with pytest.raises(exceptions.ImageRefused, match=r"layer [0-9a-f]{64}/layer.tar unpacks"):
        verified(Parts().docker(), len(LAYER) - 1)


def test_compression_is_known_by_its_first_bytes() -> None:
    assert compression.detect(gzip.compress(b"")) == "gzip"
    assert compression.detect(b"\x28\xb5\x2f\xfd") == "zstd"
    assert compression.detect(LAYER) is None


def _config_of(data: bytes) -> str:
    name = json.loads(_member(data, "manifest.json"))[0]["Config"]
    assert isinstance(name, str)
    return name


def _member(data: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as members:
        return members.extractfile(name).read()

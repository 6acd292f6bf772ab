# SPDX-License-Identifier: Apache-2.0
"""Archives as builders write them, byte by byte as far as it matters: what the engine takes."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from typing import Any

import pytest

from novadocker import exceptions
from novadocker.tests import hostile
from novadocker.tests.archives import HERE, LAYER, Parts, digest, special, tar
from novadocker.tests.builders import SECOND, Layout, skopeo
from novadocker.virt.docker.engine import budget, headers, streams
from novadocker.virt.docker.images import archive, manifests
from novadocker.virt.docker.images import config as image_config

MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(HERE, HERE)
OTHER = "s390x" if HERE != "s390x" else "ppc64le"


def verified(data: bytes, machine: str = MACHINE) -> archive.Image:
    return archive.Archive(io.BytesIO(data), hostile.LIMIT).image(machine)


def layers_of(data: bytes, machine: str = MACHINE) -> list[str]:
    return [layer.diff_id for layer in verified(data, machine).layers]


def diff_ids(*layers: bytes) -> list[str]:
    return [f"sha256:{digest(layer)}" for layer in layers]


@pytest.mark.field_case("K8.1")
@pytest.mark.parametrize("listed", ["file", "link"])
@pytest.mark.parametrize("repeated", [False, True])
def test_links_for_old_loaders_are_taken(listed: str, repeated: bool) -> None:
    layers = [LAYER, SECOND, LAYER] if repeated else [LAYER, SECOND]
    assert layers_of(skopeo(listed, repeated)) == diff_ids(*layers)


@pytest.mark.parametrize("target", ["/etc/shadow", "../../etc/shadow", "x/../../../shadow", "../"])
def test_links_that_lead_out_are_refused(target: str) -> None:
    link = special("a/layer.tar", tarfile.SYMTYPE, target)
    with pytest.raises(exceptions.ImageRefused, match=r"not a plain file|no file"):
        verified(Parts(extra=[link], manifest={"Layers": ["a/layer.tar"]}).docker())


def test_links_to_links_are_not_followed() -> None:
    links = [
        special("a/layer.tar", tarfile.SYMTYPE, "../b/layer.tar"),
        special("b/layer.tar", tarfile.SYMTYPE, "../a/layer.tar"),
    ]
    with pytest.raises(exceptions.ImageRefused, match=r"no file 'b/layer\.tar'"):
        verified(Parts(extra=links, manifest={"Layers": ["a/layer.tar"]}).docker())


def test_what_kaniko_and_go_containerregistry_write_is_taken() -> None:
    """Packed layers by the digest of what is packed, a configuration named by its digest."""
    packed = [gzip.compress(blob) for blob in (LAYER, SECOND)]
    config = Parts(layers=[LAYER, SECOND]).config_file()
    names = [f"{digest(blob)}.tar.gz" for blob in packed]
    entry = {"Config": f"sha256:{digest(config)}", "RepoTags": ["x:1"], "Layers": names}
    data = tar(
        (f"sha256:{digest(config)}", config),
        *zip(names, packed, strict=True),
        ("manifest.json", json.dumps([entry]).encode()),
    )
    assert layers_of(data) == diff_ids(LAYER, SECOND)


def test_what_jib_writes_is_taken() -> None:
    packed = gzip.compress(LAYER)
    config = Parts().config_file()
    entry = {"Config": "config.json", "RepoTags": ["x"], "Layers": [f"{digest(packed)}.tar.gz"]}
    data = tar(
        (f"{digest(packed)}.tar.gz", packed),
        ("config.json", config),
        ("manifest.json", json.dumps([entry]).encode()),
    )
    assert layers_of(data) == diff_ids(LAYER)


def test_layers_of_zstd_are_taken() -> None:
    def pack(data: bytes) -> bytes:
        return subprocess.run(["zstd", "-cq"], input=data, capture_output=True, check=True).stdout

    assert layers_of(Parts(pack=pack).oci()) == diff_ids(LAYER)


@pytest.mark.field_case("K8.3")
def test_one_image_that_is_listed_twice_is_one() -> None:
    parts = Parts()
    config = parts.config_file()
    entry = {"Config": "config.json", "Layers": ["l/layer.tar"]}
    entries = [{**entry, "RepoTags": [name]} for name in ("a:1", "b:1")]
    data = tar(
        ("config.json", config),
        ("l/layer.tar", LAYER),
        ("manifest.json", json.dumps(entries).encode()),
    )
    assert layers_of(data) == diff_ids(LAYER)


@pytest.mark.parametrize(("others", "fault"), [([OTHER], None), ([HERE], "2 images"), ([], None)])
def test_of_several_images_that_of_the_host_is_taken(others: list[str], fault: str | None) -> None:
    """As the store of containerd saves an image with all its platforms."""
    members: list[Any] = []
    entries = []
    for number, architecture in enumerate([HERE, *others]):
        config = Parts(config={"architecture": architecture, "author": str(number)}).config_file()
        members.append((f"{digest(config)}.json", config))
        entries.append({"Config": f"{digest(config)}.json", "Layers": ["l/layer.tar"]})
    members += [("l/layer.tar", LAYER), ("manifest.json", json.dumps(entries).encode())]
    if fault:
        with pytest.raises(exceptions.ImageRefused, match=fault):
            verified(tar(*members))
    else:
        assert verified(tar(*members)).config == members[0][1]


def test_images_of_other_hosts_alone_are_refused() -> None:
    members: list[Any] = []
    for name in ("a", "b"):
        config = Parts(config={"architecture": OTHER, "author": name}).config_file()
        members.append((f"{name}.json", config))
    entries = [{"Config": f"{name}.json", "Layers": ["l"]} for name in ("a", "b")]
    with pytest.raises(exceptions.ImageRefused, match="none of the 2 images in it is for this"):
        verified(tar(*members, ("manifest.json", json.dumps(entries).encode())))


@pytest.fixture
def layout() -> Layout:
    return Layout()


@pytest.mark.field_case("K8.2")
def test_two_tags_of_one_manifest_are_one_image(layout: Layout) -> None:
    image = layout.image()
    for tag in ("1", "latest"):
        annotations = {"org.opencontainers.image.ref.name": tag}
        layout.entries.append({**image, "annotations": annotations})
    assert layers_of(layout.packed()) == diff_ids(LAYER)


@pytest.mark.field_case("K8.2")
@pytest.mark.parametrize("told", [True, False])
def test_of_several_platforms_the_hosts_is_taken(told: bool, layout: Layout) -> None:
    for architecture in (OTHER, HERE):
        image = layout.image(architecture)
        if told:
            image["platform"] = {"os": "linux", "architecture": architecture}
        layout.entries.append(image)
    assert json.loads(verified(layout.packed()).config)["architecture"] == HERE


def test_platforms_of_others_need_not_be_there(layout: Layout) -> None:
    """``docker save`` leaves out what was not pulled; the index is signed, and names it."""
    platforms = [("windows", HERE), ("linux", OTHER), ("linux", HERE)]
    for system, architecture in platforms:
        image = layout.image() if (system, architecture) == ("linux", HERE) else {}
        missing = {"digest": f"sha256:{digest(architecture.encode())}"}
        platform = {"os": system, "architecture": architecture}
        layout.entries.append({**missing, **image, "platform": platform})
    inner = layout.add(json.dumps({"manifests": layout.entries}).encode())
    layout.entries = [inner]
    assert layers_of(layout.packed()) == diff_ids(LAYER)


def test_a_host_that_no_platform_is_for_is_told_which_there_are(layout: Layout) -> None:
    for system, architecture in (("windows", HERE), ("linux", OTHER)):
        platform = {"os": system, "architecture": architecture}
        layout.entries.append({**layout.image(OTHER), "platform": platform})
    with pytest.raises(exceptions.ImageRefused, match=f"it is for {OTHER}, windows/{HERE}, this"):
        verified(layout.packed())


def test_the_processor_that_all_have_is_taken(layout: Layout) -> None:
    for variant in ("v3", None, "v2"):
        platform = {"os": "linux", "architecture": HERE, "variant": variant}
        layout.entries.append({**layout.image(author=str(variant)), "platform": platform})
    assert json.loads(verified(layout.packed()).config)["author"] == "None"


@pytest.mark.field_case("K8.2")
def test_artifacts_beside_an_image_are_left_out(layout: Layout) -> None:
    image = layout.image()
    helm = {"config": {**layout.add(b"{}"), "mediaType": "application/vnd.cncf.helm.config.v1"}}
    signature = layout.image(author="s", subject=image, artifactType="application/x.signature")
    layout.entries = [
        {**layout.add(b'{"x": 1}'), "artifactType": "application/vnd.example"},
        layout.add(json.dumps({**helm, "layers": []}).encode()),
        signature,
        {"digest": f"sha256:{'0' * 64}", "platform": {"os": "unknown", "architecture": "unknown"}},
        image,
    ]
    assert layers_of(layout.packed()) == diff_ids(LAYER)


def test_manifests_without_end_are_not_read(layout: Layout) -> None:
    layout.entries = [layout.image(author=str(n)) for n in range(manifests.MAX_READ + 1)]
    with pytest.raises(exceptions.ImageRefused, match="more than 64 manifests"):
        verified(layout.packed())


@pytest.mark.field_case("K8.3")
@pytest.mark.parametrize(
    ("machine", "architecture", "taken"),
    [
        ("x86_64", "386", True),
        ("x86_64", "amd64", True),
        ("x86_64", "arm64", False),
        ("aarch64", "arm", True),
        ("aarch64", "386", False),
        ("s390x", "s390x", True),
        ("x86_64", ["amd64"], False),
    ],
)
def test_images_of_32_bits_are_taken_where_they_run(
    machine: str, architecture: Any, taken: bool
) -> None:
    data = Parts(config={"architecture": architecture}).docker()
    if taken:
        assert layers_of(data, machine) == diff_ids(LAYER)
    else:
        with pytest.raises(exceptions.ImageRefused, match="this host is linux/"):
            verified(data, machine)


def test_the_hosts_own_architecture_goes_before_that_of_32_bits(layout: Layout) -> None:
    for architecture in ("386", "amd64"):
        platform = {"os": "linux", "architecture": architecture}
        layout.entries.append({**layout.image(architecture), "platform": platform})
    config = json.loads(verified(layout.packed(), "x86_64").config)
    assert config["architecture"] == "amd64"
    assert image_config.architectures("riscv64") == ["riscv64"]


@pytest.mark.field_case("K8.3")
def test_names_that_stay_inside_are_taken() -> None:
    config = Parts().config_file()
    entry = {"Config": "x/../config.json", "Layers": ["./a/b/../layer.tar"]}
    data = tar(
        ("y/./../config.json", config),
        ("a/layer.tar", LAYER),
        ("manifest.json", json.dumps([entry]).encode()),
    )
    assert layers_of(data) == diff_ids(LAYER)
    layer = tar(
        ("a/../b", b"1"),
        ("/etc/x", b"absolute"),
        special("hard", tarfile.LNKTYPE, "a/../b"),
        special("./", tarfile.DIRTYPE),
    )
    assert layers_of(Parts(layers=[layer]).docker()) == diff_ids(layer)


def test_a_file_that_was_added_twice_is_one() -> None:
    config = Parts().config_file()
    entry = {"Config": "config.json", "Layers": ["l"]}
    members = [("l", LAYER), ("config.json", config), ("l", LAYER)]
    data = tar(*members, ("manifest.json", json.dumps([entry]).encode()))
    assert layers_of(data) == diff_ids(LAYER)


@pytest.mark.field_case("K8.3")
@pytest.mark.parametrize("where", ["archive", "layer"])
@pytest.mark.parametrize("missing", [511, 1, 0])
def test_the_last_block_need_not_be_full(where: str, missing: int) -> None:
    """One byte is in it; what fills it may be missing, and so may be the blocks of the end."""
    layer = tar(("first", b"1" * 700), ("last", b"2"))
    header = layer.rindex(b"last\0")
    layer = layer[: header + 1024 - missing] if where == "layer" else layer
    data = Parts(layers=[layer]).docker()
    if where == "archive":
        last = data.rindex(b"manifest.json\0")
        size = int(data[last + 124 : last + 135], 8)
        data = data[: last + 512 + size + (-size % 512) * (missing == 0)]
    assert layers_of(data) == diff_ids(layer)


@pytest.mark.parametrize("cut", [1, 511, 512])
def test_what_ends_within_a_file_is_refused(cut: int) -> None:
    layer = tar(("last", b"2" * 700))[: 512 + 700 - cut]
    with pytest.raises(exceptions.ImageRefused, match="not a whole tar archive"):
        verified(Parts(layers=[layer]).docker())


@pytest.mark.field_case("K8.3")
def test_a_copy_without_padding_is_whole() -> None:
    layer = tar(("first", b"1"), ("last", b"2" * 700))[: 1024 + 512 + 700]
    copied = b"".join(streams.tar_without(iter([layer]), frozenset({"first"})))
    with headers.opened(io.BytesIO(copied), budget.Budget()) as members:
        assert [(member.name, member.size) for member in members] == [("last", 700)]


@pytest.mark.parametrize("layer", [b"", tar(), LAYER + tar(("deleted/.wh.x", b""))])
def test_layers_of_nothing_and_of_whiteouts_are_taken(layer: bytes) -> None:
    assert layers_of(Parts(layers=[layer], pack=gzip.compress).oci()) == diff_ids(layer)

# SPDX-License-Identifier: Apache-2.0
"""Archives that must be refused, each with a part of the fault that says why."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable

from novadocker.tests.archives import HERE, LAYER, Parts, digest, special, tar

# What an image may unpack to, in the tests.
LIMIT = 16 << 20


def _truncated() -> bytes:
    whole = Parts(layers=[tar(("big", b"x" * 100_000))]).docker()
    return whole[: len(whole) // 2]


def _two_images() -> bytes:
    entries = [
        {"Config": f"{name}.json", "RepoTags": ["ubuntu:latest"], "Layers": ["l/layer.tar"]}
        for name in ("one", "two")
    ]
    return tar(
        ("one.json", Parts().config_file()),
        ("two.json", Parts(config={"author": "another"}).config_file()),
        ("l/layer.tar", LAYER),
        ("manifest.json", json.dumps(entries).encode()),
    )


def _sparse() -> bytes:
    member = special("big/layer.tar", tarfile.GNUTYPE_SPARSE)
    return member.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024


def _huge_header() -> bytes:
    member = special("x", tarfile.GNUTYPE_LONGNAME)
    member.size = 2 << 20
    return member.tobuf(tarfile.GNU_FORMAT) + b"a" * (2 << 20) + Parts().docker()


def _huge_header_in_layer() -> bytes:
    member = special("x", tarfile.XHDTYPE)
    member.size = 2 << 20
    layer = member.tobuf(tarfile.GNU_FORMAT) + b"a" * (2 << 20) + LAYER
    return Parts(layers=[layer]).docker()


def _many_members() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for number in range(10_001):
            out.addfile(tarfile.TarInfo(str(number)))
    return buffer.getvalue()


def _changed_blob() -> bytes:
    whole = Parts(layers=[tar(("marker", b"AAAA-honest"))]).oci()
    return whole.replace(b"AAAA-honest", b"AAAA-forged")


def _changed_config() -> bytes:
    return Parts().docker().replace(b'"PATH=/bin"', b'"PATH=/bad"')


def _two_platforms() -> bytes:
    config = Parts().config_file()
    images = [
        json.dumps(
            {
                "config": {"digest": f"sha256:{digest(config)}"},
                "layers": [{"digest": f"sha256:{digest(LAYER)}"}],
                "annotations": {"x": name},
            }
        ).encode()
        for name in ("one", "two")
    ]
    blobs = [(f"blobs/sha256/{digest(image)}", image) for image in images]
    entries = [
        {"digest": f"sha256:{digest(image)}", "platform": {"os": "linux"}} for image in images
    ]
    return Parts(extra=blobs).oci(manifests=entries)


def _index_without_end() -> bytes:
    blobs = []
    below = json.dumps({"manifests": []}).encode()
    for _ in range(5):
        blobs.append((f"blobs/sha256/{digest(below)}", below))
        below = json.dumps({"manifests": [{"digest": f"sha256:{digest(below)}"}]}).encode()
    return tar(*blobs, ("index.json", below))


def _manifest_that_is_a_list() -> bytes:
    index = json.dumps({"manifests": [{"digest": f"sha256:{digest(b'[]')}"}]}).encode()
    return tar((f"blobs/sha256/{digest(b'[]')}", b"[]"), ("index.json", index))


def _bomb(pack: Callable[[bytes], bytes]) -> bytes:
    return Parts(layers=[tar(("zeros", b"\0" * (LIMIT * 2)))], pack=pack).docker()


def _layer_that_leaves(name: str) -> bytes:
    return Parts(layers=[tar((name, b"root::0:0::/:/bin/sh"))]).docker()


def _hard_link_that_leaves() -> bytes:
    layer = tar(special("shadow", tarfile.LNKTYPE, "../../../../etc/shadow"))
    return Parts(layers=[layer]).docker()


def _of_pax(entry: tarfile.TarInfo, headers: dict[str, str], every: bool = False) -> bytes:
    """Make an image with extended headers in its layer, of one file or of every one."""
    if every:
        layer = tar(entry, format=tarfile.PAX_FORMAT, pax_headers=headers)
    else:
        entry.pax_headers = headers
        layer = tar(entry, format=tarfile.PAX_FORMAT)
    return Parts(layers=[layer]).docker()


def _sparse_in_layer() -> bytes:
    member = special("big", tarfile.GNUTYPE_SPARSE)
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"77777777777\0"  # 8 GiB when it is written out
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return Parts(layers=[bytes(header) + b"\0" * 1024]).docker()


def _zstd_bomb() -> bytes:
    """Repeat one byte for 64 MiB: 128 KiB in each block of 4 bytes."""
    blocks = [
        (1 << 17 << 3 | 1 << 1 | last).to_bytes(3, "little") + b"\0" for last in [0] * 511 + [1]
    ]
    packed = b"\x28\xb5\x2f\xfd\x00\x50" + b"".join(blocks)
    return Parts(layers=[bytes(64 << 20)], pack=lambda _data: packed).docker()


# Name of the archive: how it is made, and what the fault says.
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "not a whole tar archive"),
    "junk": (lambda: b"junk" * 4000, "not a whole tar archive"),
    "truncated": (_truncated, "trunc"),
    "truncated gzip": (lambda: gzip.compress(Parts().docker())[:-30], "damaged"),
    "qcow2 named docker": (lambda: b"QFI\xfb\0\0\0\3" + b"\0" * 1000, "qcow2"),
    "vmdk named docker": (lambda: b"KDMV\1\0\0\0" + b"\0" * 1000, "VMDK"),
    "vhdx named docker": (lambda: b"vhdxfile" + b"\0" * 1000, "VHDX"),
    "raw disk named docker": (
        lambda: b"\xeb\x63\x90" + b"\0" * 507 + b"\x55\xaa" * 600,
        "tar archive",
    ),
    "gzipped qcow2": (lambda: gzip.compress(b"QFI\xfb" + b"\0" * 1000), "qcow2"),
    "file system of docker export": (lambda: tar(("bin/sh", b"x")), "docker export"),
    "absolute member": (lambda: Parts(extra=[("/etc/cron.d/x", b"x")]).docker(), "leads out"),
    "member with dots": (lambda: Parts(extra=[("a/../../x", b"x")]).docker(), "leads out"),
    "link to a host file": (
        lambda: Parts(extra=[special("x/layer.tar", tarfile.SYMTYPE, "/etc/shadow")]).docker(),
        "not a plain file",
    ),
    "hard link": (
        lambda: Parts(extra=[special("x", tarfile.LNKTYPE, "manifest.json")]).docker(),
        "not a plain file",
    ),
    "device": (lambda: Parts(extra=[special("sda", tarfile.BLKTYPE)]).docker(), "not a plain file"),
    "fifo": (lambda: Parts(extra=[special("pipe", tarfile.FIFOTYPE)]).docker(), "not a plain file"),
    "sparse member": (_sparse, "not a"),
    "member twice": (
        lambda: Parts(extra=[("twice", b"1"), ("./twice", b"2")]).docker(),
        "twice",
    ),
    "header of megabytes": (_huge_header, "a header in the archive has"),
    "header of megabytes in a layer": (_huge_header_in_layer, "a header in the archive has"),
    "members without end": (_many_members, "members"),
    "several images": (_two_images, "2 images"),
    "several platforms": (_two_platforms, "2 images or platforms"),
    "indexes without end": (_index_without_end, "nested"),
    "index that is a list": (lambda: tar(("index.json", b"[]")), "not an OCI index"),
    "index of names": (lambda: tar(("index.json", b'{"manifests": ["x"]}')), "not an OCI index"),
    "manifest of an index that is a list": (_manifest_that_is_a_list, "not an OCI index"),
    "manifest without configuration": (
        lambda: Parts(manifest={"config": []}).oci(),
        "no configuration",
    ),
    "manifest without layers": (lambda: Parts(manifest={"layers": None}).oci(), "no layers"),
    "manifest of megabytes": (lambda: tar(("manifest.json", b" " * (9 << 20))), "more than"),
    "configuration of megabytes": (
        lambda: Parts(config={"config": {"Labels": {"x": "x" * (1 << 20)}}}).docker(),
        "more than 1048576 bytes",
    ),
    "environment of megabytes": (
        lambda: Parts(config={"config": {"Env": [f"A{i}=b" for i in range(100_000)]}}).docker(),
        "more than 1048576 bytes",
    ),
    "working directory of the kernel's": (
        lambda: Parts(config={"config": {"WorkingDir": "/proc/self/fd/8"}}).docker(),
        "working directory",
    ),
    "settings that are a list": (lambda: Parts(config={"config": []}).docker(), "'config' is not"),
    "empty manifest": (lambda: tar(("manifest.json", b"[]")), "0 images"),
    "manifest that is no list": (lambda: tar(("manifest.json", b"{}")), "not a list"),
    "manifest that is no JSON": (lambda: tar(("manifest.json", b"{]")), "JSON"),
    "manifest nested to death": (lambda: tar(("manifest.json", b"[" * 200_000)), "JSON"),
    "configuration of a host file": (
        lambda: Parts(manifest={"Config": "../../../etc/passwd"}).docker(),
        "leads out",
    ),
    "configuration missing": (lambda: Parts(manifest={"Config": "none.json"}).docker(), "no file"),
    "layer missing": (lambda: Parts(manifest={"Layers": ["none/layer.tar"]}).docker(), "no file"),
    "layers that are no names": (lambda: Parts(manifest={"Layers": [{}]}).docker(), "no layers"),
    "configuration with another digest": (_changed_config, "digest"),
    "blob with another digest": (_changed_blob, "digest"),
    "layer with another digest": (
        lambda: Parts(diff_ids=[f"sha256:{'0' * 64}"]).docker(),
        "digest",
    ),
    "digest that is a path": (
        lambda: Parts(manifest={"config": {"digest": "sha256:../../etc/passwd"}}).oci(),
        "no sha256 digest",
    ),
    "layer to fetch from elsewhere": (
        lambda: Parts(
            manifest={"layers": [{"digest": f"sha256:{digest(LAYER)}", "urls": ["http://x"]}]}
        ).oci(),
        "elsewhere",
    ),
    "more digests than layers": (
        lambda: Parts(diff_ids=[f"sha256:{digest(LAYER)}"] * 2).docker(),
        "2 layers",
    ),
    "no layers": (lambda: Parts(layers=[]).docker(), "0 layers"),
    "layers without end": (
        lambda: Parts(layers=[tar((str(number), b"")) for number in range(126)]).docker(),
        "126 layers",
    ),
    "another architecture": (lambda: Parts(config={"architecture": "s390x"}).docker(), "s390x"),
    "another operating system": (lambda: Parts(config={"os": "windows"}).docker(), "windows"),
    "no architecture": (lambda: Parts(config={"architecture": None}).docker(), HERE),
    "configuration that is a list": (lambda: Parts(config_bytes=b"[]").docker(), "JSON object"),
    "name twice in the configuration": (
        lambda: Parts(config_bytes=b'{"os": "linux", "os": "windows"}').docker(),
        "twice",
    ),
    "name twice in different cases": (
        lambda: Parts(config={"OS": "windows"}).docker(),
        "different cases",
    ),
    "gzip bomb": (lambda: _bomb(gzip.compress), "[docker]max_image_size_gb"),
    "bzip2 bomb": (lambda: _bomb(bz2.compress), "[docker]max_image_size_gb"),
    "xz bomb": (lambda: _bomb(lzma.compress), "[docker]max_image_size_gb"),
    "zstd bomb": (_zstd_bomb, "[docker]max_image_size_gb"),
    "packed bomb": (lambda: gzip.compress(b"\0" * (LIMIT * 2)), "[docker]max_image_size_gb"),
    "layers that are a bomb together": (
        lambda: Parts(
            layers=[tar((str(number), b"\0" * (LIMIT // 2))) for number in range(4)],
            pack=gzip.compress,
        ).docker(),
        "[docker]max_image_size_gb",
    ),
    "layer that is no tar": (lambda: Parts(layers=[b"junk" * 400]).docker(), "layer"),
    "layer that leaves by dots": (lambda: _layer_that_leaves("../../etc/passwd"), "leads out"),
    "layer that deletes above": (lambda: _layer_that_leaves("etc/.wh..."), "leads out"),
    "layer with a hard link that leaves": (_hard_link_that_leaves, "leads out"),
    "sparse file in a layer": (_sparse_in_layer, "sparse"),
    "sparse file of extended headers in a layer": (
        lambda: _of_pax(
            special("big", tarfile.REGTYPE),
            {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0"},
        ),
        "sparse",
    ),
    "attributes of the host's kernel in a layer": (
        lambda: _of_pax(
            special("etc", tarfile.DIRTYPE), {"SCHILY.xattr.trusted.overlay.redirect": "/"}
        ),
        "kernel",
    ),
    "header for all files of a layer": (
        lambda: _of_pax(special("x", tarfile.REGTYPE), {"path": "harmless"}, every=True),
        "all its files",
    ),
}

# SPDX-License-Identifier: Apache-2.0
"""Images of many kinds, and how tools write them that this machine does not have."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import tarfile
from collections.abc import Callable
from typing import Any

from novadocker.tests.archives import HERE, LAYER, Parts, digest, special, tar

OTHER = "s390x" if HERE != "s390x" else "ppc64le"
FIRST = tar(special("etc", tarfile.DIRTYPE), ("etc/kept", b"1"), ("etc/gone", b"2"))
SECOND = tar(("etc/.wh.gone", b""), ("etc/new", b"3"))
OPAQUE = tar(("etc/.wh..wh..opq", b""), ("etc/only", b"4"))


def _kinds() -> bytes:
    """Pack a file of each kind that a root file system has."""
    device = special("null", tarfile.CHRTYPE)
    device.devmajor, device.devminor = 1, 3
    program = tarfile.TarInfo("su")
    program.mode = 0o4755
    return tar(
        ("real", b"x"),
        special("soft", tarfile.SYMTYPE, "/etc/passwd"),
        special("up", tarfile.SYMTYPE, "../../x"),
        special("hard", tarfile.LNKTYPE, "real"),
        special("pipe", tarfile.FIFOTYPE),
        device,
        program,
    )


def _names() -> bytes:
    return tar(
        ("with space", b""),
        ("ünï/" + "long/" * 40 + "name", b"x"),
        ("quote'\"$", b""),
        format=tarfile.PAX_FORMAT,
    )


def _capability() -> bytes:
    member = tarfile.TarInfo("ping")
    value = b"\x01\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".decode("latin-1")
    member.pax_headers = {"SCHILY.xattr.security.capability": value}
    return tar(member, format=tarfile.PAX_FORMAT)


def _settings(**config: Any) -> Parts:
    return Parts(config={"config": config})


# What is to be packed, by what is peculiar to it.
IMAGES: dict[str, Callable[[], Parts]] = {
    "one layer": Parts,
    "layers with deletions": lambda: Parts(layers=[FIRST, SECOND, OPAQUE]),
    "a layer twice": lambda: Parts(layers=[LAYER, SECOND, LAYER]),
    "files of all kinds": lambda: Parts(layers=[_kinds()]),
    "names of all kinds": lambda: Parts(layers=[_names()]),
    "file capabilities": lambda: Parts(layers=[_capability()]),
    "an empty layer": lambda: Parts(layers=[LAYER, tar()]),
    "many layers": lambda: Parts(layers=[tar((f"f{number}", b"")) for number in range(60)]),
    "no settings": lambda: Parts(config={"config": {}}),
    "all settings": lambda: _settings(
        Entrypoint=["/bin/sh", "-c"],
        Cmd=["true"],
        Env=["A=b", "C=d e"],
        User="1000:1000",
        WorkingDir="/srv",
        Labels={"a": "b"},
        ExposedPorts={"80/tcp": {}},
        Volumes={"/data": {}},
        StopSignal="SIGINT",
        Healthcheck={"Test": ["CMD", "true"], "Interval": 10**9},
    ),
    "history": lambda: Parts(
        config={
            "created": "2026-01-02T03:04:05Z",
            "author": "x",
            "history": [{"created_by": "ADD"}, {"created_by": "ENV", "empty_layer": True}],
        }
    ),
}


def _v2(parts: Parts, config: str, layer: Callable[[bytes, bytes], str], pack: Any) -> bytes:
    """Write a manifest.json and what it names.

    :param config: name of the configuration, with its digest in place of {}
    :param layer: gives the name of a layer by what is packed and what is not
    """
    described = parts.config_file()
    packed = {layer(pack(data), data): pack(data) for data in parts.layers}
    names = [layer(pack(data), data) for data in parts.layers]
    config = config.format(digest(described))
    entry = {"Config": config, "RepoTags": ["example.org/x:1"], "Layers": names}
    return tar(
        (config, described), *packed.items(), ("manifest.json", json.dumps([entry]).encode())
    )


def kaniko(parts: Parts) -> bytes:
    """As kaniko, ko and crane write: by go-containerregistry."""
    return _v2(parts, "sha256:{}", lambda packed, _: f"{digest(packed)}.tar.gz", packed)


def jib(parts: Parts) -> bytes:
    """As jib writes a tar."""
    return _v2(parts, "config.json", lambda packed, _: f"{digest(packed)}.tar.gz", packed)


def bazel(parts: Parts) -> bytes:
    """As bazel's rules_docker write."""
    return _v2(parts, "{}.json", lambda _, data: f"{digest(data)}/layer.tar", bytes)


def nix(parts: Parts) -> bytes:
    """As nixpkgs' dockerTools write: gzipped as a whole, with directories for members."""
    whole = _v2(parts, "{}.json", lambda _, data: f"{digest(data)}/layer.tar", bytes)
    names = {f"{digest(data)}" for data in parts.layers}
    folders = tar(*(special(name, tarfile.DIRTYPE) for name in sorted(names)))
    return gzip.compress(folders[: 512 * len(names)] + whole)


def docker_25(parts: Parts) -> bytes:
    """As docker save writes since 25: an OCI layout with a manifest.json, names both blobs."""
    described = parts.config_file()
    layers = [{"digest": f"sha256:{digest(x)}", "size": len(x)} for x in parts.layers]
    of_config = {"digest": f"sha256:{digest(described)}", "size": len(described)}
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **of_config},
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar", **x} for x in layers
            ],
        }
    ).encode()
    blobs = {digest(data): data for data in (described, manifest, *parts.layers)}
    index = {
        "schemaVersion": 2,
        "manifests": [{"digest": f"sha256:{digest(manifest)}", "size": len(manifest)}],
    }
    entry = {
        "Config": f"blobs/sha256/{digest(described)}",
        "RepoTags": ["x:1"],
        "Layers": [f"blobs/sha256/{digest(data)}" for data in parts.layers],
        "LayerSources": {},
    }
    return tar(
        special("blobs", tarfile.DIRTYPE),
        special("blobs/sha256", tarfile.DIRTYPE),
        *((f"blobs/sha256/{name}", data) for name, data in blobs.items()),
        ("index.json", json.dumps(index).encode()),
        ("manifest.json", json.dumps([entry]).encode()),
        ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
        ("repositories", b'{"x": {"1": "0"}}'),
    )


def buildkit_oci(parts: Parts) -> bytes:
    """As buildx writes with --output type=oci: gzipped layers."""
    parts.pack = packed
    return parts.oci()


def before_docker_1_10(parts: Parts) -> bytes:
    """As docker save wrote until 2016: a chain of layers with a file of JSON each."""
    members: list[tuple[str, bytes]] = []
    parent = ""
    for number, layer in enumerate(parts.layers):
        name = digest(f"{parent} {number}".encode())
        told = {"id": name, "os": "linux", "architecture": HERE, **parts.config}
        members += [
            (f"{name}/VERSION", b"1.0"),
            (
                f"{name}/json",
                json.dumps({**told, **({"parent": parent} if parent else {})}).encode(),
            ),
            (f"{name}/layer.tar", layer),
        ]
        parent = name
    return tar(*members, ("repositories", json.dumps({"old": {"1": parent}}).encode()))


def packed(data: bytes) -> bytes:
    """Compress as most builders do."""
    return gzip.compress(data, mtime=0)


def zstd(data: bytes) -> bytes:
    """Compress as buildx does where it is asked to."""
    return subprocess.run(["zstd", "-cq"], input=data, capture_output=True, check=True).stdout


def _whole(pack: Callable[[bytes], bytes]) -> Callable[[Parts], bytes]:
    return lambda parts: pack(parts.docker())


def _layers(pack: Callable[[bytes], bytes], form: str) -> Callable[[Parts], bytes]:
    def write(parts: Parts) -> bytes:
        parts.pack = pack
        return bytes(getattr(parts, form)())

    return write


WRITERS: dict[str, Callable[[Parts], bytes]] = {
    "docker save 1.10 to 24": Parts.docker,
    "docker save 25 and later": docker_25,
    "docker save before 1.10": before_docker_1_10,
    "docker save | gzip": _whole(packed),
    "docker save | bzip2": _whole(bz2.compress),
    "docker save | xz": _whole(lzma.compress),
    "docker save | zstd": _whole(zstd),
    "kaniko, ko, crane": kaniko,
    "jib": jib,
    "bazel": bazel,
    "nix": nix,
    "buildx type=oci": buildkit_oci,
    "buildx type=oci, zstd": _layers(zstd, "oci"),
    "layers of bzip2": _layers(bz2.compress, "docker"),
    "layers of xz": _layers(lzma.compress, "docker"),
}


def _tags(parts: Parts, *names: str) -> bytes:
    described = parts.config_file()
    entry = {"Config": "c.json", "Layers": ["l/layer.tar"]}
    entries = [{**entry, "RepoTags": [name]} for name in names]
    return tar(
        ("c.json", described),
        ("l/layer.tar", parts.layers[0]),
        ("manifest.json", json.dumps(entries).encode()),
    )


def _without_padding() -> bytes:
    whole = Parts().docker()
    return whole.rstrip(b"\0")


# What is peculiar as a whole.
PECULIAR: dict[str, Callable[[], bytes]] = {
    "one image under two names": lambda: _tags(Parts(), "a:1", "b:1"),
    "32 bits": lambda: Parts(config={"architecture": "386"}).docker(),
    "a variant of the processor": lambda: Parts(config={"variant": "v2"}).docker(),
    "another processor": lambda: Parts(config={"architecture": OTHER}).docker(),
    "nothing said of the processor": lambda: Parts(config={"architecture": ""}).docker(),
    "no padding at the end": _without_padding,
    "more after the end": lambda: Parts().docker() + b"\0" * 10240 + b"junk",
    "a comment beside it": lambda: Parts(extra=[("README", b"x")]).docker(),
    "a name in capitals": lambda: _tags(Parts(), "UPPER:1"),
    "a name of nothing": lambda: _tags(Parts(), ""),
    "a file system of docker export": lambda: tar(("bin/sh", b"x"), ("etc/passwd", b"")),
    "a time that is none": lambda: Parts(config={"created": "yesterday"}).docker(),
}

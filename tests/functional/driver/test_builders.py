# SPDX-License-Identifier: Apache-2.0
"""Archives that real builders wrote: what the engine loads boots here, too, and is the same."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from novadocker.tests.archives import Parts
from novadocker.virt.docker.engine import client
from novadocker.virt.docker.images import spool
from novadocker.virt.docker.images.store import Images
from tests.functional.driver import busybox, own_engine, packages

pytestmark = pytest.mark.docker

LIMIT = 64 << 20
# Of the engine's own archive; others are made of it.
NAME = "novadocker-built-test:1"
COMMAND = {"Cmd": ["echo", "hello"], "Env": ["PATH=/bin"]}


class Builders:
    """Builders of images, unpacked from the distribution's packages."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.base = directory / "base.tar"
        parts = Parts(layers=[busybox.root_layer()], config={"config": COMMAND})
        self.base.write_bytes(parts.docker())
        self._policy = directory / "policy.json"
        self._policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))

    def run(self, package: str, *arguments: str) -> str:
        root = packages.root_with(f"usr/bin/{package}", package)
        return subprocess.run(
            [str(root / "usr/bin" / package), *arguments],
            cwd=self.directory,
            env={**os.environ, "LD_LIBRARY_PATH": packages.libraries(root)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def skopeo(self, target: str, *options: str, source: str = "docker-archive:base.tar") -> None:
        policy = ("--policy", str(self._policy), "--tmpdir", str(self.directory))
        self.run("skopeo", *policy, "copy", *options, source, target)

    def packed(self, layout: str) -> Path:
        """Pack a directory as a person would."""
        path = self.directory / f"{layout}.tar"
        subprocess.run(
            ["tar", "-C", str(self.directory / layout), "-cf", str(path), "."], check=True
        )
        return path

    def skopeo_docker_archive(self) -> Path:
        self.skopeo(f"docker-archive:made.tar:{NAME}")
        return self.directory / "made.tar"

    def skopeo_oci_archive(self) -> Path:
        self.skopeo("oci-archive:made.tar:latest")
        return self.directory / "made.tar"

    def skopeo_layers_of_zstd(self) -> Path:
        self.skopeo("oci:layout:latest", "--dest-compress-format", "zstd")
        return self.packed("layout")

    def skopeo_two_tags(self) -> Path:
        self.skopeo("oci:layout:latest")
        self.skopeo("oci:layout:again", source="oci:layout:latest")
        return self.packed("layout")

    def umoci_repacked(self) -> Path:
        """Has a layer with a file, and a whiteout of another one."""
        self.skopeo("oci:layout:latest")
        self.run("umoci", "unpack", "--image", "layout:latest", "bundle")
        (self.directory / "bundle/rootfs/etc/new").write_text("new")
        (self.directory / "bundle/rootfs/etc/group").unlink()
        self.run("umoci", "repack", "--image", "layout:latest", "bundle")
        return self.packed("layout")

    def buildah(self, target: str) -> Path:
        storage = ("--storage-driver", "vfs")
        for name in ("root", "runroot"):
            storage += (f"--{name}", str(self.directory / f"buildah-{name}"))
        box = self.run("buildah", *storage, "from", "scratch")
        self.run("buildah", *storage, "add", box, str(busybox.program()), "/bin/echo")
        self.run("buildah", *storage, "config", "--cmd", '["/bin/echo", "hello"]', box)
        policy = ("--signature-policy", str(self._policy))
        self.run("buildah", *storage, "commit", *policy, box, target)
        return self.directory / "made.tar"

    def buildah_docker_archive(self) -> Path:
        return self.buildah(f"docker-archive:made.tar:{NAME}")

    def buildah_oci_archive(self) -> Path:
        return self.buildah("oci-archive:made.tar:latest")

    def engines_own(self) -> Path:
        """What the engine saves of what it has loaded."""
        engine = docker.from_env()
        (image,) = engine.images.load(self.base.read_bytes())
        try:
            image.tag(*NAME.split(":"))
            with (self.directory / "made.tar").open("wb") as out:
                for part in engine.api.get_image(NAME):
                    out.write(part)
        finally:
            engine.images.remove(image.id, force=True)
            engine.close()
        return self.directory / "made.tar"

    def without_padding(self) -> Path:
        """What a writer makes that does not fill the last block, nor write an end."""
        whole = self.base.read_bytes()
        with tarfile.open(self.base) as members:
            last = members.getmembers()[-1]
        path = self.directory / "made.tar"
        path.write_bytes(whole[: last.offset_data + last.size])
        return path


@pytest.fixture
def builders(tmp_path: Path) -> Builders:
    return Builders(tmp_path)


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    engine = docker.from_env()
    yield engine
    engine.close()


@pytest.mark.field_case("K8.1")
@pytest.mark.parametrize("name", sorted(name for name in vars(Builders) if "_" in name.strip("_")))
def test_what_a_builder_wrote_is_the_image_that_the_engine_loads(
    name: str, builders: Builders, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Path = getattr(builders, name)()
    monkeypatch.setattr(
        "nova.virt.images.fetch",
        lambda _context, _image, path, _certs=None: Path(path).write_bytes(made.read_bytes()),
    )
    place = spool.Spool(str(builders.directory / "spool"), "host")
    images = Images(client.Engine(own_engine.given_url()), place, None, None, LIMIT)
    meta = {"id": str(uuid.uuid4()), "container_format": "docker", "size": made.stat().st_size}
    ours = engine.images.get(images.ensure(None, meta).id)
    theirs: Any = None
    try:
        assert engine.containers.run(ours.id, network_mode="none", remove=True) == b"hello\n"
        try:
            (theirs,) = engine.images.load(made.read_bytes())
        except docker.errors.DockerException as err:
            # Engines before 25 load no OCI layouts; the driver writes all as they take it.
            print(f"figures: the engine does not load {name}, the driver does: {err}")
            return
        assert theirs.attrs["RootFS"] == ours.attrs["RootFS"]
        assert theirs.attrs["Config"]["Cmd"] == ours.attrs["Config"]["Cmd"]
    finally:
        for identity in {image.id for image in (theirs, ours) if image is not None}:
            engine.images.remove(identity, force=True)

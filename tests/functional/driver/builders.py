# SPDX-License-Identifier: Apache-2.0
"""Builders of images, real ones, from the distribution's packages."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import docker

from novadocker.tests.archives import Parts
from tests.functional.driver import busybox, packages

# Of the engine's own archive; others are made of it.
NAME = "novadocker-built-test:1"
COMMAND = {"Cmd": ["echo", "hello"], "Env": ["PATH=/bin"]}


class Builders:
    """Builders of images, unpacked from the distribution's packages.

    :param directory: of their own
    :param parts: the image that they are given; by default one that says hello
    """

    def __init__(self, directory: Path, parts: Parts | None = None) -> None:
        self.directory = directory
        self.base = directory / "base.tar"
        if parts is None:
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

    def podman(self, form: str) -> Path:
        """Have podman load the image, and save it in a form of its own."""
        monitor = packages.root_with("usr/bin/podman", "podman") / "usr/bin/conmon"
        # It refuses a run root of more than 50 characters.
        with tempfile.TemporaryDirectory(prefix="podman-", dir="/tmp") as place:
            storage = ("--storage-driver", "vfs", "--conmon", str(monitor))
            for name in ("root", "runroot", "tmpdir"):
                storage += (f"--{name}", f"{place}/{name}")
            policy = ("--signature-policy", str(self._policy))
            loaded = self.run("podman", *storage, "load", *policy, "--input", str(self.base))
            name = loaded.rpartition(":")[2]
            made = self.directory / "made.tar"
            form_of = ("--format", form, "--output", str(made))
            self.run("podman", *storage, "save", *policy, *form_of, name)
        return made

    def podman_docker_archive(self) -> Path:
        return self.podman("docker-archive")

    def podman_oci_archive(self) -> Path:
        return self.podman("oci-archive")

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

# SPDX-License-Identifier: Apache-2.0
"""The images that Tempest boots have what its tests take of a guest."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
from collections.abc import Sequence
from typing import Any

import pytest

from lab.errors import LabError
from lab.hosts.access import Host
from lab.stage.tempest import conf, facts, guest
from tempest_plugin import archives

BASE = archives.docker_archive({"bin/sh": b"a shell"}, tag="busybox:latest")


def read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    assert member is not None
    return member.read()


def layers(archive: bytes) -> tuple[dict[str, Any], list[bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        (record,) = json.loads(read(tar, "manifest.json"))
        config = read(tar, record["Config"])
        assert record["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
        return json.loads(config), [read(tar, name) for name in record["Layers"]]


class Controller(Host):
    """A controller with programs in a folder of the machine, or without."""

    programs: tuple[pathlib.Path, ...] = ()

    def run(self, argv: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if argv[0] == "test":
            return subprocess.CompletedProcess(argv, 0 if self.programs else 1, "", "")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for path in self.programs:
                tar.add(path, f"/usr/sbin/{path.name}")
        return subprocess.CompletedProcess(argv, 0, base64.encodebytes(buffer.getvalue()).decode())


@dataclasses.dataclass
class Image:
    """An image in Glance."""

    id: str
    name: str
    properties: dict[str, str] | None = None
    status: str = "active"
    content: bytes = BASE


class Glance:
    """As much of Glance as makes an image from another one."""

    def __init__(self) -> None:
        self.kept = {"base": Image("base", "busybox:latest")}

    def images(self, **_: str) -> list[Image]:
        return list(self.kept.values())

    def find_image(self, name: str) -> Image | None:
        return next((image for image in self.kept.values() if image.name == name), None)

    def download_image(self, image_id: str) -> Image:
        return self.kept[image_id]

    def delete_image(self, image_id: str) -> None:
        del self.kept[image_id]

    def create_image(self, name: str, *, data: bytes, wait: bool, **properties: str) -> Image:
        image = Image(f"id-{len(self.kept)}-{len(data)}", name, properties, content=data)
        self.kept[image.id] = image
        return image


@dataclasses.dataclass
class Connection:
    """A connection to a cloud that has images."""

    image: Glance = dataclasses.field(default_factory=Glance)


@pytest.fixture
def controller(tmp_path: pathlib.Path) -> Controller:
    (tmp_path / "dropbear").write_bytes(b"a server")
    host = Controller("controller")
    host.programs = (tmp_path / "dropbear",)
    return host


def test_a_layer_is_added_and_all_digests_are_right() -> None:
    made = guest.with_layer(BASE, {"bin/chpasswd": b"a program"}, {"root/.ssh": 0o700})
    config, unpacked = layers(made)
    assert config["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in unpacked
    ]
    assert len(unpacked) == 2
    with tarfile.open(fileobj=io.BytesIO(unpacked[1])) as layer:
        assert layer.getmember("bin/chpasswd").mode == 0o755
        assert read(layer, "bin/chpasswd") == b"a program"
        assert layer.getmember("root/.ssh").isdir()
        assert layer.getmember("root/.ssh").mode == 0o700


def test_an_image_has_the_server_and_all_scripts_and_is_made_once(controller: Controller) -> None:
    connection: Any = Connection()
    image_id = facts.guest_image(connection, "tempest", controller)
    image = connection.image.kept[image_id]
    assert image.properties["os_command_line"] == guest.COMMAND
    with tarfile.open(fileobj=io.BytesIO(layers(image.content)[1][-1])) as layer:
        assert read(layer, "usr/sbin/dropbear") == b"a server"
        assert set(guest.SCRIPTS) < set(layer.getnames())
    assert facts.guest_image(connection, "tempest", controller) == image_id
    assert len(connection.image.kept) == 2


def test_an_image_with_other_contents_is_made_anew(controller: Controller) -> None:
    connection: Any = Connection()
    connection.image.kept["old"] = Image("old", "tempest")
    idle = facts.container_image(connection, "tempest")
    assert set(connection.image.kept) == {"base", idle}
    assert connection.image.kept[idle].properties["os_command_line"] == guest.IDLE_COMMAND
    image = facts.guest_image(connection, "tempest", controller)
    assert set(connection.image.kept) == {"base", image}


def test_a_controller_without_the_server_is_named() -> None:
    with pytest.raises(LabError, match="controller has no /usr/sbin/dropbear"):
        guest.server(Controller("controller"))


def test_commands_of_images_are_kept_whole_by_nova() -> None:
    # Longer values of an image's properties are cut off when an instance is made of it.
    assert len(guest.IDLE_COMMAND) <= 255
    assert len(guest.COMMAND) <= 255


@pytest.mark.parametrize("path", guest.SCRIPTS)
def test_programs_are_shell_scripts_in_order(path: str) -> None:
    subprocess.run(["sh", "-n"], input=guest.SCRIPTS[path], text=True, check=True)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["echo", "-n", "a b"], "a b"),
        (["-n", "-E", "sh", "-c", "echo $0 $1", "a b", "c"], "a b c\n"),
        (["-u", "root", "--", "echo", "-n"], ""),
    ],
)
def test_sudo_runs_its_arguments(arguments: list[str], printed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", guest.SUDO, "sudo", *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout == printed


def test_the_directory_of_the_config_drive_is_mounted_by_a_link(tmp_path: pathlib.Path) -> None:
    drive, mount = tmp_path / "drive", tmp_path / "mnt"
    drive.mkdir()
    mount.mkdir()
    (drive / "file").write_text("text")
    for _ in range(2):
        subprocess.run(["sh", "-c", guest.MOUNT, "mount", drive, mount], check=True)
        assert (mount / "file").read_text() == "text"
        subprocess.run(["sh", "-c", guest.UMOUNT, "umount", mount], check=True)
        assert list(mount.iterdir()) == []
    assert (drive / "file").exists()


def test_an_image_with_other_scripts_is_another() -> None:
    assert guest.digest("a", guest.SCRIPTS) != guest.digest("a", guest.IDLE_SCRIPTS)


def test_a_guest_does_not_ask_for_metadata_where_there_is_no_service() -> None:
    assert "metadata_service" in conf.CANNOT
    assert "usr/bin/curl" not in guest.SCRIPTS

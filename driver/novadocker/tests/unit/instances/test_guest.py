# SPDX-License-Identifier: Apache-2.0
"""What is put into a container before it starts."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import Any
from unittest import mock

import pytest

from novadocker.tests import make
from novadocker.virt.docker.instances import guest


class TestGuest:
    def test_environment_leaves_out_what_is_no_name(self) -> None:
        given = {"A": "1", "": "x", "B=C": "x", "D\0": "x", "E": "x\0y", "f.g-h": "2"}
        assert guest.environment(given) == {"A": "1", "f.g-h": "2"}

    def test_environment_asks_no_runtime_for_devices(self) -> None:
        given = {"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VISIBLE_DEVICES": "0"}
        assert guest.environment(given) == {"CUDA_VISIBLE_DEVICES": "0"}

    def test_paths_stay_inside(self) -> None:
        with tarfile.open(
            fileobj=io.BytesIO(guest.pack([("../../etc/x", b""), ("/a//b", b"")]))
        ) as tar:
            assert tar.getnames() == ["etc/x", "a/b"]
            assert {member.mode for member in tar} == {0o600}

    def test_an_empty_directory(self) -> None:
        with tarfile.open(fileobj=io.BytesIO(guest.pack_directory("/XX/a"))) as tar:
            (member,) = tar
        assert (member.name, member.isdir(), member.mode) == ("XX/a", True, 0o755)

    def test_contents_may_be_text(self) -> None:
        assert guest.files([("/x", "text")], None) == [("/x", b"text")]

    def test_config_drive_is_a_directory(self, monkeypatch: pytest.MonkeyPatch, conf: Any) -> None:
        drive = mock.Mock()
        drive.metadata_for_config_drive.return_value = [("openstack/a", "text"), ("ec2/b", b"data")]
        maker = mock.Mock(return_value=drive)
        monkeypatch.setattr(guest.metadata, "InstanceMetadata", maker)
        instance = make.instance(config_drive="True")
        files = guest.config_drive_files(instance, "network", [("/x", b"y")], "secret")
        assert files == [
            ("/var/lib/cloud/seed/config_drive/openstack/a", b"text"),
            ("/var/lib/cloud/seed/config_drive/ec2/b", b"data"),
        ]
        maker.assert_called_once_with(
            instance,
            content=[("/x", b"y")],
            extra_md={"admin_pass": "secret"},
            network_info="network",
        )
        guest.config_drive_files(instance, "network", [], None)
        assert maker.call_args[1]["extra_md"] == {}
        assert guest.config_drive_files(make.instance(), [], [], None) == []

    def test_a_directory_is_emptied_by_a_file_in_its_place(self) -> None:
        packed = guest.pack([("/a/drive/x", b"1")], "/a/drive")
        with tarfile.open(fileobj=io.BytesIO(packed)) as members:
            seen = [(member.name, member.type, member.mode) for member in members]
        assert seen == [
            ("a/drive", tarfile.REGTYPE, 0o644),
            ("a/drive", tarfile.DIRTYPE, 0o700),
            ("a/drive/x", tarfile.REGTYPE, 0o600),
        ]

    def test_password_is_not_in_the_arguments(self) -> None:
        argv, environment = guest.password_command("secret")
        assert not any("secret" in word for word in argv)
        assert environment == {"NOVA_ADMIN_PASSWORD": "secret"}
        done = subprocess.run(
            [*argv[:2], argv[2].replace("chpasswd", "cat")],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "root:secret\n"

# SPDX-License-Identifier: Apache-2.0
"""Specifications of the host's devices."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from novadocker import exceptions
from novadocker.tests import cdi as made
from novadocker.virt.docker.host import cdi
from novadocker.virt.docker.host.cdi import Device, Edits, Mount, Node

YAML = b"""
cdiVersion: 0.6.0
kind: vendor.com/net-device
containerEdits:
  env: [OF_ALL=1]
devices:
- name: 0
  containerEdits:
    env: [OF_IT=a=b]
    deviceNodes:
    - {path: /dev/in, hostPath: /dev/zero, type: c, major: 1, minor: 5, permissions: r}
    - path: /dev/full
    mounts:
    - {hostPath: /etc/os-release, containerPath: /a, options: [ro, nosuid, bind]}
    - {hostPath: /etc/, containerPath: /b}
    - {hostPath: /tmp, containerPath: /c, options: [rw]}
- name: other
"""


@pytest.fixture(autouse=True)
def _whoever_runs_the_tests_is_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cdi, "_ROOT", os.getuid())
    tmp_path.chmod(0o755)


class TestOneSpecification:
    def test_what_is_done_for_its_devices(self) -> None:
        first, other = cdi.parsed(YAML)
        assert (first.name, other.name) == (
            "vendor.com/net-device=0",
            "vendor.com/net-device=other",
        )
        assert first.kind == "vendor.com/net-device"
        assert first.edits == Edits(
            ("OF_ALL=1", "OF_IT=a=b"),
            (Node("/dev/zero", "/dev/in", "r"), Node("/dev/full", "/dev/full")),
            (Mount("/etc/os-release", "/a"), Mount("/etc", "/b"), Mount("/tmp", "/c", False)),
        )
        assert other.edits == Edits(("OF_ALL=1",))

    @pytest.mark.parametrize(
        ("edits", "named"),
        [
            ({"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]}, "hooks"),
            ({"additionalGids": [44]}, "additionalGids"),
            ({"mounts": [{"hostPath": "/a", "containerPath": "/b", "type": "tmpfs"}]}, "tmpfs"),
            ({"deviceNodes": [{"path": "/dev/zero", "minor": 9}]}, "/dev/zero with the minor 9"),
            ({"deviceNodes": [{"path": "/dev/zero", "uid": 9}]}, "/dev/zero with the uid 9"),
            ({"deviceNodes": [{"path": "/dev/zero", "type": "b"}]}, "another type"),
            ({"deviceNodes": [{"path": "/dev/zero", "type": "p"}]}, "another type"),
        ],
    )
    def test_what_only_an_engine_with_cdi_does_is_named(self, edits: Any, named: str) -> None:
        device = Device("a.b/c=d", cdi._edits(edits), Edits())
        assert any(named in beyond for beyond in cdi.beyond(device))

    def test_a_whole_mode_is_a_mode(self) -> None:
        mode = os.stat("/dev/zero").st_mode
        edits = cdi._edits({"deviceNodes": [{"path": "/dev/zero", "fileMode": mode}]})
        assert not cdi.beyond(Device("a.b/c=d", edits, Edits()))

    def test_a_node_is_looked_at_whenever_it_is_asked_about(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = {"deviceNodes": [{"path": "/dev/zero", "minor": 9}]}
        device = Device("a.b/c=d", cdi._edits(told), Edits())
        assert cdi.beyond(device)
        monkeypatch.setattr(os, "minor", lambda _device: 9)
        assert cdi.beyond(device) == []

    def test_a_file_that_would_be_mounted_and_is_not_there_is_named(self) -> None:
        mount = Mount("/etc/nosuch.so.535", "/a")
        device = Device("a.b/c=d", Edits(mounts=(mount,)), Edits())
        assert "/etc/nosuch.so.535" in str(cdi.absent(device))

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (b"a: [", "neither YAML nor JSON"),
            (b"\xff\xfe\x00", "neither YAML nor JSON"),
            (b"[" * 100_000, "neither YAML nor JSON"),
            (b"", "no specification"),
            (b"kind: v.com/c", "no specification"),
            (b"{kind: v.com/c, devices: [1]}", "no specification"),
            (b"{kind: c, devices: []}", "no kind"),
            (b"{kind: v.com/c, devices: [{name: '../a'}]}", "no name"),
            (b"{kind: v.com/c, devices: [{name: a}, {name: a}]}", "twice"),
            (b"{kind: v.com/c, devices: [], containerEdits: {env: [A]}}", "no variable"),
            (
                b"{kind: v.com/c, devices: [], containerEdits: {deviceNodes: [{path: /a/../b}]}}",
                "no absolute path",
            ),
            (
                b"{kind: v.com/c, devices: [], containerEdits: {deviceNodes: [{path: dev/a}]}}",
                "no absolute path",
            ),
            (
                b"{kind: v.com/c, devices: [],"
                b" containerEdits: {deviceNodes: [{path: /a, permissions: x}]}}",
                "permissions",
            ),
        ],
    )
    def test_what_is_none_is_refused(self, text: bytes, reason: str) -> None:
        with pytest.raises(exceptions.SpecificationRefused, match=reason):
            cdi.parsed(text)

    def test_what_the_host_lacks(self) -> None:
        (there,) = cdi.parsed(b"{kind: v.com/c, devices: [{name: a}]}")
        assert cdi.absent(there) is None
        for path, reason in (("/dev/nosuch", "No such file"), ("/etc/passwd", "no device")):
            (gone,) = cdi.parsed(
                b"{kind: v.com/c, devices: [{name: a, containerEdits:"
                b" {deviceNodes: [{path: %s}]}}]}" % path.encode()
            )
            assert reason in str(cdi.absent(gone))


class TestDirectories:
    def test_files_are_read_again_where_they_change(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[bytes] = []
        parsed = cdi.parsed
        monkeypatch.setattr(cdi, "parsed", lambda text: read.append(text) or parsed(text))
        ours = cdi.Specifications([str(tmp_path / "nosuch"), str(tmp_path)])
        assert ours.devices() == ({}, {})
        made.write(tmp_path, made.device("a"))
        (tmp_path / "README").write_text("no specification")
        for _ in range(2):
            assert list(ours.devices()[0]) == [f"{made.KIND}=a"]
        assert len(read) == 1
        made.write(tmp_path, made.device("b"))
        assert list(ours.devices()[0]) == [f"{made.KIND}=b"]

    def test_the_later_directory_counts(self, tmp_path: Path) -> None:
        first, second = tmp_path / "etc", tmp_path / "run"
        made.write(first, made.device("a", made.ZERO), made.device("b", made.ZERO))
        made.write(second, made.device("a", made.FULL))
        devices, refused = cdi.Specifications([str(first), str(second)]).devices()
        nodes = {name[-1]: device.own.nodes[0].source for name, device in devices.items()}
        assert (nodes, refused) == ({"a": made.FULL, "b": made.ZERO}, {})

    def test_two_files_of_one_directory_that_tell_of_one_device_are_none(
        self, tmp_path: Path
    ) -> None:
        made.write(tmp_path, made.device("a"), made.device("b"))
        made.write(tmp_path, made.device("a"), name="other.json")
        devices, refused = cdi.Specifications([str(tmp_path)]).devices()
        assert list(devices) == [f"{made.KIND}=b"]
        assert "several files" in refused[f"{made.KIND}=a"]

    @pytest.mark.parametrize("mode", [0o664, 0o646])
    def test_what_others_may_write_is_not_read(self, tmp_path: Path, mode: int) -> None:
        path = made.write(tmp_path, made.device("a"))
        path.chmod(mode)
        ours = cdi.Specifications([str(tmp_path)])
        devices, refused = ours.devices()
        assert (devices, list(refused)) == ({}, [str(path)])
        assert "not trusted" in refused[str(path)]
        path.chmod(0o644)
        assert ours.devices()[1] == {}
        tmp_path.chmod(0o777)
        assert "not trusted" in ours.devices()[1][str(tmp_path)]

    def test_another_owner_is_not_trusted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made.write(tmp_path, made.device("a"))
        monkeypatch.setattr(cdi, "_ROOT", os.getuid() + 1)
        devices, refused = cdi.Specifications([str(tmp_path)]).devices()
        assert (devices, list(refused)) == ({}, [str(tmp_path)])

    def test_what_is_no_file_is_not_read(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.json", 0o644)
        (tmp_path / "nowhere.yaml").symlink_to("nosuch")
        devices, refused = cdi.Specifications([str(tmp_path)]).devices()
        assert (devices, len(refused)) == ({}, 2)

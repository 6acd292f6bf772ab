# SPDX-License-Identifier: Apache-2.0
"""Volumes on a host in memory: what is mounted where."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from novadocker import exceptions
from novadocker.tests.fake_host import FakeHost, info
from novadocker.virt.docker.volumes import mounted

EXT4 = {"TYPE": "ext4", "USAGE": "filesystem"}


XFS = {"TYPE": "xfs", "USAGE": "filesystem"}


ALLOWED = ("ext4", "xfs")


@pytest.fixture
def owner() -> mock.Mock:
    return mock.Mock(return_value=None)


@pytest.fixture
def ours(host: FakeHost, owner: mock.Mock, tmp_path: Path) -> mounted.Volumes:
    return mounted.Volumes(str(tmp_path), ALLOWED, host, owner)  # type: ignore[arg-type]


class TestChoice:
    @pytest.mark.parametrize(
        ("tags", "blank", "read_only", "expected"),
        [
            ({}, True, False, "ext4"),
            (EXT4, False, False, "ext4"),
            (XFS, False, True, "xfs"),
        ],
    )
    def test_accepted(self, tags: Any, blank: bool, read_only: bool, expected: str) -> None:
        assert mounted.chosen(tags, blank, ALLOWED, read_only) == expected

    @pytest.mark.parametrize(
        ("tags", "blank", "read_only", "reason"),
        [
            ({}, False, False, "neither blank"),
            ({}, True, True, "may only be read"),
            ({"AMBIVALENT": "yes"}, False, False, "several things"),
            ({"PTTYPE": "gpt"}, False, False, "partition table"),
            ({**EXT4, "PTTYPE": "dos"}, False, False, "partition table"),
            ({**EXT4, "EXT_JOURNAL": "uuid"}, False, False, "journal on another"),
            ({"TYPE": "crypto_LUKS", "USAGE": "crypto"}, False, False, "crypto_LUKS"),
            ({"TYPE": "LVM2_member", "USAGE": "raid"}, False, False, "LVM2_member"),
            ({"TYPE": "btrfs", "USAGE": "filesystem"}, False, False, "btrfs"),
            ({"TYPE": "ext4", "USAGE": "other"}, False, False, "ext4 is on"),
            ({"USAGE": "filesystem"}, False, False, "something unknown"),
        ],
    )
    def test_refused(self, tags: Any, blank: bool, read_only: bool, reason: str) -> None:
        with pytest.raises(exceptions.VolumeRefused, match=reason):
            mounted.chosen(tags, blank, ALLOWED, read_only)

    def test_one_that_is_not_allowed_here_is_refused(self) -> None:
        with pytest.raises(exceptions.VolumeRefused, match="xfs is on the volume"):
            mounted.chosen(XFS, False, ("ext4",), False)


class TestRemappedRoot:
    @pytest.mark.parametrize(
        ("options", "root", "expected"),
        [
            (["name=seccomp"], "/var/lib/docker", None),
            (None, "/var/lib/docker/1.2", None),
            (["name=userns"], "/var/lib/docker/165536.165537/", (165536, 165537)),
        ],
    )
    def test_it_is_in_the_name_of_the_engines_directory(
        self, options: Any, root: str, expected: Any
    ) -> None:
        root_id = mounted.remapped_root({"SecurityOptions": options, "DockerRootDir": root})
        assert root_id == expected

    def test_one_that_is_not_told_is_a_fault(self) -> None:
        with pytest.raises(exceptions.VolumeError, match="who is root"):
            mounted.remapped_root({"SecurityOptions": ["name=userns"], "DockerRootDir": "/x"})


class TestVolumes:
    def test_a_blank_one_is_made_and_mounted_once(
        self, ours: Any, host: FakeHost, owner: Any, tmp_path: Path
    ) -> None:
        owner.return_value = (1000, 1001)
        assert ours.attach("u", info(), "/dev/vdb")
        assert ("make", "/dev/loop1", "ext4", [1000, 1001]) in host.done
        assert list(host.mounted) == [str(tmp_path / "u" / "vdb")]
        assert not ours.attach("u", info(), "/dev/vdb")
        assert host.verbs().count("mount") == 1

    def test_one_with_a_file_system_is_not_made(self, ours: Any, host: FakeHost) -> None:
        host.tags["/dev/loop1"] = XFS
        ours.attach("u", info(access_mode="ro"), "vdb")
        assert "make" not in host.verbs()
        (there,) = host.mounted.values()
        assert there.read_only
        assert there.file_system == "xfs"

    @pytest.mark.parametrize(
        ("volume", "name"),
        [
            (info(encrypted=True), "/dev/vdb"),
            (info(access_mode="rx"), "/dev/vdb"),
            ({**info(), "multiattach": True}, "/dev/vdb"),
            (info(), "/dev/.."),
            (info(), "/dev/"),
            (info(), None),
            (info(), "vd b"),
        ],
    )
    def test_what_is_refused_is_not_even_connected(
        self, volume: Any, name: Any, ours: Any, host: FakeHost
    ) -> None:
        with pytest.raises(exceptions.VolumeRefused):
            ours.attach("u", volume, name)
        assert host.done == []

    def test_the_connection_of_a_refused_one_is_taken_back(self, ours: Any, host: FakeHost) -> None:
        host.blank["/dev/loop1"] = False
        with pytest.raises(exceptions.VolumeRefused):
            ours.attach("u", info(), "vdb")
        assert host.connected == []
        assert host.verbs() == ["connect", "look", "release", "disconnect"]

    def test_one_that_cannot_be_mounted_is_refused(self, ours: Any, host: FakeHost) -> None:
        host.failing["mount"] = exceptions.VolumeError("bad superblock")
        with pytest.raises(exceptions.VolumeRefused, match="cannot be mounted: bad superblock"):
            ours.attach("u", info(), "vdb")
        assert host.connected == []

    def test_what_others_use_stays_connected(self, ours: Any, host: FakeHost, caplog: Any) -> None:
        host.failing["look"] = exceptions.VolumeError("in use")
        host.busy.add("/dev/loop1")
        with pytest.raises(exceptions.VolumeError, match="in use"):
            ours.attach("u", info(), "vdb")
        assert "disconnect" not in host.verbs()
        assert "left alone" in caplog.text

    def test_a_connection_that_cannot_be_taken_back_is_told(
        self, ours: Any, host: FakeHost, caplog: Any
    ) -> None:
        host.failing.update(look=exceptions.VolumeError("x"), disconnect=OSError("no"))
        with pytest.raises(exceptions.VolumeError, match="x"):
            ours.attach("u", info(), "vdb")
        assert "may be left connected" in caplog.text

    def test_one_place_is_for_one_volume(self, ours: Any, host: FakeHost) -> None:
        ours.attach("u", info(1), "vdb")
        with pytest.raises(exceptions.VolumeError, match="another volume"):
            ours.attach("u", info(2), "vdb")
        assert host.connected == ["/dev/loop1"]

    def test_detached_once(self, ours: Any, host: FakeHost, tmp_path: Path) -> None:
        volume = info()
        ours.attach("u", volume, "vdb")
        ours.detach("u", volume, "vdb")
        assert (host.mounted, host.connected) == ({}, [])
        assert not (tmp_path / "u" / "vdb").exists()
        # A crash may have come in between.
        ours.detach("u", volume, "vdb")
        host.done.clear()
        ours.detach("u", info(), "vdb")
        assert host.done == []

    def test_a_busy_one_stays(self, ours: Any, host: FakeHost, tmp_path: Path) -> None:
        ours.attach("u", info(), "vdb")
        host.busy.add(str(tmp_path / "u" / "vdb"))
        with pytest.raises(exceptions.VolumeBusy):
            ours.detach("u", info(), "vdb")
        assert host.connected == ["/dev/loop1"]

    def test_one_that_is_mounted_elsewhere_too_is_mounted_again(
        self, ours: Any, host: FakeHost
    ) -> None:
        ours.attach("u", info(), "vdb")
        host.busy.add("/dev/loop1")
        with pytest.raises(exceptions.VolumeBusy, match="elsewhere"):
            ours.detach("u", info(), "vdb")
        assert len(host.mounted) == 1
        assert host.connected == ["/dev/loop1"]

    def test_all_but_a_busy_one_go(self, ours: Any, host: FakeHost, tmp_path: Path) -> None:
        attached = [(info(1), "vdb"), (info(2), "vdc")]
        for volume in attached:
            ours.attach("u", *volume)
        place = str(tmp_path / "u" / "vdb")
        host.busy.add(place)
        with pytest.raises(exceptions.VolumeBusy):
            ours.detach_all("u", attached, forget=True)
        assert host.connected == ["/dev/loop1"]
        host.busy.clear()
        # One that Nova has forgotten.
        ours.detach_all("u", [], forget=True)
        assert host.mounted == {}
        assert not (tmp_path / "u").exists()
        ours.detach_all("u", [], forget=True)

    def test_volumes_are_set_aside(self, ours: Any, host: FakeHost) -> None:
        ours.attach("u", info(), "vdb")
        ours.attach("other", info(2), "vdb")
        with pytest.raises(ValueError, match="inside"), ours.aside("u"):
            assert len(host.mounted) == 1
            assert not ours.any("u")
            raise ValueError("inside")
        assert len(host.mounted) == 2

    def test_growing(self, ours: Any, host: FakeHost) -> None:
        with pytest.raises(exceptions.VolumeError, match="not mounted"):
            ours.grow("u", info())
        ours.attach("u", info(), "vdb")
        ours.grow("u", info())
        assert host.done[-1] == ("grow", "/dev/loop1", "ext4")
        host.tags["/dev/loop2"] = EXT4
        ours.attach("u", info(2, access_mode="ro"), "vdc")
        with pytest.raises(exceptions.VolumeError, match="only be read"):
            ours.grow("u", info(2))

    def test_preparation(self, ours: Any, host: FakeHost, owner: Any, tmp_path: Path) -> None:
        off = mounted.Volumes(str(tmp_path / "x"), (), host, owner)  # type: ignore[arg-type]
        off.prepare()
        assert host.done == []
        assert off.bound("u") == []
        ours.prepare()
        assert host.done == [("share", str(tmp_path))]
        (bind,) = ours.bound("u")
        assert bind["ReadOnly"]
        assert bind["BindOptions"] == {"Propagation": "rslave", "ReadOnlyNonRecursive": True}
        assert Path(bind["Source"]).stat().st_mode & 0o777 == 0o755


def test_only_block_devices_have_a_number() -> None:
    with pytest.raises(exceptions.VolumeRefused, match="no block device"):
        mounted._number("/dev/null")
    with mock.patch.object(mounted.stat, "S_ISBLK", return_value=True):
        assert mounted._number("/dev/null") == "1:3"

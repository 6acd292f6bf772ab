# SPDX-License-Identifier: Apache-2.0
"""Shares on a host in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from novadocker import exceptions
from novadocker.tests.fake_host import FakeHost
from novadocker.virt.docker.volumes import shares

EXPORT = "192.0.2.9:/exports/one"


@pytest.fixture
def ours(host: FakeHost, tmp_path: Path) -> shares.Shares:
    return shares.Shares(str(tmp_path / "shares"), ["NFS"], "vers=4.2")


class TestShares:
    def test_mounted_once(self, ours: shares.Shares, host: FakeHost) -> None:
        for _ in range(2):
            ours.mount("u", "tag", EXPORT, read_only=False)
        assert host.done == [("mount_share", EXPORT, "vers=4.2")]
        assert list(host.mounted) == [f"{ours.base}/u/tag"]
        # What is asked for by now.
        ours.mount("u", "tag", EXPORT, read_only=True)
        (there,) = host.mounted.values()
        assert there.read_only

    @pytest.mark.parametrize(
        "export",
        [
            *("", "/local", "host", "host:relative", "-o:/x", "host:/a b", "host:/a,b"),
            *("host:/a/../../b", "host:/a\n", "[::1:/x", "host:/a\\b"),
        ],
    )
    def test_what_is_no_export_is_refused(
        self, export: str, ours: shares.Shares, host: FakeHost
    ) -> None:
        with pytest.raises(exceptions.VolumeRefused, match="no export"):
            ours.mount("u", "tag", export, read_only=False)
        assert host.done == []

    @pytest.mark.parametrize("export", ["nfs-1.example:/", "[2001:db8::1]:/a/..b/c"])
    def test_exports(self, export: str, ours: shares.Shares, host: FakeHost) -> None:
        ours.mount("u", "tag", export, read_only=False)
        assert len(host.mounted) == 1

    @pytest.mark.parametrize("tag", ["", ".", "..", "a/b", "a b", "x" * 256])
    def test_what_is_no_tag_is_refused(self, tag: str, ours: shares.Shares, host: FakeHost) -> None:
        with pytest.raises(exceptions.VolumeRefused, match="no name"):
            ours.mount("u", tag, EXPORT, read_only=False)
        assert host.done == []

    def test_unmounted_once_and_who_else_has_it(self, ours: shares.Shares, host: FakeHost) -> None:
        for uuid in ("one", "two"):
            ours.mount(uuid, "tag", EXPORT, read_only=False)
        assert ours.unmount("one", "tag", EXPORT)
        assert not Path(ours.base, "one", "tag").exists()
        assert ours.is_mounted(EXPORT)
        for _ in range(2):
            assert not ours.unmount("two", "tag", EXPORT)
        assert (host.mounted, ours.is_mounted(EXPORT)) == ({}, False)

    def test_one_in_use_stays(self, ours: shares.Shares, host: FakeHost) -> None:
        ours.mount("u", "tag", EXPORT, read_only=False)
        host.busy.add(f"{ours.base}/u/tag")
        with pytest.raises(exceptions.VolumeBusy):
            ours.unmount("u", "tag", EXPORT)
        assert ours.is_mounted(EXPORT)

    def test_all_of_an_instance_that_is_gone(self, ours: shares.Shares, host: FakeHost) -> None:
        for uuid, tag in (("u", "a"), ("u", "b"), ("other", "a")):
            ours.mount(uuid, tag, EXPORT, read_only=False)
        ours.forget("u")
        assert list(host.mounted) == [f"{ours.base}/other/a"]
        assert not Path(ours.base, "u").exists()
        ours.forget("u")

    def test_preparation(self, ours: shares.Shares, host: FakeHost, tmp_path: Path) -> None:
        off = shares.Shares(str(tmp_path / "off"), [], None)
        off.prepare()
        assert (host.done, off.bound("u")) == ([], [])
        ours.prepare()
        assert host.done == [("share", ours.base)]
        (bind,) = ours.bound("u")
        assert (bind["Target"], bind["ReadOnly"]) == ("/shares", True)
        host.failing["share"] = exceptions.VolumeError("no")
        with pytest.raises(exceptions.NotReady, match="share_protocols"):
            ours.prepare()

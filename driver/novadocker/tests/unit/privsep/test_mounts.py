# SPDX-License-Identifier: Apache-2.0
"""File systems of volumes, on devices that are files; real ones are in the functional tests."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from novadocker import exceptions, privsep
from novadocker.privsep import mounts, net

MOUNTINFO = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /srv rw,relatime shared:9 - tmpfs tmpfs rw
50 27 7:1 / /var/lib/nova/a\040b ro,nosuid shared:3 master:2 - xfs /dev/mapper/mpath\134a rw
""".lstrip()


class Programs:
    """Programs of the host: what they were asked for, and what they answer."""

    def __init__(self) -> None:
        self.ran: list[list[str]] = []
        self.answers: dict[str, list[tuple[int, str]]] = {}

    def __call__(self, argv: Any, **_more: Any) -> Any:
        self.ran.append(list(argv))
        answers = self.answers.get(argv[0], [])
        code, said = answers.pop(0) if answers else (0, "")
        return subprocess.CompletedProcess(argv, code, said, said if code else "")

    def named(self, name: str) -> list[list[str]]:
        return [argv for argv in self.ran if argv[0] == name]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    fake = Programs()
    monkeypatch.setattr(mounts.subprocess, "run", fake)
    return fake


@pytest.fixture(autouse=True)
def _here() -> Iterator[None]:
    privsep.volumes_ctx.set_client_mode(False)
    yield
    privsep.volumes_ctx.set_client_mode(True)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_PATIENCE_S", 0.01)


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How the kernel was told to take devices; they are files."""
    told: list[bool] = []

    def ioctl(_fd: int, request: int, value: bytes) -> None:
        assert request == 0x125D
        told.append(any(value))

    monkeypatch.setattr(mounts.fcntl, "ioctl", ioctl)
    monkeypatch.setattr(mounts.stat, "S_ISBLK", lambda _mode: True)
    return told


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "device"
    path.touch()
    os.truncate(path, 8 << 20)
    return path


def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: str) -> None:
    info = tmp_path / "mountinfo"
    info.write_text(lines)
    real = open
    monkeypatch.setattr("builtins.open", lambda _path, **more: real(info, **more))


def test_mounts_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounted(monkeypatch, tmp_path, MOUNTINFO)
    table = mounts.table(4)
    assert table["/var/lib/nova/a b"] == mounts.Mount(
        "7:1", "/dev/mapper/mpath\\a", "xfs", True, True
    )
    assert not table["/"].shared
    assert mounts.holding("/srv/x/y", table).device == "0:40"
    assert mounts.holding("/elsewhere", table).device == "254:0"


def test_a_directory_is_shared_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, programs: Programs
) -> None:
    mounted(monkeypatch, tmp_path, MOUNTINFO)
    mounts.share("/srv/volumes")
    assert programs.ran == []
    mounts.share("/elsewhere")
    assert programs.ran == [
        ["mount", "--bind", "/elsewhere", "/elsewhere"],
        ["mount", "--make-rshared", "/elsewhere"],
    ]
    programs.ran.clear()
    mounts.share("/")
    assert programs.ran == [["mount", "--make-rshared", "/"]]


class TestLook:
    def test_what_blkid_finds_is_told(
        self, programs: Programs, device: Path, read_only: list[bool]
    ) -> None:
        programs.answers["blkid"] = [(0, "DEVNAME=/dev/x\nTYPE=ext4\nUSAGE=filesystem\n")]
        assert mounts.look(str(device)) == {
            "tags": {"TYPE": "ext4", "USAGE": "filesystem"},
            "blank": False,
        }
        assert read_only == [True]
        assert "-p" in programs.ran[0]

    def test_what_is_ambivalent_is_told(
        self, programs: Programs, device: Path, read_only: list[bool]
    ) -> None:
        programs.answers["blkid"] = [(8, "")]
        assert mounts.look(str(device))["tags"] == {"AMBIVALENT": "yes"}

    @pytest.mark.parametrize("at", [0, (1 << 20) - 1, 4 << 20, (8 << 20) - 1])
    def test_one_byte_is_not_blank(
        self, at: int, programs: Programs, device: Path, read_only: list[bool]
    ) -> None:
        programs.answers["blkid"] = [(2, ""), (2, "")]
        assert mounts.look(str(device)) == {"tags": {}, "blank": True}
        with device.open("r+b") as out:
            out.seek(at)
            out.write(b"x")
        assert not mounts.look(str(device))["blank"]

    def test_nothing_is_not_blank(
        self, programs: Programs, device: Path, read_only: list[bool]
    ) -> None:
        os.truncate(device, 0)
        assert not mounts.look(str(device))["blank"]

    def test_what_the_host_uses_is_not_touched(
        self, monkeypatch: pytest.MonkeyPatch, device: Path, read_only: list[bool]
    ) -> None:
        def refuse(_path: str, flags: int) -> int:
            assert flags & os.O_EXCL
            raise OSError(errno.EBUSY, "busy")

        monkeypatch.setattr(mounts.os, "open", refuse)
        with pytest.raises(exceptions.VolumeError, match="busy"):
            mounts.look(str(device))
        assert read_only == []

    def test_a_file_is_refused(self, programs: Programs, device: Path) -> None:
        with pytest.raises(exceptions.VolumeError, match="no block device"):
            mounts.look(str(device))


class TestMake:
    def test_a_blank_device_gets_a_file_system(
        self, programs: Programs, device: Path, read_only: list[bool]
    ) -> None:
        mounts.make(str(device), "ext4", None)
        assert programs.ran[-1] == ["mkfs.ext4", "-q", "-F", "-m", "0", str(device)]
        assert read_only == [False]

    def test_its_root_is_the_containers(
        self, programs: Programs, device: Path, read_only: list[bool]
    ) -> None:
        programs.answers["chown"] = [(1, "chown: no")]
        with pytest.raises(exceptions.VolumeError, match=r"^chown: no$"):
            mounts.make(str(device), "xfs", [1000, 1001])
        assert programs.named("chown")[0][1] == "1000:1001"
        assert programs.ran[-1][0] == "umount"

    @pytest.mark.parametrize("content", [b"x", b""])
    def test_nothing_is_overwritten(
        self, content: bytes, programs: Programs, device: Path, read_only: list[bool]
    ) -> None:
        device.write_bytes(content.ljust(4096, b"\0"))
        programs.answers["blkid"] = [(2, "") if content else (0, "TYPE=ext4")]
        with pytest.raises(exceptions.VolumeRefused, match="not blank"):
            mounts.make(str(device), "ext4", None)
        assert read_only == []
        assert not programs.named("mkfs.ext4")


class TestMount:
    def test_it_is_tried_without_writing_first(
        self, programs: Programs, device: Path, read_only: list[bool]
    ) -> None:
        mounts.mount(str(device), "/there", "ext4", False)
        first, last = programs.named("mount")
        assert first[4] == "nosuid,nodev,errors=remount-ro,ro,noload"
        assert last[4:] == ["nosuid,nodev,errors=remount-ro", str(device), "/there"]
        assert read_only == [True, False]

    def test_one_that_is_only_read_is_never_written(
        self, programs: Programs, device: Path, read_only: list[bool]
    ) -> None:
        mounts.mount(str(device), "/there", "xfs", True)
        assert programs.named("mount")[1][4] == "nosuid,nodev,nouuid,ro,norecovery"
        assert read_only == [True]

    def test_one_that_may_be_mounted_elsewhere_is_not_made_read_only(
        self, programs: Programs, device: Path, read_only: list[bool]
    ) -> None:
        mounts.mount_again(str(device), "/there", "ext4", False)
        assert programs.ran == [
            [
                *("mount", "-t", "ext4", "-o"),
                "nosuid,nodev,errors=remount-ro",
                str(device),
                "/there",
            ]
        ]
        assert read_only == []

    def test_one_that_cannot_be_mounted_stays_read_only(
        self, programs: Programs, device: Path, read_only: list[bool]
    ) -> None:
        programs.answers["mount"] = [(32, "mount: bad superblock")]
        with pytest.raises(exceptions.VolumeError, match="bad superblock"):
            mounts.mount(str(device), "/there", "ext4", False)
        assert read_only == [True]

    def test_it_is_tried_where_nobody_else_comes_to_and_goes_from_there_though_it_is_busy(
        self,
        programs: Programs,
        device: Path,
        read_only: list[bool],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Its root may let everybody in, and who deletes the place would delete its files."""
        places: list[tuple[str, int]] = []

        def run(argv: Any, **more: Any) -> Any:
            if argv[0] == "mount":
                above = Path(argv[-1]).parent
                places.append((argv[-1], above.stat().st_mode & 0o777))
                assert above != tmp_path
            return programs(argv, **more)

        monkeypatch.setattr(mounts.subprocess, "run", run)
        monkeypatch.setattr(mounts.tempfile, "tempdir", str(tmp_path))
        programs.answers["umount"] = [(32, "busy")]
        with pytest.raises(exceptions.VolumeError, match="busy"):
            mounts.mount(str(device), "/there", "ext4", False)
        ((place, mode),) = places
        assert mode == 0o700
        assert programs.ran[-1] == ["umount", "--lazy", place]
        assert read_only == [True]
        assert not Path(place).parent.exists()


def test_a_busy_one_stays_mounted(programs: Programs) -> None:
    programs.answers["umount"] = [(32, "")]
    mounts.unmount("/there")
    assert len(programs.ran) == 2
    programs.answers["umount"] = [(32, "busy")] * 99
    with pytest.raises(exceptions.VolumeBusy, match="umount: busy"):
        mounts.unmount("/there")


class TestRelease:
    def test_one_that_nobody_uses(self, device: Path, read_only: list[bool]) -> None:
        assert mounts.release(str(device))
        assert read_only == [False]

    @pytest.mark.parametrize(
        ("number", "expected"), [(errno.ENOENT, True), (errno.ENXIO, True), (errno.EBUSY, False)]
    )
    def test_others(
        self, number: int, expected: bool, monkeypatch: pytest.MonkeyPatch, device: Path
    ) -> None:
        def refuse(_path: str, _flags: int) -> int:
            raise OSError(number, "no")

        monkeypatch.setattr(mounts.os, "open", refuse)
        monkeypatch.setattr(mounts.time, "sleep", lambda _s: None)
        assert mounts.release(str(device)) is expected

    def test_a_device_that_cannot_be_asked_is_a_fault(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_path: str, _flags: int) -> int:
            raise OSError(errno.EIO, "broken")

        monkeypatch.setattr(mounts.os, "open", refuse)
        with pytest.raises(OSError, match="broken"):
            mounts.release("/dev/x")


@pytest.mark.parametrize(
    ("file_system", "command"),
    [("ext4", ["resize2fs", "/dev/x"]), ("xfs", ["xfs_growfs", "/there"])],
)
def test_growing(file_system: str, command: list[str], programs: Programs) -> None:
    mounts.grow("/dev/x", "/there", file_system)
    assert programs.ran == [command]
    assert command[0] in mounts.programs(file_system)


def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_ENVIRONMENT", {"PATH": "/nowhere"})
    assert mounts.search_path() == "/nowhere"
    with pytest.raises(exceptions.VolumeError, match="no program xfs_growfs"):
        mounts.grow("/dev/x", "/there", "xfs")


def test_storage_that_does_not_answer_stops_no_port() -> None:
    helpers = [(net.veth_create, privsep.ctx), (mounts.look, privsep.volumes_ctx)]
    assert len({context.pypath for _function, context in helpers}) == 2
    # Both are started as the operator has set it for the one.
    assert {context.cfg_section for _function, context in helpers} == {"novadocker_privileged"}
    for function, context in helpers:
        assert context.is_entrypoint(function)


def test_a_program_that_does_not_end_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_TIMEOUT_S", 0.1)
    with pytest.raises(exceptions.VolumeError, match="does the volume's storage answer"):
        mounts._run("sleep", "60", timeout_s=0.1)

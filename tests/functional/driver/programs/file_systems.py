# SPDX-License-Identifier: Apache-2.0
"""File systems of volumes on the real kernel, without Nova and without Docker."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
import unittest
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from novadocker import exceptions, privsep
from novadocker.privsep import mounts
from tests.functional.driver import loop_devices, xfsprogs

MIB = 1 << 20
SIZES = {"ext4": 64 * MIB, "xfs": 400 * MIB}


def setUpModule() -> None:
    privsep.volumes_ctx.set_client_mode(False)
    environment = mock.patch.object(mounts, "_ENVIRONMENT", xfsprogs.programs())
    environment.start()
    unittest.addModuleCleanup(environment.stop)


class FileSystemTest(unittest.TestCase):
    """What the privileged helper does."""

    def setUp(self) -> None:
        self.loops = loop_devices.LoopDevices()
        self.addCleanup(self.loops.close)
        directory = tempfile.TemporaryDirectory(prefix="novadocker-base-")
        self.addCleanup(directory.cleanup)
        self.base = Path(directory.name)
        self.addCleanup(self.unmount)
        mounts.share(str(self.base))

    def unmount(self) -> None:
        for target in reversed(loop_devices.mounted_below(self.base)):
            subprocess.run(["umount", target], check=True)

    def target(self, name: str) -> str:
        (self.base / name).mkdir()
        return str(self.base / name)

    @contextlib.contextmanager
    def another_namespace(self) -> Iterator[None]:
        """Have a process with mounts of its own, a copy of those that are there now."""
        process = subprocess.Popen(["unshare", "--mount", "sleep", "60"])
        deadline = time.monotonic() + 10
        here = os.stat("/proc/self/ns/mnt").st_ino
        while os.stat(f"/proc/{process.pid}/ns/mnt").st_ino == here:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        time.sleep(0.2)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def test_made_mounted_grown_and_released(self) -> None:
        for kind, size in SIZES.items():
            with self.subTest(kind):
                device, target = self.loops.make(size), self.target(kind)
                self.assertEqual({"tags": {}, "blank": True}, mounts.look(device))
                mounts.make(device, kind, [1234, 1235])
                self.assertEqual({"TYPE": kind, "USAGE": "filesystem"}, mounts.look(device)["tags"])
                self.assertRaises(exceptions.VolumeRefused, mounts.make, device, kind, None)
                mounts.mount(device, target, kind, False)
                self.assertEqual((1234, 1235), (os.stat(target).st_uid, os.stat(target).st_gid))
                Path(target, "file").write_text("kept")
                self.assertRaises(exceptions.VolumeError, mounts.look, device)
                blocks = os.statvfs(target).f_blocks
                self.loops.extend(device, 2 * size)
                if kind == "xfs" or loop_devices.may_grow_ext4():
                    mounts.grow(device, target, kind)
                    self.assertGreater(os.statvfs(target).f_blocks, blocks * 3 / 2)
                else:
                    with self.assertRaisesRegex(exceptions.VolumeError, "Permission denied"):
                        mounts.grow(device, target, kind)
                with (
                    Path(target, "file").open() as _busy,
                    self.assertRaisesRegex(exceptions.VolumeBusy, "busy"),
                ):
                    mounts.unmount(target)
                self.assertFalse(mounts.release(device))
                mounts.unmount(target)
                self.assertTrue(mounts.release(device))
                mounts.mount(device, target, kind, True)
                self.assertEqual("kept", Path(target, "file").read_text())
                self.assertTrue(mounts.table()[target].read_only)
                mounts.unmount(target)

    def test_one_that_another_namespace_has_mounted_is_not_released(self) -> None:
        device, target = self.loops.make(64 * MIB), self.target("u")
        mounts.make(device, "ext4", None)
        mounts.mount(device, target, "ext4", False)
        with self.another_namespace():
            mounts.unmount(target)
            self.assertFalse(mounts.release(device))
            mounts.mount_again(device, target, "ext4", False)
            Path(target, "file").write_text("still written")
            os.sync()
            mounts.unmount(target)
        self.assertTrue(mounts.release(device))
        mounts.mount(device, target, "ext4", True)
        self.assertEqual("still written", Path(target, "file").read_text())

    def test_a_journal_is_not_replayed_where_nothing_may_be_written(self) -> None:
        device, target = self.loops.make(64 * MIB), self.target("u")
        mounts.make(device, "ext4", None)
        mounts.mount(device, target, "ext4", False)
        Path(target, "file").write_text("x" * MIB)
        os.sync()
        dirty = self.loops.make(64 * MIB, self.loops.content(device))
        before = self.loops.digest(dirty)
        mounts.mount(dirty, self.target("other"), "ext4", True)
        mounts.unmount(str(self.base / "other"))
        self.assertEqual(before, self.loops.digest(dirty))
        mounts.mount(dirty, str(self.base / "other"), "ext4", False)
        mounts.unmount(str(self.base / "other"))
        self.assertNotEqual(before, self.loops.digest(dirty))

    def test_a_superblock_that_wants_a_panic_does_not_get_it(self) -> None:
        device = self.loops.make(64 * MIB, loop_devices.ext4(64 * MIB, "-e", "panic"))
        target = self.target("u")
        mounts.mount(device, target, "ext4", False)
        (line,) = [
            line for line in Path("/proc/self/mounts").read_text().splitlines() if target in line
        ]
        self.assertIn("errors=remount-ro", line)
        for option in ("nosuid", "nodev"):
            self.assertIn(option, line)

    def test_copies_of_one_file_system_are_mounted_side_by_side(self) -> None:
        device = self.loops.make(SIZES["xfs"])
        mounts.make(device, "xfs", None)
        copy = self.loops.make(SIZES["xfs"], self.loops.content(device))
        for name, made in (("one", device), ("two", copy)):
            mounts.mount(made, self.target(name), "xfs", False)

    def test_a_journal_on_another_device_is_told(self) -> None:
        journal = self.loops.make(16 * MIB)
        subprocess.run(
            ["mke2fs", "-q", "-F", "-O", "journal_dev", "-b", "4096", journal], check=True
        )
        device = self.loops.make(64 * MIB)
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-b", "4096", "-J", f"device={journal}", device], check=True
        )
        self.assertIn("EXT_JOURNAL", mounts.look(device)["tags"])
        self.assertNotEqual("filesystem", mounts.look(journal)["tags"].get("USAGE"))


if __name__ == "__main__":
    unittest.main(verbosity=2)

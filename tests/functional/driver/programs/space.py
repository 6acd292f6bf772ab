# SPDX-License-Identifier: Apache-2.0
"""Images and snapshots on a small file system, which the spool and a real engine share.

Whatever a tenant uploads, or writes into an instance: what is promised stays free, and the host's
lack of space is no fault of the image.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import unittest
import uuid
from collections.abc import Callable
from concurrent import futures
from typing import Any

from novadocker import exceptions
from novadocker.tests.archives import Parts
from novadocker.virt.docker.host.space import RESERVE_BYTES
from tests.functional.driver import busybox, small_disk

MIB = 1 << 20
# Three times the reserve, and the images in proportion: what is written is what the tests cost.
DISK_BYTES = 3 << 29
LIMIT = 20 << 30


def layer(size_bytes: int, name: str = "data") -> bytes:
    """Make a layer of one file of a size."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        header = tarfile.TarInfo(name)
        header.size = size_bytes
        out.addfile(header, io.BytesIO(bytes(range(256)) * (size_bytes // 256)))
    return buffer.getvalue()


class SpaceTest(unittest.TestCase):
    """Images of a Glance that has whatever a test uploads, on one small disk."""

    def setUp(self) -> None:
        self.cleaned = contextlib.ExitStack()
        self.addCleanup(self.cleaned.close)
        self.host = self.cleaned.enter_context(small_disk.host(DISK_BYTES, LIMIT))
        self.disk, self.engine = self.host.disk, self.host.engine
        self.images, self.snapshots = self.host.images, self.host.snapshots

    def upload(self, archive: bytes) -> dict[str, Any]:
        path = self.host.uploads / str(uuid.uuid4())
        path.write_bytes(archive)
        return self.host.meta(path)

    def boot(self, meta: dict[str, Any]) -> str:
        image = self.images.ensure(None, meta)
        made = self.engine.client().containers.create(
            image.id, ["sleep", "600"], network_mode="none"
        )
        made.start()
        return str(made.id)

    def outcome(self, act: Callable[[], Any]) -> str:
        """Do something, and return how it ended."""
        try:
            act()
        except exceptions.HostFull:
            return "host full"
        return "done"

    def assert_kept(self, free: small_disk.FreeSpace) -> None:
        self.assertGreaterEqual(free.least_bytes, RESERVE_BYTES - small_disk.SLACK_BYTES)
        self.assertEqual([], self.host.spooled())

    def test_an_image_is_loaded_where_there_is_space_and_refused_where_there_is_none(self) -> None:
        outcomes = set()
        for pack in (bytes, lambda data: gzip.compress(data, 1)):
            for size_mib in (250, 350):
                with self.subTest(size_mib=size_mib, pack=pack):
                    meta = self.upload(pack(Parts(layers=[layer(size_mib * MIB)]).docker()))
                    with small_disk.FreeSpace(self.disk) as free:
                        outcome = self.outcome(lambda meta=meta: self.images.ensure(None, meta))
                    outcomes.add((size_mib, outcome))
                    print(f"{size_mib} MiB: {outcome}, least free {free.least_bytes // MIB} MiB")
                    self.assert_kept(free)
                    if outcome == "done":
                        self.engine.client().images.prune({"dangling": False})
        self.assertIn((250, "done"), outcomes)
        self.assertIn((350, "host full"), outcomes)

    def test_what_is_loaded_at_once_is_counted_together(self) -> None:
        metas = [
            self.upload(Parts(layers=[layer(175 * MIB, str(number))]).docker())
            for number in range(3)
        ]
        with small_disk.FreeSpace(self.disk) as free, futures.ThreadPoolExecutor() as pool:
            outcomes = list(
                pool.map(lambda meta: self.outcome(lambda: self.images.ensure(None, meta)), metas)
            )
        print(f"three of 175 MiB at once: {outcomes}, least free {free.least_bytes // MIB} MiB")
        self.assert_kept(free)
        self.assertIn("done", outcomes)

    def test_tiny_files_are_counted_as_they_lie_on_a_disk(self) -> None:
        meta = self.upload(Parts(layers=[small_disk.tiny_files(175_000)]).docker())
        with small_disk.FreeSpace(self.disk) as free:
            outcome = self.outcome(lambda: self.images.ensure(None, meta))
        print(f"175000 files: {outcome}, least free {free.least_bytes // MIB} MiB")
        self.assert_kept(free)
        self.assertEqual("host full", outcome)

    def test_a_snapshot_is_made_where_there_is_space_for_it(self) -> None:
        box = self.boot(self.upload(Parts(layers=[busybox.root_layer()]).docker()))
        outcomes = []

        def snapshot() -> None:
            with self.snapshots.open(box, "tag", set()) as data:
                while data.read(MIB):
                    pass

        for number in range(4):
            write = f"dd if=/dev/zero of=/{number} bs=1M count=80 2>&1"
            self.engine.client().containers.get(box).exec_run(["sh", "-c", write])
            with small_disk.FreeSpace(self.disk) as free:
                outcomes.append(self.outcome(snapshot))
            print(f"{number + 1} x 80 MiB: {outcomes[-1]}, least {free.least_bytes // MIB} MiB")
            self.assert_kept(free)
        self.assertEqual("done", outcomes[0])
        self.assertEqual("host full", outcomes[-1])
        self.assertEqual("running", self.engine.client().containers.get(box).status)


if __name__ == "__main__":
    unittest.main(verbosity=2)

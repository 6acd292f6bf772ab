# SPDX-License-Identifier: Apache-2.0
"""Images and snapshots on a small file system, which the spool and a real engine share.

Whatever a tenant uploads, or writes into an instance: what is promised stays free, and the host's
lack of space is no fault of the image.
"""

import contextlib
import gzip
import io
import shutil
import subprocess
import tarfile
import tempfile
import threading
import unittest
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any
from unittest import mock

from novadocker import exceptions
from novadocker.tests.archives import Parts
from novadocker.virt.docker.engine import client, containers, isolation, room
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.images import snapshots, spool, store
from tests.functional.driver import busybox, own_engine

MIB = 1 << 20
DISK_BYTES = 3 << 30
LIMIT = 20 << 30
# Of metadata that the file system writes by itself between two looks at it.
SLACK_BYTES = 8 * MIB


class FreeSpace:
    """The least that was free on a file system while it was watched."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._done = threading.Event()
        self.least_bytes = shutil.disk_usage(directory).free

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.least_bytes = min(self.least_bytes, shutil.disk_usage(self._directory).free)

    def __enter__(self) -> "FreeSpace":
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._done.set()
        self._thread.join()


@contextlib.contextmanager
def small_disk(size_bytes: int) -> Iterator[Path]:
    """Mount a file system of its own, and take it away afterwards."""
    with tempfile.TemporaryDirectory(prefix="novadocker-disk-") as directory:
        image, target = Path(directory, "image"), Path(directory, "mounted")
        target.mkdir()
        with image.open("wb") as out:
            out.truncate(size_bytes)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(target)], check=True)
        try:
            yield target
        finally:
            subprocess.run(["umount", "--lazy", str(target)], check=True)


def layer(size_bytes: int, name: str = "data") -> bytes:
    """Make a layer of one file of a size."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        header = tarfile.TarInfo(name)
        header.size = size_bytes
        out.addfile(header, io.BytesIO(bytes(range(256)) * (size_bytes // 256)))
    return buffer.getvalue()


def tiny_files(count: int) -> bytes:
    """Make a layer of files that take more on a disk than in an archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for number in range(count):
            header = tarfile.TarInfo(f"{number % 100}/{number}")
            header.size = 1
            out.addfile(header, io.BytesIO(b"x"))
    return buffer.getvalue()


class SpaceTest(unittest.TestCase):
    """Images of a Glance that has whatever a test uploads, on one small disk."""

    def setUp(self) -> None:
        self.cleaned = contextlib.ExitStack()
        self.addCleanup(self.cleaned.close)
        self.disk = self.cleaned.enter_context(small_disk(DISK_BYTES))
        (self.disk / "engine").mkdir()
        self.engine = own_engine.OwnEngine(self.disk / "engine")
        self.engine.start()
        self.cleaned.callback(self.engine.remove)
        self.uploads = Path(self.cleaned.enter_context(tempfile.TemporaryDirectory()))
        low = client.Engine(self.engine.url)
        self.spool = spool.Spool(str(self.disk / "spool"), "host")
        self.workloads = containers.Containers(low, HostFacts("host"), isolation.Isolation(()))
        self.images = store.Images(low, self.spool, None, None, LIMIT, self.workloads.room)
        self.snapshots = snapshots.Snapshots(low, self.workloads, self.spool, LIMIT, 64)
        patched = mock.patch("nova.virt.images.fetch", self._fetch)
        patched.start()
        self.addCleanup(patched.stop)

    def _fetch(self, _context: Any, image: str, path: str, _certificates: Any = None) -> None:
        shutil.copyfile(self.uploads / image, path)

    def upload(self, archive: bytes) -> dict[str, Any]:
        image_id = str(uuid.uuid4())
        (self.uploads / image_id).write_bytes(archive)
        return {"id": image_id, "container_format": "docker", "size": len(archive)}

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

    def assert_kept(self, free: FreeSpace) -> None:
        self.assertGreaterEqual(free.least_bytes, room.RESERVE_BYTES - SLACK_BYTES)
        self.assertEqual([], list(Path(self.spool.path).iterdir()))

    def test_an_image_is_loaded_where_there_is_space_and_refused_where_there_is_none(self) -> None:
        outcomes = set()
        for pack in (bytes, lambda data: gzip.compress(data, 1)):
            for size_mib in (650, 900):
                with self.subTest(size_mib=size_mib, pack=pack):
                    meta = self.upload(pack(Parts(layers=[layer(size_mib * MIB)]).docker()))
                    with FreeSpace(self.disk) as free:
                        outcome = self.outcome(lambda meta=meta: self.images.ensure(None, meta))
                    outcomes.add((size_mib, outcome))
                    print(f"{size_mib} MiB: {outcome}, least free {free.least_bytes // MIB} MiB")
                    self.assert_kept(free)
                    if outcome == "done":
                        self.engine.client().images.prune({"dangling": False})
        self.assertIn((650, "done"), outcomes)
        self.assertIn((900, "host full"), outcomes)

    def test_what_is_loaded_at_once_is_counted_together(self) -> None:
        metas = [
            self.upload(Parts(layers=[layer(450 * MIB, str(number))]).docker())
            for number in range(3)
        ]
        with FreeSpace(self.disk) as free, futures.ThreadPoolExecutor() as pool:
            outcomes = list(
                pool.map(lambda meta: self.outcome(lambda: self.images.ensure(None, meta)), metas)
            )
        print(f"three of 450 MiB at once: {outcomes}, least free {free.least_bytes // MIB} MiB")
        self.assert_kept(free)
        self.assertIn("done", outcomes)

    def test_tiny_files_are_counted_as_they_lie_on_a_disk(self) -> None:
        meta = self.upload(Parts(layers=[tiny_files(450_000)]).docker())
        with FreeSpace(self.disk) as free:
            outcome = self.outcome(lambda: self.images.ensure(None, meta))
        print(f"450000 files: {outcome}, least free {free.least_bytes // MIB} MiB")
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
            write = f"dd if=/dev/zero of=/{number} bs=1M count=200 2>&1"
            self.engine.client().containers.get(box).exec_run(["sh", "-c", write])
            with FreeSpace(self.disk) as free:
                outcomes.append(self.outcome(snapshot))
            print(f"{number + 1} x 200 MiB: {outcomes[-1]}, least {free.least_bytes // MIB} MiB")
            self.assert_kept(free)
        self.assertEqual("done", outcomes[0])
        self.assertEqual("host full", outcomes[-1])
        self.assertEqual("running", self.engine.client().containers.get(box).status)


if __name__ == "__main__":
    unittest.main(verbosity=2)

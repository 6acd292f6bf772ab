# SPDX-License-Identifier: Apache-2.0
"""A host whose spool and engine share one small file system. For a network namespace of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from novadocker.virt.docker.engine import client, containers, isolation
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.images import snapshots, spool, store
from tests.functional.driver import own_engine

# Of metadata that the file system writes by itself between two looks at it.
SLACK_BYTES = 8 << 20


class FreeSpace:
    """The least that was free on a file system while it was watched."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._done = threading.Event()
        self.least_bytes = shutil.disk_usage(directory).free

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.least_bytes = min(self.least_bytes, shutil.disk_usage(self._directory).free)

    def __enter__(self) -> FreeSpace:
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


def tiny_files(count: int) -> bytes:
    """Make a layer of files that take more on a disk than in an archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for number in range(count):
            header = tarfile.TarInfo(f"{number % 100}/{number}")
            header.size = 1
            out.addfile(header, io.BytesIO(b"x"))
    return buffer.getvalue()


@dataclasses.dataclass
class Host:
    """An engine, the driver's parts for images, and what there is in Glance.

    :param uploads: directory of Glance's images, named by their ids
    """

    disk: Path
    uploads: Path
    engine: own_engine.OwnEngine
    spool: spool.Spool
    workloads: containers.Containers
    images: store.Images
    snapshots: snapshots.Snapshots

    def meta(self, path: Path) -> dict[str, Any]:
        """Return Glance's description of an upload."""
        return {"id": path.name, "container_format": "docker", "size": path.stat().st_size}

    def spooled(self) -> list[Path]:
        """List what is left in the spool."""
        return list(Path(self.spool.path).iterdir())


@contextlib.contextmanager
def host(disk_bytes: int, max_bytes: int) -> Iterator[Host]:
    """Run an engine on a small disk, and take both away afterwards.

    :param max_bytes: largest image
    """
    with contextlib.ExitStack() as cleaned:
        disk = cleaned.enter_context(small_disk(disk_bytes))
        uploads = Path(cleaned.enter_context(tempfile.TemporaryDirectory()))
        (disk / "engine").mkdir()
        engine = own_engine.OwnEngine(disk / "engine")
        engine.start()
        cleaned.callback(engine.remove)
        low = client.Engine(engine.url)
        place = spool.Spool(str(disk / "spool"), "host")
        place.clean()
        workloads = containers.Containers(low, HostFacts("host"), isolation.Isolation(()))

        def fetch(_context: Any, image: str, path: str, _certificates: Any = None) -> None:
            shutil.copyfile(uploads / image, path)

        cleaned.enter_context(mock.patch("nova.virt.images.fetch", fetch))
        yield Host(
            disk=disk,
            uploads=uploads,
            engine=engine,
            spool=place,
            workloads=workloads,
            images=store.Images(low, place, None, None, max_bytes, workloads.room),
            snapshots=snapshots.Snapshots(low, workloads, place, max_bytes, 64),
        )

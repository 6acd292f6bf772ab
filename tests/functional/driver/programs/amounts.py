# SPDX-License-Identifier: Apache-2.0
"""What hostile amounts take of nova-compute, of its host's disk, and of its neighbours.

Each is tried through the driver's parts for images and a real engine, which share one small disk.
This process stands for nova-compute: it has the driver, and makes no archive itself.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import docker

from novadocker import exceptions
from novadocker.tests import amounts
from novadocker.tests.archives import Parts, digest, tar
from novadocker.virt.docker.host import space
from tests.functional.driver import busybox, small_disk

MIB, GIB = 1 << 20, 1 << 30
DISK_BYTES = 3 * GIB
# As [docker]max_image_size_gb = 4: larger than the disk.
LIMIT = 4 * GIB
MAX_GROWTH_BYTES = 300 * MIB
MAX_CPU_S = 30


def zeros_packed(count_gib: int) -> bytes:
    """Pack so many GiB of zeros, as streams of one each."""
    return gzip.compress(bytes(GIB), 9) * count_gib


def _zeros_in_a_layer() -> bytes:
    """Make a layer that unpacks to more than the limit; its digest is never come to."""
    config = Parts(diff_ids=[f"sha256:{'0' * 64}"]).config_file()
    entry = {"Config": f"{digest(config)}.json", "RepoTags": None, "Layers": ["l/layer.tar"]}
    head = gzip.compress(amounts.block(b"0", 5 * GIB, "zeros"))
    return tar(
        (f"{digest(config)}.json", config),
        ("l/layer.tar", head + zeros_packed(5)),
        ("manifest.json", json.dumps([entry]).encode()),
    )


def _tiny_files() -> bytes:
    return Parts(layers=[small_disk.tiny_files(450_000)]).docker()


def _long_names() -> bytes:
    names = ((f"{number:06}" + "n" * 240, b"") for number in range(200_000))
    return Parts(layers=[tar(*names)]).docker()


def _layers() -> bytes:
    return Parts(layers=[tar((str(number), b"")) for number in range(126)]).docker()


UPLOADS: dict[str, Callable[[], bytes]] = {
    **{name: make for name, (make, _fault) in amounts.ARCHIVES.items()},
    "archive of 30 GiB of zeros, packed": lambda: zeros_packed(30),
    "layer of 5 GiB of zeros, packed": _zeros_in_a_layer,
    "files of one byte each": _tiny_files,
    "files with long names": _long_names,
    "layers without end": _layers,
    "image that takes the disk three times": lambda: Parts(
        layers=[tar(("x", bytes(3 * GIB // 4)))]
    ).docker(),
}
# What is done in an instance, before a snapshot of it is taken.
INSIDE = {
    "sparse file of 40 GiB": "truncate -s 40G /x",
    "sparse file of 15 TiB": "truncate -s 15360G /x",
    "sparse file within the limit": "truncate -s 3G /x",
    "file of 900 MiB": "dd if=/dev/zero of=/x bs=1M count=900 2>/dev/null",
    "empty files": "mkdir /e && cd /e && i=0; while [ $i -lt 40000 ]; do :>$i; i=$((i+1)); done",
    "console flooded": "dd if=/dev/zero bs=1M count=60 2>/dev/null | tr '\\0' x >/proc/1/fd/1",
}


@dataclasses.dataclass
class Measured:
    """What one of them took.

    :param grown_bytes: by how much this process grew at most
    :param cpu_s: of the processor's time, in this process
    :param programs_cpu_s: the same in programs that it ran
    """

    name: str
    outcome: str
    grown_bytes: int
    cpu_s: float
    programs_cpu_s: float
    least_free_bytes: int

    @property
    def kept(self) -> bool:
        """Return whether it is within the bounds."""
        return (
            not self.outcome.startswith("FAULT")
            and self.grown_bytes <= MAX_GROWTH_BYTES
            and self.cpu_s <= MAX_CPU_S
            and self.least_free_bytes >= space.RESERVE_BYTES - small_disk.SLACK_BYTES
        )


def _memory_bytes(what: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) << 10
    raise LookupError(what)


def _cpu_s(whose: int) -> float:
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


def measured(name: str, host: small_disk.Host, act: Callable[[], object]) -> Measured:
    """Do something, and tell what it took."""
    Path("/proc/self/clear_refs").write_text("5")
    memory = _memory_bytes("VmRSS")
    own, programs = _cpu_s(resource.RUSAGE_SELF), _cpu_s(resource.RUSAGE_CHILDREN)
    with small_disk.FreeSpace(host.disk) as free:
        try:
            act()
            outcome = "done"
        except exceptions.ImageRefused as err:
            outcome = f"refused: {err}"
        except exceptions.HostFull as err:
            outcome = f"host full: {err}"
        except Exception as err:  # noqa: BLE001 - told, and not kept then
            outcome = f"FAULT {type(err).__name__}: {err}"
    if left := host.spooled():
        outcome = f"FAULT {left} is left of: {outcome}"
    return Measured(
        name,
        outcome,
        _memory_bytes("VmHWM") - memory,
        _cpu_s(resource.RUSAGE_SELF) - own,
        _cpu_s(resource.RUSAGE_CHILDREN) - programs,
        free.least_bytes,
    )


def write(name: str, path: Path) -> None:
    """Make an archive, in a process of its own."""
    path.write_bytes(UPLOADS[name]())


def uploads(host: small_disk.Host, maker: futures.Executor) -> Iterator[Measured]:
    """Try all images.

    :param maker: makes them
    """
    for name in UPLOADS:
        path = host.uploads / str(uuid.uuid4())
        maker.submit(write, name, path).result()
        yield measured(name, host, lambda path=path: host.images.ensure(None, host.meta(path)))
        path.unlink()
        host.engine.client().images.prune({"dangling": False})


def snapshots(host: small_disk.Host, base: str) -> Iterator[Measured]:
    """Try what a program in an instance can do to snapshots, and to its console."""

    def snapshot(box: str) -> None:
        with host.snapshots.open(box, "tag", set()) as data:
            while data.read(MIB):
                pass

    for name, command in INSIDE.items():
        box = host.engine.client().containers.run(
            base, ["sleep", "3600"], network_mode="none", detach=True
        )
        code, told = box.exec_run(["sh", "-c", command])
        assert code == 0, told
        if "console" in name:
            yield measured(name, host, lambda box=box: host.workloads.log_tail(box.id, 5000, MIB))
        else:
            yield measured(name, host, lambda box=box: snapshot(box.id))
        box.remove(force=True)


def neighbour(url: str, image: str) -> None:
    """Make and remove containers for ever, and print how long each and a list of all took."""
    engine = docker.DockerClient(base_url=url)
    while True:
        begun = time.monotonic()
        box = engine.containers.run(image, ["sleep", "60"], network_mode="none", detach=True)
        made = time.monotonic()
        engine.api.containers(all=True)
        listed = time.monotonic()
        box.remove(force=True)
        sys.stdout.write(f"{made - begun} {listed - made}\n")
        sys.stdout.flush()
        time.sleep(0.2)


def _medians(lines: list[str]) -> tuple[float, float]:
    times = [tuple(map(float, line.split())) for line in lines]
    return statistics.median(own_s for own_s, _ in times), statistics.median(
        own_s for _, own_s in times
    )


def main() -> int:
    """Try all, print a table, and return 0 where all are within the bounds."""
    results: list[Measured] = []
    context = multiprocessing.get_context("spawn")
    with (
        small_disk.host(DISK_BYTES, LIMIT) as host,
        futures.ProcessPoolExecutor(1, context) as maker,
    ):
        parts = Parts(layers=[busybox.root_layer()])
        (base,) = host.engine.client().images.load(parts.docker())
        # Not pruned, as one has it.
        host.engine.client().containers.create(base.id, ["true"], network_mode="none")
        with subprocess.Popen(
            [sys.executable, "-m", __spec__.name, "neighbour", host.engine.url, base.id],
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdout is not None
            quiet = [other.stdout.readline() for _number in range(15)]
            busy: list[str] = []
            reading = threading.Thread(target=busy.extend, args=(other.stdout,))
            reading.start()
            for many in (uploads(host, maker), snapshots(host, base.id)):
                for spent in many:
                    results.append(spent)
                    print(
                        f"{'ok ' if spent.kept else 'BAD'} {spent.name}: {spent.outcome[:90]}; "
                        f"+{spent.grown_bytes // MIB} MiB, {spent.cpu_s:.1f} s, in programs "
                        f"{spent.programs_cpu_s:.1f} s, {spent.least_free_bytes // MIB} MiB free",
                        flush=True,
                    )
            # Of those that have been waited for: neither who makes archives nor the engine.
            largest_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
            other.kill()
            reading.join()
    spawn, listing = (
        then / before for then, before in zip(_medians(busy), _medians(quiet), strict=True)
    )
    kept = sum(spent.kept for spent in results)
    print(
        f"figures: {kept} of {len(results)} within the bounds; at most "
        f"{max(spent.grown_bytes for spent in results) // MIB} MiB and "
        f"{max(spent.cpu_s for spent in results):.1f} s of nova-compute, "
        f"{max(spent.programs_cpu_s for spent in results):.1f} s of programs that read archives, "
        f"{largest_mib} MiB in one of those; least free "
        f"{min(spent.least_free_bytes for spent in results) // MIB} MiB; neighbours' spawn "
        f"{spawn:.2f} times, list {listing:.2f} times as long (medians, {len(busy)} times)"
    )
    return 0 if kept == len(results) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["neighbour"]:
        neighbour(*sys.argv[2:])
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""How quickly a container boots as an instance, and how many at once.

    python -m benchmarks.server_create [--rounds N] [--burst N] [--results FILE]

Three times are taken side by side on the lab, with the image cached on the host:

* POST to ACTIVE of a server on a Docker hypervisor,
* the same on the compute whose hypervisor is Nova's fake driver: what Nova itself takes,
* `docker create` and `start` of the same pair of containers (sandbox and workload) through the
  engine's API on the same host: what Docker itself takes.

What the driver takes is what nova-compute says of each spawn. Then many servers are created at once
on one host, and counted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import pathlib
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import openstack.exceptions
from openstack.connection import Connection

from benchmarks import machine
from benchmarks.figures import rounded
from lab import cloud as lab_cloud
from lab.errors import LabError
from lab.nodes import Node
from lab.settings import LabSettings
from lab.tempest.cloud import container_image

DOCKER_HOST, FAKE_HOST = "compute-docker-1", "compute-3"
NETWORK = "demo"
TIMEOUT_S = 300
POLL_S = 0.05
SPAWN_AT_MOST, OVER_FAKE_AT_MOST_S = 1.5, 0.6

_SPAWNED = re.compile(r"Took ([0-9.]+) seconds to spawn the instance")

# Run on the host: create and start of the pair of containers that an instance is made of.
_RAW = r"""
import json, sys, time
import docker
client = docker.APIClient(version="auto")
rounds, workload_image = int(sys.argv[1]), sys.argv[2]
sandbox_image = next(tag for image in client.images() for tag in image["RepoTags"] or []
                     if tag.startswith("nova-docker/sandbox"))
times = []
for number in range(rounds):
    names = ["bench-sandbox-%d" % number, "bench-workload-%d" % number]
    began = time.monotonic()
    client.create_container(sandbox_image, name=names[0],
                            host_config=client.create_host_config(network_mode="none"))
    client.start(names[0])
    joined = client.create_host_config(network_mode="container:" + names[0],
                                       mem_limit="64m", cpu_period=100000, cpu_quota=100000)
    client.create_container(workload_image, ["sleep", "3600"], name=names[1], host_config=joined)
    client.start(names[1])
    times.append(time.monotonic() - began)
    for name in reversed(names):
        client.remove_container(name, force=True)
print(json.dumps(times))
"""


@dataclasses.dataclass(frozen=True)
class Figures:
    """Seconds, one figure a round.

    :param docker_s: POST to ACTIVE on a Docker hypervisor
    :param fake_s: POST to ACTIVE on the fake driver
    :param spawn_s: what nova-compute says that the driver took
    :param raw_s: create and start of the same containers by Docker alone
    """

    docker_s: tuple[float, ...]
    fake_s: tuple[float, ...]
    spawn_s: tuple[float, ...]
    raw_s: tuple[float, ...]

    @property
    def spawn_ratio(self) -> float:
        """How many times as long as Docker the driver takes."""
        return statistics.median(self.spawn_s) / statistics.median(self.raw_s)

    @property
    def over_fake_s(self) -> float:
        """How much longer an instance takes than with the fake driver."""
        return statistics.median(self.docker_s) - statistics.median(self.fake_s)


class Bench:
    """Servers for measuring, all deleted at the end.

    :param cloud: a connection as admin
    """

    def __init__(self, cloud: Connection) -> None:
        self.cloud = cloud
        self.image_id = container_image(cloud, "benchmark-container")
        self.flavor_id = min(cloud.compute.flavors(), key=lambda flavor: flavor.ram).id
        self.network_id = cloud.network.find_network(NETWORK, ignore_missing=False).id

    @contextlib.contextmanager
    def servers(self, host: str, count: int = 1) -> Iterator[tuple[list[str], float]]:
        """Create servers on a host in one request and wait until all are active.

        :return: their IDs, and the seconds from the request to the last one's ACTIVE
        :raises LabError: when one is in error, with its fault
        """
        name = f"bench-{time.monotonic_ns()}"
        # An image that only Docker hosts take is no image for the fake driver: it is told none.
        image_id = self.image_id if host == DOCKER_HOST else self._fake_image()
        began = time.monotonic()
        self.cloud.compute.create_server(
            name=name,
            image_id=image_id,
            flavor_id=self.flavor_id,
            networks=[{"uuid": self.network_id}],
            availability_zone=f"nova:{host}",
            min_count=count,
            max_count=count,
        )
        try:
            yield self._wait(name, count), time.monotonic() - began
        finally:
            self._delete(name)

    def _wait(self, name: str, count: int) -> list[str]:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            servers = list(self.cloud.compute.servers(name=f"^{name}"))
            for server in servers:
                if server.status == "ERROR":
                    raise LabError(f"{server.name}: {(server.fault or {}).get('message')}")
            if len(servers) == count and all(server.status == "ACTIVE" for server in servers):
                return [server.id for server in servers]
            time.sleep(POLL_S)
        raise LabError(f"{count} servers {name} are not all ACTIVE after {TIMEOUT_S} s")

    def _delete(self, name: str) -> None:
        servers = list(self.cloud.compute.servers(name=f"^{name}"))
        for server in servers:
            self.cloud.compute.delete_server(server)
        for server in servers:
            self.cloud.compute.wait_for_delete(server, interval=0.2, wait=TIMEOUT_S)

    def _fake_image(self) -> str:
        name = "benchmark-fake"
        found = self.cloud.image.find_image(name)
        if not found:
            found = self.cloud.image.create_image(
                name, data=b"\0", container_format="bare", disk_format="raw", wait=True
            )
        return str(found.id)


def spawn_seconds(node: Node, server_ids: Sequence[str]) -> list[float]:
    """Read from nova-compute's journal what the driver took for some servers."""
    text = node.run(["journalctl", "--unit=nova-compute", "--output=cat", "--no-pager"]).stdout
    found = []
    for line in text.splitlines():
        match = _SPAWNED.search(line)
        if match and any(server_id in line for server_id in server_ids):
            found.append(float(match[1]))
    return found


def raw_seconds(node: Node, python: str, image_id: str, rounds: int) -> list[float]:
    """Measure what Docker takes for the pair of containers of an instance.

    :param python: a Python with the Docker SDK
    :param image_id: Glance's ID of the image of the workload, which is cached on the host
    """
    tags = node.run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).stdout.split()
    tag = next((tag for tag in tags if tag.startswith(f"nova-glance/{image_id}:")), None)
    if tag is None:
        raise LabError(f"{node.name} has no image of {image_id} cached")
    done = node.run([python, "-c", _RAW, str(rounds), tag], timeout_s=TIMEOUT_S)
    found: list[float] = json.loads(done.stdout)
    return found


def measure(settings: LabSettings, rounds: int) -> Figures:
    """Measure single servers, one after another.

    :param rounds: how often; one more of each warms up
    """
    bench = Bench(lab_cloud.connect(settings))
    node = Node(DOCKER_HOST, settings)
    ids: list[str] = []
    times: dict[str, list[float]] = {DOCKER_HOST: [], FAKE_HOST: []}
    for number in range(rounds + 1):
        for host, found in times.items():
            with bench.servers(host) as (server_ids, took_s):
                if number:
                    found.append(took_s)
                    ids += server_ids if host == DOCKER_HOST else []
        print(f"round {number}: {', '.join(f'{h} {t[-1:]}' for h, t in times.items())}", flush=True)
    raw = raw_seconds(node, f"{settings.openstack_venv}/bin/python", bench.image_id, rounds + 1)
    return Figures(
        tuple(times[DOCKER_HOST]),
        tuple(times[FAKE_HOST]),
        tuple(spawn_seconds(node, ids)),
        tuple(raw[1:]),
    )


def burst(settings: LabSettings, count: int) -> float:
    """Create many servers at once on one host.

    :return: seconds from the request to the last one's ACTIVE
    """
    with Bench(lab_cloud.connect(settings)).servers(DOCKER_HOST, count) as (_, took_s):
        return took_s


def main() -> None:
    """Measure, show and write the figures; exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server_create", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=10, help="servers one after another (10)")
    parser.add_argument("--burst", type=int, default=50, help="servers at once (50), 0 for none")
    parser.add_argument(
        "--results",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "results" / "server_create.json",
        help="where the figures are written",
    )
    args = parser.parse_args()
    settings = LabSettings()
    record: dict[str, Any] = {"machine": machine.describe()}
    try:
        figures = measure(settings, args.rounds)
        record |= dataclasses.asdict(figures)
        record |= {"spawn_ratio": figures.spawn_ratio, "over_fake_s": figures.over_fake_s}
        if args.burst:
            record["burst"] = {"servers": args.burst, "took_s": burst(settings, args.burst)}
    except (LabError, openstack.exceptions.SDKException) as exc:
        sys.exit(f"FAILED: {exc}")
    args.results.write_text(json.dumps(rounded(record), indent=1) + "\n")
    good = figures.spawn_ratio <= SPAWN_AT_MOST and figures.over_fake_s <= OVER_FAKE_AT_MOST_S
    text = (
        f"figures: create to ACTIVE {statistics.median(figures.docker_s):.2f} s, fake driver"
        f" {statistics.median(figures.fake_s):.2f} s (over it {figures.over_fake_s:.2f} s, at most"
        f" {OVER_FAKE_AT_MOST_S:g}); spawn {statistics.median(figures.spawn_s):.2f} s, raw Docker"
        f" {statistics.median(figures.raw_s):.2f} s (ratio {figures.spawn_ratio:.2f}, at most"
        f" {SPAWN_AT_MOST:g})"
    )
    if args.burst:
        text += f"; {args.burst} at once on one host in {record['burst']['took_s']:.1f} s"
    print(text)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

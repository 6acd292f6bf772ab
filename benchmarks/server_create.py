# SPDX-License-Identifier: Apache-2.0
"""How quickly a container boots as an instance, how many at once, and what the driver adds.

    python -m benchmarks.server_create [--rounds N] [--burst N] [--results FILE]

In rounds, so that what else the machine does meets all of them alike, with the image cached:

* POST to ACTIVE of a server on a Docker hypervisor, with a port and without any network;
* the same on the compute whose hypervisor is Nova's fake driver: what Nova itself takes;
* create and start of the same pair of containers (sandbox and workload, with all their settings)
  through the engine's API on the same host: what Docker itself takes.

What the driver takes is what nova-compute says of each spawn. Docker's pair has no port, and so it
is an instance without one that it is compared with; with a port the driver waits until Neutron has
wired it, which is shown beside it.

Then many servers are created by one request on one host, and as many on the fake driver, where it
is Nova and Neutron alone that take the time. What is counted as the driver's memory
for each of them is the growth of nova-compute and of its privileged helpers, and what their
containers with their shims take more than as many pairs of Docker's. Last, the requests to the
engine for calls about all instances are counted, with one instance and with many.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import openstack.exceptions

from benchmarks import machine
from benchmarks.docker_host import DockerHost
from benchmarks.figures import options_of, write
from benchmarks.servers import Servers
from lab.client.connection import connect
from lab.errors import LabError
from lab.hosts.access import Host
from lab.settings import LabSettings
from lab.stage.tempest.facts import convert

DOCKER_NODE, FAKE_NODE = "compute-docker-1", "compute-3"
WARM_UP = 10
SETTLE_S = 5
SPAWN_AT_MOST, OVER_FAKE_AT_MOST_S, MEMORY_AT_MOST_KB = 1.1, 0.6, 1024


@dataclasses.dataclass(frozen=True)
class Rounds:
    """Seconds, one figure a round.

    :param docker_s: POST to ACTIVE on a Docker hypervisor
    :param fake_s: POST to ACTIVE on the fake driver
    :param docker_no_port_s: POST to ACTIVE on a Docker hypervisor, without network
    :param fake_no_port_s: POST to ACTIVE on the fake driver, without network
    :param spawn_s: what nova-compute says that the driver took, waiting for Neutron included
    :param spawn_no_port_s: what it says of instances without network
    :param raw_s: create and start of the same containers by Docker alone
    """

    docker_s: tuple[float, ...]
    fake_s: tuple[float, ...]
    docker_no_port_s: tuple[float, ...]
    fake_no_port_s: tuple[float, ...]
    spawn_s: tuple[float, ...]
    spawn_no_port_s: tuple[float, ...]
    raw_s: tuple[float, ...]

    @property
    def spawn_ratio(self) -> float:
        """Return how many times as long as Docker the driver takes for the same."""
        return statistics.median(self.spawn_no_port_s) / statistics.median(self.raw_s)

    @property
    def over_fake_s(self) -> float:
        """Return how much longer an instance takes than with the fake driver."""
        return statistics.median(self.docker_s) - statistics.median(self.fake_s)


@dataclasses.dataclass(frozen=True)
class Burst:
    """Many servers at once on one host.

    :param took_s: from the request to the last one's ACTIVE
    :param fake_took_s: the same of as many on the fake driver
    :param nova_kb: growth of nova-compute and its helpers, for each instance
    :param containers_kb: memory of an instance's containers and shims
    :param raw_containers_kb: memory of the containers and shims of Docker's pair
    :param engine_kb: growth of the engine's own daemons, for each instance
    :param requests: requests to the engine with one instance and with all, by method
    """

    servers: int
    took_s: float
    fake_took_s: float
    nova_kb: float
    containers_kb: float
    raw_containers_kb: float
    engine_kb: float
    requests: Mapping[str, tuple[int, int]]

    @property
    def overhead_kb(self) -> float:
        """Return what the driver adds to Docker's own memory for each instance."""
        return self.nova_kb + self.containers_kb - self.raw_containers_kb

    @property
    def constant(self) -> bool:
        """Return whether calls about all instances take as many requests however many there are."""
        return all(few == many for few, many in self.requests.values())


def measure(servers: Servers, host: DockerHost, rounds: int) -> Rounds:
    """Measure single servers, one after another.

    :param rounds: how often; one more warms up
    """
    times: dict[str, list[float]] = {"docker": [], "fake": [], "docker -": [], "fake -": []}
    raw: list[float] = []
    spawned: dict[str, list[str]] = {"docker": [], "docker -": []}
    for number in range(rounds + 1):
        for kind, taken in times.items():
            node = DOCKER_NODE if kind.startswith("docker") else FAKE_NODE
            with servers.running(node, port=not kind.endswith("-")) as (ids, took_s):
                taken.append(took_s)
                if kind in spawned:
                    spawned[kind] += ids
                if kind == "docker -":
                    raw.append(host.pair_seconds(ids[0]))
        shown = ", ".join(f"{kind} {taken[-1]:.2f}" for kind, taken in times.items())
        print(f"round {number} of {rounds}: {shown}, raw {raw[-1]:.2f}", flush=True)
    return Rounds(
        docker_s=tuple(times["docker"][1:]),
        fake_s=tuple(times["fake"][1:]),
        docker_no_port_s=tuple(times["docker -"][1:]),
        fake_no_port_s=tuple(times["fake -"][1:]),
        spawn_s=tuple(host.spawn_seconds(spawned["docker"][1:])),
        spawn_no_port_s=tuple(host.spawn_seconds(spawned["docker -"][1:])),
        raw_s=tuple(raw[1:]),
    )


def burst(servers: Servers, host: DockerHost, count: int) -> Burst:
    """Create many servers at once on one host, and see what the driver adds for each."""
    print(f"warming up: {WARM_UP} at once", flush=True)
    with servers.running(DOCKER_NODE, WARM_UP):
        pass
    time.sleep(SETTLE_S)
    empty = host.memory()
    print(f"{count} at once", flush=True)
    with servers.running(DOCKER_NODE, count) as (_, took_s):
        print(f"all ACTIVE after {took_s:.1f} s", flush=True)
        time.sleep(SETTLE_S)
        full = host.memory()
        many = host.requests()
    print(f"{count} at once on the fake driver", flush=True)
    with servers.running(FAKE_NODE, count) as (_, fake_took_s):
        pass
    print(f"{count} pairs of Docker's", flush=True)
    with servers.running(DOCKER_NODE, port=False) as (ids, _):
        few = host.requests()
        time.sleep(SETTLE_S)
        before = host.memory()
        try:
            host.make_pairs(ids[0], count)
            time.sleep(SETTLE_S)
            raw = host.memory()
        finally:
            host.remove_pairs(ids[0], count)
    if many["instances"] < count:
        raise LabError(f"the driver lists {many['instances']} instances of {count}")
    each = {name: (full[name] - empty[name]) / count for name in full}
    return Burst(
        servers=count,
        took_s=took_s,
        fake_took_s=fake_took_s,
        nova_kb=each["nova_kb"],
        containers_kb=each["containers_kb"],
        raw_containers_kb=(raw["containers_kb"] - before["containers_kb"]) / count,
        engine_kb=each["engine_kb"],
        requests={
            name: (requests, many["requests"][name]) for name, requests in few["requests"].items()
        },
    )


def missed(rounds: Rounds, many: Burst | None) -> list[str]:
    """Return which bars are missed."""
    bars = []
    if rounds.spawn_ratio > SPAWN_AT_MOST:
        bars.append("spawn")
    if rounds.over_fake_s > OVER_FAKE_AT_MOST_S:
        bars.append("create to ACTIVE")
    if many and many.overhead_kb > MEMORY_AT_MOST_KB:
        bars.append("memory")
    if many and not many.constant:
        bars.append("requests to the engine")
    return bars


def figures(rounds: Rounds, many: Burst | None) -> str:
    """Return all figures in one line."""

    def median(values: Sequence[float]) -> str:
        return f"{statistics.median(values):.2f} s"

    text = (
        f"create to ACTIVE {median(rounds.docker_s)}, fake driver {median(rounds.fake_s)}, over it"
        f" {rounds.over_fake_s:.2f} s (at most {OVER_FAKE_AT_MOST_S:g});"
        f" spawn {median(rounds.spawn_no_port_s)}, raw Docker {median(rounds.raw_s)}, ratio"
        f" {rounds.spawn_ratio:.2f} (at most {SPAWN_AT_MOST:g}), with a port and Neutron"
        f" {median(rounds.spawn_s)}"
    )
    if many:
        requests = ", ".join(f"{few} and {all_}" for few, all_ in many.requests.values())
        text += (
            f"; {many.servers} at once on one host ACTIVE in {many.took_s:.1f} s, on the fake"
            f" driver in {many.fake_took_s:.1f} s; driver's memory {many.overhead_kb:.0f} KB an"
            f" instance (at most {MEMORY_AT_MOST_KB}); requests to"
            f" the engine of list calls with 1 and with {many.servers} instances: {requests}"
        )
    bad = missed(rounds, many)
    return text + (f"; MISSED: {', '.join(bad)}" if bad else "")


def main() -> None:
    """Measure, show and write the figures; exit with 1 when a bar is missed."""
    parser = options_of("server_create", __doc__)
    parser.add_argument("--rounds", type=int, default=10, help="servers one after another (10)")
    parser.add_argument("--burst", type=int, default=50, help="servers at once (50), 0 for none")
    args = parser.parse_args()
    settings = LabSettings()
    try:
        cloud = connect(settings)
        print("novadocker.deploy", flush=True)
        convert(cloud)
        servers = Servers(cloud)
        host = DockerHost(Host(DOCKER_NODE, settings), f"{settings.openstack_venv}/bin/python")
        rounds = measure(servers, host, args.rounds)
    except (LabError, openstack.exceptions.SDKException) as err:
        sys.exit(f"FAILED: {err}")
    many, fault = None, ""
    try:
        many = burst(servers, host, args.burst) if args.burst else None
    except (LabError, openstack.exceptions.SDKException) as err:
        fault = f"; FAILED: {args.burst} at once: {err}"
    record: dict[str, Any] = {"machine": machine.describe(), **dataclasses.asdict(rounds)}
    record |= {"spawn_ratio": rounds.spawn_ratio, "over_fake_s": rounds.over_fake_s}
    if many:
        record["burst"] = {**dataclasses.asdict(many), "overhead_kb": many.overhead_kb}
    write(record, args.results)
    print(f"figures: {figures(rounds, many)}{fault}")
    sys.exit(1 if fault or missed(rounds, many) else 0)


if __name__ == "__main__":
    main()

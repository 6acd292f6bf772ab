# SPDX-License-Identifier: Apache-2.0
"""What a host of instances may lose at any moment: nova-compute, the Docker Engine, its power."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openstack.compute.v2.server import Server
from openstack.connection import Connection

from lab.hosts.access import Host
from tests.lab import asking
from tests.lab.crashes import cut_power

CRASHING, ASKING = "compute-docker-1", "compute-docker-2"
BOOT_TIMEOUT_S = 180

# What Docker, the kernel and Open vSwitch have of instances on a host.
HELD = """
docker ps --all --format '{{.Names}} {{.State}}' | sort
docker images --quiet --no-trunc | sort
find /run/docker/netns -type f | wc -l
ip -o link show type veth | sed 's/^[0-9]*: //; s/[@:].*//' | sort
ovs-vsctl list-ports br-int | sort
"""

Hosts = dict[str, Host]
Boot = Callable[..., Server]


def held(host: Host) -> list[str]:
    """Return what a host holds of instances, line by line."""
    return host.run(["sh", "-c", HELD], check=False).stdout.splitlines()


@pytest.fixture(scope="module")
def pair(cloud: Connection, converted: None) -> Iterator[tuple[Server, Server]]:
    """A server on the host that crashes, and one on another host that asks it for ever."""
    with asking.pair(cloud, CRASHING, ASKING) as servers:
        yield servers


def kill_nova_compute(host: Host) -> None:
    """Kill nova-compute as the kernel does when memory is short, and start it again."""
    host.run(["systemctl", "kill", "--signal=KILL", "nova-compute.service"])
    host.run(["systemctl", "start", "nova-compute.service"], timeout_s=BOOT_TIMEOUT_S)


def kill_docker(host: Host) -> None:
    """Kill the Docker Engine, and start it again."""
    host.run(["systemctl", "kill", "--kill-who=main", "--signal=KILL", "docker.service"])
    host.run(["systemctl", "start", "docker.service"], timeout_s=BOOT_TIMEOUT_S)


@pytest.mark.parametrize(
    ("crash", "interrupts"),
    [(kill_nova_compute, False), (kill_docker, False), (cut_power, True)],
    ids=["nova-compute", "docker", "power"],
)
def test_instances_and_networks_are_whole_afterwards(
    crash: Callable[[Host], None],
    interrupts: bool,
    pair: tuple[Server, Server],
    lab: Hosts,
    cloud: Connection,
    eventually: Any,
) -> None:
    crashed, asks = pair
    compute, host = cloud.compute, lab[CRASHING]

    def said() -> list[str]:
        return str(compute.get_server_console_output(asks)["output"]).split()

    def reported() -> str:
        services = compute.services(binary="nova-compute", host=CRASHING)
        return str(next(iter(services)).updated_at)

    assert eventually(said, lambda words: words[-1:] == ["answered"])[-1:] == ["answered"]
    before, heard = held(host), len(said())

    crash(host)

    last_report = reported()
    assert eventually(reported, lambda now: now != last_report, timeout_s=BOOT_TIMEOUT_S)
    answers = ["answered"] * 3
    since = eventually(
        lambda: said()[heard:], lambda words: words[-3:] == answers, timeout_s=BOOT_TIMEOUT_S
    )
    assert since[-3:] == answers, since
    assert interrupts or "silent" not in since
    server = compute.get_server(crashed.id)
    assert (server.status, server.power_state, server.task_state) == ("ACTIVE", 1, None)
    assert eventually(lambda: held(host), lambda now: now == before) == before

# SPDX-License-Identifier: Apache-2.0
"""The driver goes to the next version on ten hosts, and back, while containers on them answer."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from openstack.compute.v2.server import Server
from openstack.connection import Connection

from lab.hosts import containers as lab_containers
from lab.hosts.access import Host, lab_hosts
from lab.settings import LabSettings
from lab.stage.demo import FLAVOR, NETWORK, address
from lab.stage.tempest import facts as tempest_cloud
from tests.lab.proofs.releases import driver_version, release
from tests.lab.proofs.tenants import containers

pytestmark = pytest.mark.proof

HOSTS = int(os.environ.get("NOVADOCKER_HOSTS", "10"))
NEXT = "9.9.9"
# Answers whoever asks it, asks its peer twice a second for ever, and says when, after how many
# hundredths of a second, and what came of it. The limit is not wget's own: with -T, Debian's static
# busybox crashes.
SERVE = (
    'sh -c "trap exit TERM; mkdir -p /srv; echo here >/srv/index.html;'
    " httpd -p 8080 -h /srv;"
    " now() { read up rest </proc/uptime; echo $((${up%.*} * 100 + 1${up#*.} - 100)); };"
    " while :; do if test $PEER; then began=$(now);"
    " timeout 5 wget -q -O - http://$PEER:8080/ | grep -q here && what=answered || what=silent;"
    ' echo $(date +%s) $(($(now) - began)) $what; fi; sleep 0.5; done"'
)
BOOT_TIMEOUT_S = 240
RUN_TIMEOUT_S = 1800
# Each has been answered so often before anything is changed.
FEW = 5


@dataclasses.dataclass(frozen=True)
class Request:
    """What came of one request.

    :param at: when it ended, in seconds of the host's clock
    :param took_s: how long it took
    :param answered: whether the peer answered
    """

    at: int
    took_s: float
    answered: bool


@pytest.fixture(scope="module")
def settings() -> LabSettings:
    """The plan of the lab as it is, which has as many computes as are wanted."""
    plan = dataclasses.replace(LabSettings(), hosts=tuple(lab_containers.existing(LabSettings())))
    assert len(plan.computes) == HOSTS, f"the lab wants `python -m lab up --computes {HOSTS}`"
    return plan


@pytest.fixture(scope="module")
def names(settings: LabSettings) -> list[str]:
    """Names of the computes."""
    return [host.name for host in settings.computes]


@pytest.fixture(scope="module")
def hosts(settings: LabSettings) -> Mapping[str, Host]:
    """The hosts of the lab by name."""
    return lab_hosts(settings)


@pytest.fixture(scope="module")
def servers(bare: None, cloud: Connection, names: list[str], run_workflow: Any) -> Iterator[Any]:
    """A container on each host, each of which but the first asks the one before it."""
    run = run_workflow("deploy", {"hosts": names, "batch_size": HOSTS}, RUN_TIMEOUT_S)
    assert run.state == "SUCCESS", run.message
    image = cloud.image.update_image(
        tempest_cloud.container_image(cloud, "serving"), os_command_line=SERVE
    )
    made: dict[str, Server] = {}
    for name in names:
        server = cloud.compute.create_server(
            name=f"on-{name}",
            image_id=image.id,
            flavor_id=cloud.compute.find_flavor(FLAVOR, ignore_missing=False).id,
            networks=[{"uuid": cloud.network.find_network(NETWORK, ignore_missing=False).id}],
            availability_zone=f"nova:{name}",
            metadata={"PEER": address(made[names[len(made) - 1]])} if made else {},
        )
        made[name] = cloud.compute.wait_for_server(server, interval=0.5, wait=BOOT_TIMEOUT_S)
    yield made
    for server in made.values():
        cloud.compute.delete_server(server)
    for server in made.values():
        cloud.compute.wait_for_delete(server, interval=0.5, wait=BOOT_TIMEOUT_S)
    cloud.image.delete_image(image)


def requests_of(cloud: Connection, server: Server) -> list[Request]:
    """Return what came of each request of a server."""
    console = cloud.compute.get_server_console_output(server, length=None)["output"]
    lines = re.findall(r"^(\d+) (\d+) (answered|silent)\s*$", console, flags=re.M)
    return [Request(int(at), int(took) / 100, what == "answered") for at, took, what in lines]


def now(host: Host) -> int:
    """Return a host's time in seconds."""
    return int(host.run(["date", "+%s"]).stdout)


def test_no_request_is_lost_by_an_upgrade_and_by_the_way_back(
    servers: dict[str, Server],
    settings: LabSettings,
    names: list[str],
    hosts: Mapping[str, Host],
    cloud: Connection,
    run_workflow: Any,
    eventually: Any,
) -> None:
    asking = names[1:]

    def well(name: str, since: int) -> None:
        def answered() -> int:
            return sum(row.answered for row in requests_of(cloud, servers[name]) if row.at > since)

        heard = eventually(answered, lambda count: count >= FEW)
        assert heard >= FEW, f"{servers[name].name} is not answered"

    for name in asking:
        well(name, 0)
    before = {name: containers(hosts[name]) for name in names}
    version = driver_version(hosts[names[0]], settings)
    began = {name: now(hosts[name]) for name in names}
    took = []

    def upgrade(wanted: str) -> None:
        run = run_workflow("deploy", {"hosts": names, "upgrade": True}, RUN_TIMEOUT_S)
        assert run.state == "SUCCESS", run.message
        rows = {row.host: row for row in run.report.rows}
        assert {rows[name].state for name in names} == {"ok"}, run.message
        assert {driver_version(hosts[name], settings) for name in names} == {wanted}
        took.append(max(rows[name].out_of_service_s for name in names))

    with release(hosts[settings.controller.name], settings, NEXT, names):
        upgrade(NEXT)
    upgrade(version)

    rows = []
    for name in asking:
        well(name, now(hosts[name]))
        theirs = [row for row in requests_of(cloud, servers[name]) if row.at >= began[name]]
        lost = [row for row in theirs if not row.answered]
        assert not lost, f"{servers[name].name}, of {len(theirs)} requests, lost {lost}"
        rows += theirs
    assert {name: containers(hosts[name]) for name in names} == before
    slowest = max(row.took_s for row in rows)
    print(
        f"figures: {HOSTS} hosts to {NEXT} and back to {version}, {len(rows)} requests of "
        f"{len(asking)} containers, none lost, the slowest after {slowest:.2f} s; none of the "
        f"containers restarted; a host was out of service for at most {max(took):.1f} s"
    )

# SPDX-License-Identifier: Apache-2.0
"""The main job from end to end, as the demonstration shows it, and what it leaves on each host."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from openstack.compute.v2.server import Server
from openstack.connection import Connection
from openstack.exceptions import ResourceFailure
from rich.console import Console

from lab.hosts import listing
from lab.hosts.access import Host
from lab.stage.demo import COMMAND, FLAVOR, IMAGE, NETWORK, SERVERS, Demo, address

SELECTED = {"compute-docker-1", "compute-docker-2"}
UNSELECTED = "compute-3"
# What the lab's controller has of its operator before anything is converted.
OPERATORS_DAEMON_SETTINGS = {"registry-mirrors": ["https://controller:5443"]}

# Asks its peer for ever, and says what came of it.
ASK = (
    'sh -c "trap exit TERM; while :; do'
    ' ping -c 1 -W 1 $PEER >/dev/null && echo answered || echo silent; sleep 1; done"'
)

Hosts = dict[str, Host]
Boot = Callable[..., AbstractContextManager[Server]]
Converting = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def before(lab: Hosts) -> listing.Listing:
    """The host that the rule does not select, as it was before."""
    return listing.take(lab[UNSELECTED])


@pytest.fixture(scope="module")
def shown(before: listing.Listing, cloud: Connection, converting: Converting) -> Iterator[str]:
    """What the demonstration shows; its servers are deleted after these tests."""
    text = io.StringIO()
    with converting():
        Demo(cloud, Console(file=text, width=200)).run()
    print(text.getvalue())
    yield text.getvalue()
    for name in SERVERS:
        server = cloud.compute.find_server(name, ignore_missing=False)
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=0.5, wait=60)


def test_selected_computes_are_docker_hypervisors(shown: str, cloud: Connection) -> None:
    hypervisors = {row.name: row for row in cloud.compute.hypervisors(details=True)}
    kinds = {name: row.hypervisor_type for name, row in hypervisors.items()}
    assert {name for name, kind in kinds.items() if kind == "docker"} == SELECTED
    assert {(row.state, row.status) for row in hypervisors.values()} == {("up", "enabled")}


def test_two_containers_ping_each_other_across_hosts(shown: str, cloud: Connection) -> None:
    servers = [cloud.compute.find_server(name, ignore_missing=False) for name in SERVERS]
    servers = [cloud.compute.get_server(server.id) for server in servers]
    assert {server.status for server in servers} == {"ACTIVE"}
    assert {server.compute_host for server in servers} == SELECTED
    assert "3 packets received" in shown


@pytest.fixture
def boot(cloud: Connection) -> Boot:
    """A context with one more server, which is deleted at its end."""

    @contextmanager
    def booted(image_id: str, **attributes: Any) -> Iterator[Server]:
        server = cloud.compute.create_server(
            name="one-more",
            image_id=image_id,
            flavor_id=cloud.compute.find_flavor(FLAVOR, ignore_missing=False).id,
            **attributes,
        )
        try:
            yield server
        finally:
            cloud.compute.delete_server(server)
            cloud.compute.wait_for_delete(server, interval=0.5, wait=60)

    return booted


@pytest.fixture
def closed_group(shown: str, cloud: Connection) -> Iterator[str]:
    """The first server is in a security group alone that lets nothing in."""
    server = cloud.compute.find_server(SERVERS[0], ignore_missing=False)
    port = next(cloud.network.ports(device_id=server.id))
    group = cloud.network.create_security_group(name="closed")
    cloud.network.update_port(port.id, security_group_ids=[group.id])
    yield group.id
    cloud.network.update_port(port.id, security_group_ids=port.security_group_ids)
    cloud.network.delete_security_group(group.id)


@pytest.fixture
def asking_image(shown: str, cloud: Connection) -> Iterator[str]:
    """The demonstration's image, with a command that asks a peer for ever."""
    image = cloud.image.find_image(IMAGE, ignore_missing=False)
    cloud.image.update_image(image.id, os_command_line=ASK)
    yield image.id
    cloud.image.update_image(image.id, os_command_line=COMMAND)


def test_security_group_keeps_out_what_no_rule_lets_in(
    closed_group: str, asking_image: str, cloud: Connection, boot: Boot, eventually: Any
) -> None:
    peer = address(cloud.compute.find_server(SERVERS[0], ignore_missing=False))
    network = cloud.network.find_network(NETWORK, ignore_missing=False)
    with boot(asking_image, networks=[{"uuid": network.id}], metadata={"PEER": peer}) as server:
        cloud.compute.wait_for_server(server, interval=0.5, wait=120)

        def said() -> list[str]:
            return str(cloud.compute.get_server_console_output(server)["output"]).split()

        # The group comes into force a moment after it is set.
        kept_out = ["silent"] * 3
        assert eventually(said, lambda words: words[-3:] == kept_out)[-3:] == kept_out
        cloud.network.create_security_group_rule(
            security_group_id=closed_group,
            direction="ingress",
            ether_type="IPv4",
            protocol="icmp",
        )
        assert eventually(said, lambda words: words[-1:] == ["answered"])[-1:] == ["answered"]


@pytest.fixture
def disable(cloud: Connection) -> Iterator[Callable[[set[str]], None]]:
    """A function that takes compute hosts out of service until the end of the test."""
    nova = cloud.compute
    listed = nova.get("/os-services", params={"binary": "nova-compute"}, microversion="2.53").json()
    ids = {service["host"]: service["id"] for service in listed["services"]}

    def put(hosts: Iterable[str], status: str) -> None:
        for host in hosts:
            answer = nova.put(
                f"/os-services/{ids[host]}", json={"status": status}, microversion="2.53"
            )
            assert answer.status_code == 200, answer.text

    yield lambda hosts: put(hosts, "disabled")
    put(ids, "enabled")


def fault_of(cloud: Connection, server: Server) -> str:
    """Return why a server could not be built; fail when it could."""
    with pytest.raises(ResourceFailure):
        cloud.compute.wait_for_server(server, interval=0.5, wait=120)
    return str(cloud.compute.get_server(server.id).fault["message"])


def test_docker_image_stays_off_other_hypervisors(
    shown: str, cloud: Connection, boot: Boot, disable: Callable[[set[str]], None]
) -> None:
    image = cloud.image.find_image(IMAGE, ignore_missing=False)
    disable(SELECTED)
    with boot(image.id, networks="none") as server:
        assert "No valid host" in fault_of(cloud, server)


def test_other_image_does_not_run_on_docker_hypervisors(
    shown: str, cloud: Connection, boot: Boot, disable: Callable[[set[str]], None]
) -> None:
    image = cloud.image.create_image(
        "no-container", data=b"\0" * 1024, container_format="bare", disk_format="raw", wait=True
    )
    disable({UNSELECTED})
    try:
        with boot(image.id, networks="none") as server:
            assert "its container_format is 'bare'" in fault_of(cloud, server)
    finally:
        cloud.image.delete_image(image.id)


def test_unselected_compute_is_not_touched(shown: str, before: listing.Listing, lab: Hosts) -> None:
    after = listing.take(lab[UNSELECTED])
    assert listing.differences(before, after) == []
    assert listing.restarted(before, after) == []


def test_controller_has_docker_and_its_operators_settings(shown: str, lab: Hosts) -> None:
    controller = lab["controller"]
    assert controller.run(["docker", "info", "--format", "{{.ServerVersion}}"]).stdout.strip()
    settings = json.loads(controller.read("/etc/docker/daemon.json"))
    assert {key: settings.get(key) for key in OPERATORS_DAEMON_SETTINGS} == (
        OPERATORS_DAEMON_SETTINGS
    )


def test_glance_takes_docker_and_all_that_it_took(shown: str, cloud: Connection) -> None:
    schema = cloud.image.get("/schemas/image").json()
    formats = schema["properties"]["container_format"]["enum"]
    assert {"docker", "bare", "ovf"} <= set(formats)


def test_report_names_every_host(shown: str) -> None:
    report = shown[shown.index("Report:") :]
    for name in {"controller", *SELECTED}:
        assert name in report
    assert UNSELECTED not in report

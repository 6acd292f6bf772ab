# SPDX-License-Identifier: Apache-2.0
"""Two servers want the same device, through restarts of all that can be restarted.

The devices do no harm: nodes of the kernel's own by other names. Shares are not shown: the lab has
no Manila.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openstack.compute.v2.server import Server
from openstack.connection import Connection

from lab.hosts.access import Host, HostFile
from lab.machine import commands
from novadocker.tests import cdi
from tests.lab.proofs.tenants import CONTAINER_COMMAND, Tenants

pytestmark = pytest.mark.proof

HOST = "compute-docker-1"
SPECIFICATION = "/etc/cdi/proof.json"
DROP_IN = "/etc/nova/nova-compute.conf.d/95-proof.conf"
TIMEOUT_S = 240

Has = Callable[[Server], str]
seen: list[str] = []


def things(host: Host, *names: str) -> None:
    """Write a host's specification: of /dev/zero and the like by other names."""
    devices = [
        cdi.device(
            name,
            env=[f"THING={name}"],
            deviceNodes=[{"path": f"/dev/thing-{name}", "hostPath": f"/dev/{name}"}],
        )
        for name in names
    ]
    host.put_files([HostFile(SPECIFICATION, cdi.specification(*devices))])


def restart_compute(host: Host) -> None:
    """Start nova-compute anew."""
    host.run(["systemctl", "restart", "nova-compute.service"], timeout_s=TIMEOUT_S)


def kill_docker(host: Host) -> None:
    """Kill the Docker Engine, and start it again."""
    host.run(["systemctl", "kill", "--kill-who=main", "--signal=KILL", "docker.service"])
    host.run(["systemctl", "start", "docker.service"], timeout_s=TIMEOUT_S)


def cut_power(host: Host) -> None:
    """Switch the host off without a warning, and on again."""
    commands.run(["docker", "kill", "--signal=KILL", host.container])
    host.start()
    host.wait_booted()


@pytest.fixture(scope="module")
def host(lab: dict[str, Host], converted: None) -> Iterator[Host]:
    """A host that offers one device."""
    offering = lab[HOST]
    things(offering, "zero")
    offering.put_files([HostFile(DROP_IN, f"[docker]\ncdi_kinds = {cdi.KIND}\n")])
    restart_compute(offering)
    yield offering
    offering.run(["rm", "-f", SPECIFICATION, DROP_IN])
    restart_compute(offering)


@pytest.fixture(scope="module")
def total(cloud: Connection) -> Callable[[], int]:
    """A function that returns how many devices Placement knows of."""

    def amount() -> int:
        (provider,) = cloud.placement.resource_providers(name=HOST)
        listed = cloud.placement.get(f"/resource_providers/{provider.id}/inventories").json()
        return int(listed["inventories"].get(cdi.CLASS, {}).get("total", 0))

    return amount


@pytest.fixture(scope="module")
def boot(
    cloud: Connection, tenants: Tenants, host: Host, total: Any, eventually: Any
) -> Iterator[Callable[[str], Server]]:
    """A function that asks for a server with a device, wherever there is one."""
    assert eventually(total, lambda amount: amount == 1, timeout_s=TIMEOUT_S) == 1
    image = cloud.image.find_image("busybox", ignore_missing=False)
    cloud.image.update_image(image, os_command_line=CONTAINER_COMMAND)
    flavor = cloud.compute.create_flavor(name="with-thing", vcpus=1, ram=64, disk=1)
    cloud.compute.create_flavor_extra_specs(flavor, {f"resources:{cdi.CLASS}": "1"})

    def ask(name: str) -> Server:
        return tenants.cloud.compute.create_server(
            name=name, image_id=image.id, flavor_id=flavor.id, networks="none"
        )

    yield ask
    tenants.delete(*tenants.cloud.compute.servers())
    cloud.compute.delete_flavor(flavor)


@pytest.fixture
def has(host: Host) -> Has:
    """A function that returns which devices a server can read, and what its environment says."""
    read = 'for it in /dev/thing-*; do head -c1 "$it" >/dev/null && echo "${it#*-} $THING"; done'

    def look(server: Server) -> str:
        command = ["docker", "exec", f"nova-{server.id}", "sh", "-c", f"{read} 2>/dev/null"]
        return host.run(command, check=False).stdout.strip()

    return look


def ended(tenants: Tenants, server: Server, eventually: Any) -> str:
    """Return the status of a server whose build has ended."""
    status = eventually(
        lambda: tenants.now(server)[0], lambda status: status != "BUILD", timeout_s=TIMEOUT_S
    )
    return str(status)


def test_of_two_that_want_it_at_once_one_gets_it(
    boot: Any, tenants: Tenants, has: Has, eventually: Any
) -> None:
    pair = [boot("first"), boot("second")]
    by_status = {ended(tenants, server, eventually): server for server in pair}
    assert set(by_status) == {"ACTIVE", "ERROR"}
    assert has(by_status["ACTIVE"]) == "zero zero"
    assert tenants.now(by_status["ACTIVE"])[1] == HOST
    tenants.delete(by_status["ERROR"])
    seen.append("1 of 2 at once got the device")


def test_it_stays_its_own_through_restarts(
    boot: Any, host: Host, tenants: Tenants, has: Has, cloud: Connection, eventually: Any
) -> None:
    (mine,) = tenants.cloud.compute.servers()

    def stop_and_start(_host: Host) -> None:
        tenants.cloud.compute.stop_server(mine)
        tenants.active(mine, "SHUTOFF")
        tenants.cloud.compute.start_server(mine)
        tenants.active(mine)

    def reboot(_host: Host) -> None:
        tenants.cloud.compute.reboot_server(mine, "HARD")
        tenants.active(mine)

    def reported() -> str:
        services = cloud.compute.services(binary="nova-compute", host=HOST)
        return str(next(iter(services)).updated_at)

    for restart in (restart_compute, kill_docker, stop_and_start, reboot, cut_power):
        last = reported()
        restart(host)
        assert eventually(reported, lambda now, then=last: now != then, timeout_s=TIMEOUT_S) != last
        told = eventually(lambda: has(mine), bool, timeout_s=TIMEOUT_S)
        assert told == "zero zero", restart.__name__
        other = boot("other")
        assert ended(tenants, other, eventually) == "ERROR", restart.__name__
        tenants.delete(other)
    seen.append("5 restarts, after each of which it was the same server's, and no other's")


def test_without_its_own_it_does_not_start_with_anothers(
    host: Host, tenants: Tenants, has: Has, eventually: Any
) -> None:
    (mine,) = tenants.cloud.compute.servers()
    compute = tenants.cloud.compute
    compute.stop_server(mine)
    tenants.active(mine, "SHUTOFF")
    things(host, "full")
    compute.start_server(mine)

    def starts() -> list[str | None]:
        actions = [action for action in compute.server_actions(mine) if action.action == "start"]
        shown = compute.get_server_action(actions[0].request_id, mine)
        return [event["result"] for event in shown.events if event.get("finish_time")]

    assert eventually(starts, lambda results: "Error" in results, timeout_s=TIMEOUT_S)
    assert tenants.now(mine)[0] == "SHUTOFF"
    things(host, "zero", "full")
    compute.start_server(mine)
    tenants.active(mine)
    assert has(mine) == "zero zero"
    seen.append("without its own it did not start with another's")


def test_who_comes_next_gets_what_is_given_back(
    boot: Any, host: Host, tenants: Tenants, has: Has, total: Any, eventually: Any
) -> None:
    (mine,) = tenants.cloud.compute.servers()
    things(host, "zero")
    assert eventually(total, lambda amount: amount == 1, timeout_s=TIMEOUT_S) == 1
    tenants.delete(mine)
    after = tenants.active(boot("after"))
    assert has(after) == "zero zero"
    seen.append("the next one got what was given back")
    print(f"figures: {'; '.join(seen)}; shares are not shown")

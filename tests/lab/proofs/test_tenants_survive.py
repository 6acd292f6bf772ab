# SPDX-License-Identifier: Apache-2.0
"""Tenants' servers and images outlive whatever a roll-out does, and whatever fails in it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from openstack.compute.v2.server import Server
from openstack.connection import Connection

from lab.hosts.access import Host
from lab.settings import LabSettings
from novadocker_client import hosts as novadocker_hosts
from novadocker_client.connection import Cloud
from novadocker_client.runs import Run, Runs
from tests.lab.proofs.releases import driver_version, release
from tests.lab.proofs.tenants import CONTAINER_COMMAND, MARKS, Tenants, containers

pytestmark = pytest.mark.proof

FIRST, SECOND, THIRD = "compute-docker-1", "compute-docker-2", "compute-3"
DROP_IN = "/etc/nova/nova-compute.conf.d/90-novadocker.conf"
NOVA_COMPUTE = "nova-compute.service"
RABBITMQ = "rabbitmq-server.service"
# Longer than the step waits for nova-compute to start.
RABBITMQ_AWAY_S = 130
BROKEN = "9.9.9"

Hosts = dict[str, Host]
survived: list[str] = []


def row_of(run: Run, host: str) -> Any:
    """Return what a run's report says of a host."""
    return next(row for row in run.report.rows if row.host == host)


def service_of(cloud: Connection, host: str) -> tuple[str, str, str]:
    """Return a host's hypervisor type, and the status of its service with the reason."""
    shown = novadocker_hosts.get(Cloud(cloud), host)
    return shown.hypervisor_type, shown.status, shown.reason


# -- who arrives while a roll-out goes on ----------------------------------------------------------


@pytest.fixture(scope="module")
def machine_image(tenants: Tenants) -> str:
    """An image for virtual machines."""
    return tenants.vm_image()


@pytest.fixture(scope="module")
def cleared(tenants: Tenants, cloud: Connection, run_workflow: Any, docker_hosts: Any) -> None:
    """A cloud without servers, in which machines can live on the second host and the third."""
    for server in cloud.compute.servers(all_projects=True):
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=0.5, wait=120)
    converted = sorted({SECOND, THIRD} & {*docker_hosts()})
    if converted:
        execution = run_workflow("undeploy", {"hosts": converted})
        assert execution.state == "SUCCESS", execution.message


def test_machines_that_arrive_on_later_batches_stay(
    cleared: None,
    tenants: Tenants,
    machine_image: str,
    cloud: Connection,
    runs: Runs,
    await_task: Any,
    hypervisors: Any,
) -> None:
    before = hypervisors()
    run = runs.start("deploy", {"hosts": [FIRST, SECOND, THIRD], "batch_size": 1})
    # The plan is made by now, and nobody lives on any of them. Batches go by name: the third host
    # is the canary, the second is the last.
    assert await_task(run.id, "convert_controllers")
    moving = tenants.boot("unconfirmed", THIRD, machine_image)
    tenants.cloud.compute.migrate_server(moving, host=SECOND)
    tenants.active(moving, "VERIFY_RESIZE")
    assert await_task(run.id, "switch_batch")
    arriving = tenants.boot("arriving", SECOND, machine_image)
    assert service_of(cloud, SECOND)[1] == "enabled", "it came too late: its batch had begun"
    ended = runs.wait(run.id, timeout_s=900)

    assert ended.report.state in ("done", "partial"), ended.message
    assert row_of(ended, FIRST).state in ("ok", "unchanged")
    for host, who in ((SECOND, arriving.id), (THIRD, moving.id)):
        row = row_of(ended, host)
        assert row.state == "skipped", row
        assert "occupied" in row.reason
        assert who in row.reason or "resize" in row.reason or "migration" in row.reason, row.reason
        assert service_of(cloud, host) == (before[host], "enabled", "")
    assert tenants.now(arriving) == ("ACTIVE", SECOND)
    assert tenants.now(moving) == ("VERIFY_RESIZE", SECOND)
    # Its source still takes it back.
    tenants.cloud.compute.revert_server_resize(moving)
    tenants.active(moving)
    assert tenants.now(moving) == ("ACTIVE", THIRD)
    tenants.delete(arriving, moving)
    survived.extend(["a machine that arrived on batch 2", "a resize that nobody had confirmed"])


def test_a_build_in_flight_ends_where_it_began(
    cleared: None,
    tenants: Tenants,
    machine_image: str,
    lab: Hosts,
    cloud: Connection,
    runs: Runs,
    await_task: Any,
    eventually: Any,
    hypervisors: Any,
) -> None:
    before = hypervisors()
    run = runs.start("deploy", {"hosts": [FIRST, SECOND], "batch_size": 1})
    assert await_task(run.id, "stage")
    with frozen(lab[SECOND]):
        building = tenants.boot("building", SECOND, machine_image, wait=False)
        seen = eventually(
            lambda: service_of(cloud, SECOND)[1], lambda status: status == "disabled", timeout_s=600
        )
        status = tenants.cloud.compute.get_server(building.id).status
    ended = runs.wait(run.id, timeout_s=900)

    assert (seen, status) == ("disabled", "BUILD")
    assert row_of(ended, FIRST).state in ("ok", "unchanged"), ended.message
    assert row_of(ended, SECOND).state == "skipped", ended.message
    tenants.active(building)
    assert tenants.now(building) == ("ACTIVE", SECOND)
    assert service_of(cloud, SECOND) == (before[SECOND], "enabled", "")
    tenants.delete(building)
    survived.append("a build in flight")


@contextmanager
def frozen(host: Host) -> Iterator[None]:
    """A context in which nova-compute of a host does nothing, as one that is short of memory."""
    signal = ["systemctl", "kill", "--kill-who=main"]
    host.run([*signal, "--signal=STOP", NOVA_COMPUTE])
    try:
        yield
    finally:
        host.run([*signal, "--signal=CONT", NOVA_COMPUTE])


# -- what fails under running containers -----------------------------------------------------------


@pytest.fixture(scope="module")
def container(tenants: Tenants, cloud: Connection, run_workflow: Any) -> Iterator[Server]:
    """A tenant's container on a Docker hypervisor."""
    if service_of(cloud, FIRST) != ("docker", "enabled", ""):
        execution = run_workflow("deploy", {"hosts": [FIRST]})
        assert execution.state == "SUCCESS", execution.message
    image = cloud.image.find_image("busybox", ignore_missing=False)
    cloud.image.update_image(image, os_command_line=CONTAINER_COMMAND)
    yield tenants.boot("container", FIRST, image.id)


@pytest.fixture(scope="module")
def unharmed(
    container: Server, tenants: Tenants, lab: Hosts, cloud: Connection
) -> Callable[[str], None]:
    """A function that proves that the container never was under another driver, and still runs."""
    began = containers(lab[FIRST])
    assert began

    def prove(what: str) -> None:
        assert novadocker_hosts.get(Cloud(cloud), FIRST).hypervisor_type == "docker", what
        if lab[FIRST].run(["test", "-e", DROP_IN], check=False).returncode:
            raise AssertionError(f"after {what} nova-compute would start with another driver")
        assert containers(lab[FIRST]) == began, what
        assert tenants.now(container) == ("ACTIVE", FIRST), what

    return prove


def test_a_repair_without_rabbitmq_leaves_containers_under_their_driver(
    unharmed: Callable[[str], None],
    lab: Hosts,
    cloud: Connection,
    runs: Runs,
    eventually: Any,
) -> None:
    host, controller = lab[FIRST], lab["controller"]
    host.run(["rm", DROP_IN])
    run = runs.start("deploy", {"hosts": [FIRST]})
    there = eventually(
        lambda: host.run(["test", "-e", DROP_IN], check=False).returncode == 0,
        bool,
        timeout_s=600,
    )
    assert there
    # systemd would start it again by itself, too early for this test.
    controller.run(["systemctl", "mask", "--runtime", RABBITMQ])
    controller.run(["systemctl", "kill", "--signal=KILL", RABBITMQ])
    try:
        time.sleep(RABBITMQ_AWAY_S)
    finally:
        controller.run(["systemctl", "unmask", "--runtime", RABBITMQ])
        controller.run(["systemctl", "reset-failed", RABBITMQ], check=False)
        controller.run(["systemctl", "start", RABBITMQ], timeout_s=300)
    ended = runs.wait(run.id, timeout_s=1200)
    print(f"repair without RabbitMQ: {ended.state}: {ended.message}")
    require_left_or_mended(cloud, ended)
    unharmed("a repair without RabbitMQ")
    survived.append("a repair without RabbitMQ")


def test_a_repair_that_fails_leaves_containers_under_their_driver(
    unharmed: Callable[[str], None], lab: Hosts, cloud: Connection, run_workflow: Any
) -> None:
    host = lab[FIRST]
    host.run(["rm", DROP_IN])
    with not_starting(host):
        ended = run_workflow("deploy", {"hosts": [FIRST]})
        print(f"a repair that fails: {ended.state}: {ended.message}")
        assert (ended.state, row_of(ended, FIRST).state) == ("ERROR", "failed"), ended.message
        require_left_or_mended(cloud, ended)
        unharmed("a repair that failed")
    survived.append("a repair that failed")


def require_left_or_mended(cloud: Connection, ended: Run) -> None:
    """Require that a host is in order, or is left out of service with the run that tells why."""
    kind, status, reason = service_of(cloud, FIRST)
    row = row_of(ended, FIRST)
    assert kind == "docker"
    assert not row.rolled_back, row
    if row.state in ("ok", "unchanged"):
        assert status == "enabled"
    else:
        assert (status, ended.state) == ("disabled", "ERROR")
        assert ended.id in reason


@contextmanager
def not_starting(host: Host) -> Iterator[None]:
    """A context in which nova-compute of a host ends at once when it is started anew."""
    place = f"/etc/systemd/system/{NOVA_COMPUTE}.d"
    host.put(f"{place}/00-broken.conf", "[Service]\nExecStartPre=/bin/false\n")
    host.run(["systemctl", "daemon-reload"])
    try:
        yield
    finally:
        host.run(["rm", f"{place}/00-broken.conf"])
        host.run(["systemctl", "daemon-reload"])
        host.run(["systemctl", "reset-failed", NOVA_COMPUTE], check=False)


def test_an_upgrade_that_fails_goes_back_to_the_driver_before(
    unharmed: Callable[[str], None],
    lab: Hosts,
    lab_settings: LabSettings,
    cloud: Connection,
    run_workflow: Any,
) -> None:
    host = lab[FIRST]
    before = driver_version(host, lab_settings)
    with release(lab["controller"], lab_settings, BROKEN, [FIRST], broken=True):
        ended = run_workflow("deploy", {"hosts": [FIRST]})

    row = row_of(ended, FIRST)
    print(f"upgrade to a broken driver: {ended.state} {row.state}: {row.reason}")
    assert ended.state == "ERROR"
    assert (row.state, row.step) == ("failed", "configure_compute")
    assert driver_version(host, lab_settings) == before
    unharmed("an upgrade to a driver that does not load")
    survived.append("an upgrade that failed")


@pytest.fixture(scope="module")
def theirs(container: Server, tenants: Tenants, cloud: Connection) -> dict[str, str]:
    """A tenant's snapshot and an image that looks like the published one, as Glance has them."""
    published = cloud.image.find_image("busybox", ignore_missing=False)
    snapshot = tenants.cloud.compute.create_server_image(container, "snapshot", wait=True)
    images = (snapshot, look_alike(tenants, published))
    assert {cloud.image.get_image(image).owner for image in images} == {tenants.project_id}
    return {image.id: stored(cloud, image.id) for image in images}


def test_the_next_run_mends_what_those_have_left(
    unharmed: Callable[[str], None], theirs: dict[str, str], cloud: Connection, run_workflow: Any
) -> None:
    published = cloud.image.find_image("busybox", ignore_missing=False)
    healed = run_workflow("deploy", {"hosts": [FIRST]})
    assert healed.state == "SUCCESS", healed.message
    # What is a tenant's is not taken for what is published, though it has all of its marks.
    assert [image["id"] for image in healed.report.images] == [published.id]
    unharmed("the next run")
    assert service_of(cloud, FIRST) == ("docker", "enabled", "")
    assert novadocker_hosts.get(Cloud(cloud), FIRST).state == "up"


# -- what belongs to tenants in Glance -------------------------------------------------------------


def test_taking_images_away_takes_none_of_the_tenants(
    container: Server,
    tenants: Tenants,
    theirs: dict[str, str],
    lab: Hosts,
    cloud: Connection,
    run_workflow: Any,
    docker_hosts: Any,
) -> None:
    glance = cloud.image
    published = glance.find_image("busybox", ignore_missing=False)
    began = containers(lab[FIRST])
    kept = run_workflow("undeploy", {"remove_images": True, "drain": "skip"})
    assert row_of(kept, FIRST).state == "skipped", kept.message
    assert docker_hosts() == [FIRST]
    assert containers(lab[FIRST]) == began
    assert tenants.now(container) == ("ACTIVE", FIRST)
    assert glance.find_image(published.id), "its containers' image was taken away"
    survived.append("a container whose host was to be undeployed")

    tenants.delete(container)
    taken = run_workflow("undeploy", {"remove_images": True})
    assert taken.state == "SUCCESS", taken.message
    assert docker_hosts() == []
    assert glance.find_image(published.id) is None
    assert {image: stored(cloud, image) for image in theirs} == theirs
    survived.extend(["a snapshot", "an image that looks like a published one"])
    print(f"figures: {len(survived)} survived: {', '.join(survived)}; none under a wrong driver")


def look_alike(tenants: Tenants, published: Any) -> Any:
    """Make a tenant's image with all that the published one is marked with."""
    shown = tenants.cloud.image.get(f"/images/{published.id}").json()
    marks = {name: shown[name] for name in shown if name in MARKS or name.startswith("trait:")}
    made = tenants.cloud.image.create_image(
        "busybox-alike",
        data=b"\0" * 1024,
        container_format="docker",
        disk_format="raw",
        visibility="private",
        tags=shown["tags"],
        wait=True,
        **marks,
    )
    tenants.cloud.image.add_tag(made, f"novadocker-published-{made.id}")
    return made


def stored(cloud: Connection, image_id: str) -> str:
    """Return what Glance has of an image, without when it was touched last."""
    record = cloud.image.get(f"/images/{image_id}").json()
    assert "status" in record, record
    # Tags are a set, which Glance tells in any order.
    record["tags"].sort()
    return json.dumps({k: v for k, v in record.items() if k != "updated_at"}, sort_keys=True)

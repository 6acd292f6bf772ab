# SPDX-License-Identifier: Apache-2.0
"""Bad input is refused before anything changes, in words that name the field and the remedy.

What needs a host of a special kind uses the compute that the selection rule leaves alone, so
that these tests say the same before and after the conversion of the others.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from openstack.connection import Connection

from lab.hosts import listing
from lab.hosts.access import Host
from novadocker_client.errors import BadInput

AGENT = "os-collect-config.service"
UNSELECTED = "compute-3"
UNENROLLED = "compute-unenrolled"
DEPLOY = "deploy"
IMAGE = "refused-test"

Hosts = dict[str, Host]
# Listings of the hosts, and status and reason of each nova-compute.
State = tuple[dict[str, listing.Listing], dict[str, tuple[str, str]]]


@pytest.fixture(scope="module")
def last_seen() -> list[State]:
    """What the latest test has found at its end: the next one begins with it."""
    return []


@pytest.fixture(autouse=True)
def nothing_changed(lab: Hosts, cloud: Connection, last_seen: list[State]) -> Iterator[None]:
    """Compare every host and every compute service before and after a test."""

    def state() -> State:
        services = {
            service.host: (service.status, service.disabled_reason or "")
            for service in cloud.compute.services(binary="nova-compute")
        }
        return listing.take_all(lab), services

    before, services_before = last_seen[-1] if last_seen else state()
    yield
    after, services_after = state()
    last_seen[:] = [(after, services_after)]
    touched = listing.touched(before, after)
    if touched.get(UNSELECTED) == [AGENT]:
        # A test stops and starts this host's agent itself.
        del touched[UNSELECTED]
    assert touched == {}
    assert services_after == services_before


def refusal(run_workflow: Any, **inputs: Any) -> str:
    """Start a deployment that must be refused and return the words."""
    try:
        execution = run_workflow(DEPLOY, inputs, timeout_s=180)
    except BadInput as err:
        # The client itself refuses an input that the workflow does not have.
        return str(err)
    assert execution.state == "ERROR", execution
    assert execution.report.state in ("refused", ""), execution.report
    print(f"refused: {inputs}: {execution.message}")
    return str(execution.message)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        pytest.param(
            {"hosts": ["no-such-host"]},
            ["hosts", "no-such-host", "compute-docker-1"],
            id="unknown host",
        ),
        pytest.param(
            {"match": "no-such-name", "if_none_match": "fail"},
            ["match", "no-such-name", "if_none_match"],
            id="nothing matches",
        ),
        pytest.param(
            {"match": "no-such-name", "if_none_match": "sometimes"},
            ["if_none_match", "sometimes", "all", "fail"],
            id="unknown rule",
        ),
        pytest.param(
            {"exclude": ["compute-docker-1", "compute-docker-2"]},
            ["exclude", "no compute host is selected"],
            id="nothing left",
        ),
        pytest.param(
            {"images": ["Busy Box!"]}, ["images", "Busy Box!", "name[:tag]"], id="malformed image"
        ),
        pytest.param(
            {"images": ["busybox:latest", "no-such-image:1.0"]},
            ["images", "no-such-image", "1.0"],
            id="image not in the registry",
        ),
        pytest.param({"batch_size": -1}, ["batch_size", "-1", "1 to 100"], id="negative batch"),
        pytest.param({"batch_size": 0}, ["batch_size", "0", "1 to 100"], id="empty batch"),
        pytest.param({"batch_size": 10**6}, ["batch_size", "1000000", "1 to 100"], id="huge batch"),
        pytest.param({"batch_size": "two"}, ["batch_size", "two"], id="batch in words"),
        pytest.param({"max_failed": -1}, ["max_failed", "-1"], id="negative failures"),
        pytest.param(
            {"step_timeout_s": -5}, ["step_timeout_s", "-5", "seconds"], id="negative timeout"
        ),
        pytest.param(
            {"step_timeout_s": 10**9}, ["step_timeout_s", "1000000000"], id="absurd timeout"
        ),
        pytest.param({"agent_timeout_s": 0}, ["agent_timeout_s", "seconds"], id="no patience"),
        pytest.param({"report_url": "see above"}, ["report_url", "URL"], id="malformed URL"),
        pytest.param({"batch": 2}, ["batch"], id="unknown input"),
    ],
)
def test_refused(run_workflow: Any, inputs: dict[str, Any], words: list[str]) -> None:
    message = refusal(run_workflow, **inputs)
    for word in words:
        assert word in message


def test_host_whose_agent_does_not_answer(lab: Hosts, run_workflow: Any) -> None:
    host = lab[UNSELECTED]
    host.run(["systemctl", "stop", AGENT])
    try:
        message = refusal(run_workflow, hosts=[UNSELECTED], agent_timeout_s=5)
    finally:
        host.run(["systemctl", "start", AGENT])
    assert UNSELECTED in message
    assert "os-collect-config" in message


@pytest.fixture
def unenrolled_compute(lab: Hosts, cloud: Connection) -> Iterator[str]:
    """A second nova-compute on a host, under a name that no agent is enrolled for."""
    host = lab[UNSELECTED]
    state = f"/run/{UNENROLLED}"
    settings = f"[DEFAULT]\nhost = {UNENROLLED}\nstate_path = {state}\n"
    host.run(["install", "-d", "-o", "nova", "-g", "nova", state])
    host.put(f"{state}/nova.conf", settings, owner="nova:nova")
    command = ["/opt/openstack/bin/nova-compute"]
    for path in ("/etc/nova/nova.conf", "/etc/nova/nova-compute.conf", f"{state}/nova.conf"):
        command += ["--config-file", path]
    host.run(["systemd-run", f"--unit={UNENROLLED}", "--uid=nova", "--collect", *command])
    try:
        for _ in range(60):
            services = {
                service.host: service for service in cloud.compute.services(binary="nova-compute")
            }
            if UNENROLLED in services and services[UNENROLLED].state == "up":
                break
            host.run(["sleep", "1"])
        else:
            pytest.fail(f"{UNENROLLED} has not come up")
        yield UNENROLLED
    finally:
        host.run(["systemctl", "stop", f"{UNENROLLED}.service"], check=False)
        for service in cloud.compute.services(binary="nova-compute", host=UNENROLLED):
            cloud.compute.delete_service(service)
        host.run(["rm", "-rf", state])


def test_host_without_an_enrolled_agent(unenrolled_compute: str, run_workflow: Any) -> None:
    message = refusal(run_workflow, hosts=[unenrolled_compute])
    assert unenrolled_compute in message
    assert "novadocker-enroll add" in message


@pytest.fixture
def instance(cloud: Connection) -> Iterator[str]:
    """An instance on the compute that is no Docker hypervisor."""
    image = cloud.image.create_image(
        IMAGE, data=b"\0" * 1024, container_format="bare", disk_format="raw", wait=True
    )
    flavor = min(cloud.compute.flavors(), key=lambda flavor: flavor.ram)
    server = cloud.compute.create_server(
        name=f"refused-{uuid.uuid4().hex[:8]}",
        image_id=image.id,
        flavor_id=flavor.id,
        networks="none",
        availability_zone=f"nova:{UNSELECTED}",
    )
    try:
        yield cloud.compute.wait_for_server(server, interval=0.5, wait=120).id
    finally:
        cloud.compute.delete_server(server, force=True)
        with contextlib.suppress(Exception):
            cloud.compute.wait_for_delete(server, interval=0.5, wait=60)
        cloud.image.delete_image(image)


def test_host_that_runs_instances(instance: str, run_workflow: Any) -> None:
    message = refusal(run_workflow, hosts=[UNSELECTED])
    assert UNSELECTED in message
    assert "instance" in message
    assert "drain" in message


@pytest.fixture
def old_nova(lab: Hosts) -> Iterator[str]:
    """A host whose nova says that it is of a release before the oldest supported one."""
    host = lab[UNSELECTED]
    find = "import importlib.metadata as m; print(m.distribution('nova')._path)"
    path = host.run(["/opt/openstack/bin/python", "-c", find]).stdout.strip() + "/METADATA"
    text = host.read(path)
    version = next(line for line in text.splitlines() if line.startswith("Version: "))
    host.put(path, text.replace(version, "Version: 30.0.0", 1))
    yield "30.0.0"
    host.put(path, text)


def test_host_with_an_old_nova(old_nova: str, run_workflow: Any) -> None:
    message = refusal(run_workflow, hosts=[UNSELECTED])
    assert UNSELECTED in message
    assert old_nova in message
    assert "2025.1" in message

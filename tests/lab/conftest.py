# SPDX-License-Identifier: Apache-2.0
"""The running lab, for the tests that need the whole cloud.

A test here never skips because the lab is missing: that is a failure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from openstack.connection import Connection

from lab.client import workflows
from lab.client.connection import connect
from lab.hosts.access import Host, lab_hosts
from lab.settings import LabSettings

RunWorkflow = Callable[..., workflows.Execution]
DockerHosts = Callable[[], list[str]]
Operator = Callable[..., str]
AwaitStack = Callable[[str, str], None]
Eventually = Callable[..., Any]

TEMPLATES = "/opt/openstack/share/novadocker/heat_templates"
STACK_TIMEOUT_S = 420


@pytest.fixture(scope="session")
def lab_settings() -> LabSettings:
    """The plan of the lab."""
    return LabSettings()


@pytest.fixture(scope="session")
def lab(lab_settings: LabSettings) -> dict[str, Host]:
    """The hosts of the lab by name."""
    found = lab_hosts(lab_settings)
    absent = [name for name, host in found.items() if host.state() != "running"]
    if absent:
        pytest.fail(f"the lab is not up ({', '.join(absent)}): run `tools/lab up`", pytrace=False)
    return found


@pytest.fixture(scope="session")
def cloud(lab: dict[str, Host], lab_settings: LabSettings) -> Connection:
    """A connection as admin."""
    return connect(lab_settings)


@pytest.fixture(scope="session")
def run_workflow(cloud: Connection) -> RunWorkflow:
    """A function that runs a workflow to its end and returns the execution."""

    def run(
        name: str, inputs: Mapping[str, Any] | None = None, timeout_s: float = 900
    ) -> workflows.Execution:
        execution = workflows.start(cloud, name, inputs)
        return workflows.wait(cloud, execution.id, timeout_s=timeout_s)

    return run


@pytest.fixture(scope="session")
def docker_hosts(cloud: Connection) -> DockerHosts:
    """A function that lists the hypervisors of type docker."""

    def names() -> list[str]:
        rows = cloud.compute.hypervisors(details=True)
        return sorted(row.name for row in rows if row.hypervisor_type == "docker")

    return names


@pytest.fixture
def unconverted(cloud: Connection, run_workflow: RunWorkflow, docker_hosts: DockerHosts) -> None:
    """A cloud without a Docker hypervisor, whatever other tests have left."""
    for server in cloud.compute.servers(all_projects=True):
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=0.5, wait=120)
    if docker_hosts():
        execution = run_workflow("novadocker.undeploy")
        assert execution.state == "SUCCESS", execution.message
    assert docker_hosts() == []


@pytest.fixture(scope="session")
def operator(lab: dict[str, Host]) -> Operator:
    """A function that runs a command on the controller as the cloud's operator."""
    script = f'. /root/admin-openrc && cd {TEMPLATES} && PATH=/opt/openstack/bin:$PATH "$@"'

    def run(*command: str, timeout_s: float = 120) -> str:
        argv = ["bash", "-c", script, "operator", *command]
        return lab["controller"].run(argv, timeout_s=timeout_s).stdout

    return run


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """A function that reads until it reads what is wanted, and returns what it read last."""

    def read_until(
        read: Callable[[], Any], wanted: Callable[[Any], bool], timeout_s: float = 60
    ) -> Any:
        deadline = time.monotonic() + timeout_s
        while not wanted(found := read()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    return read_until


@pytest.fixture(scope="session")
def await_stack(cloud: Connection, eventually: Eventually) -> AwaitStack:
    """A function that waits for a stack's action to end, and fails with the reason of a failure."""

    def wait(name: str, action: str) -> None:
        ends = (f"{action}_COMPLETE", f"{action}_FAILED")
        stack = eventually(
            lambda: cloud.orchestration.get_stack(name),
            lambda stack: stack.status in ends,
            timeout_s=STACK_TIMEOUT_S,
        )
        assert stack.status == ends[0], f"{name} is {stack.status}: {stack.status_reason}"

    return wait

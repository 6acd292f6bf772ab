# SPDX-License-Identifier: Apache-2.0
"""What the long proofs of the roll-out share: tenants, and a run that is watched while it goes on.

They are run by their commands in tools/proofs, each in a lab of its own, and not with the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openstack.connection import Connection

from novadocker_client.runs import Runs
from tests.lab.proofs.tenants import Tenants


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the names of the faults that faults_survived is to put in."""
    parser.addoption(
        "--fault", action="append", default=[], help="a fault's name, or a part of it; else all"
    )


AwaitTask = Callable[..., bool]
TASK_TIMEOUT_S = 600
DELETE_TIMEOUT_S = 180


@pytest.fixture(scope="module")
def tenants(cloud: Connection) -> Iterator[Tenants]:
    """A project with servers of its own, which are gone afterwards."""
    project = Tenants(cloud)
    project.forget()
    yield project
    project.forget()


@pytest.fixture(scope="module")
def bare(cloud: Connection, run_workflow: Any, docker_hosts: Any) -> None:
    """A cloud without servers and Docker hypervisors."""
    for server in cloud.compute.servers(all_projects=True):
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=0.5, wait=DELETE_TIMEOUT_S)
    if docker_hosts():
        assert run_workflow("undeploy").state == "SUCCESS"


@pytest.fixture(scope="session")
def await_task(runs: Runs) -> AwaitTask:
    """A function that waits until a run has begun a task, for the given time.

    :return: of the function: whether it has; not when the run ended before
    """

    def wait(run_id: str, name: str, times: int = 1) -> bool:
        until = time.monotonic() + TASK_TIMEOUT_S
        while time.monotonic() < until:
            ended = runs.get(run_id).ended
            tasks = runs.progress(run_id).tasks
            if sum(1 for task in tasks if task.name == name) >= times:
                return True
            if ended:
                return False
            time.sleep(0.5)
        raise AssertionError(f"the run {run_id} did not come to {name} in {TASK_TIMEOUT_S} s")

    return wait

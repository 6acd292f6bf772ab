# SPDX-License-Identifier: Apache-2.0
"""The running lab, for the tests that need the whole cloud.

A test here never skips because the lab is missing: that is a failure.

To convert the hosts takes minutes, so tests share conversions. Each asks for the state that it
needs (`unconverted`, `converted`, `conversion`) and is given it whatever ran before, alone too.
`ORDER` puts the modules into an order in which that state is mostly there already.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest
from openstack.connection import Connection

from lab.client.connection import connect
from lab.hosts import listing
from lab.hosts.access import Host, lab_hosts
from lab.settings import LabSettings
from novadocker_client import runs as client_runs
from novadocker_client.connection import Cloud
from novadocker_client.runs import Run, Runs

RunWorkflow = Callable[..., Run]
DockerHosts = Callable[[], list[str]]
Operator = Callable[..., str]
AwaitStack = Callable[[str, str], None]
Eventually = Callable[..., Any]
Hypervisors = Callable[[], dict[str, str]]
Converting = Callable[[], AbstractContextManager[None]]

DEPLOY, UNDEPLOY = "deploy", "undeploy"
SELECTED = ["compute-docker-1", "compute-docker-2"]
# The first module finds hosts that nothing was done to. The demonstration converts them, and what
# it did is taken back; a stack does both in its own way; and a run whose executor is killed
# converts them for all that follow.
ORDER = (
    *("test_bad_inputs", "test_demo", "test_rerun", "test_undeploy", "test_without_workflow"),
    *("test_executor_killed", "test_enrolment", "test_host_crashes", "test_new_pool"),
)
TEMPLATES = "/opt/openstack/share/novadocker/heat_templates"
STACK_TIMEOUT_S = 420


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A deployment on hosts that had no Docker, as it was found and as it has left them.

    :param hypervisors: type of each hypervisor before, by name
    :param before: listings of all hosts before, by name
    :param after: listings of all hosts after it had ended
    """

    hypervisors: Mapping[str, str]
    before: Mapping[str, listing.Listing]
    after: Mapping[str, listing.Listing]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules of this folder in their order; others that are new come last."""

    def place(item: pytest.Item) -> int:
        if item.path.parent != pathlib.Path(__file__).parent:
            return -1
        return ORDER.index(item.path.stem) if item.path.stem in ORDER else len(ORDER)

    items.sort(key=place)


@pytest.fixture(scope="session")
def lab_settings() -> LabSettings:
    """The plan of the lab."""
    return LabSettings()


@pytest.fixture(scope="session")
def lab(lab_settings: LabSettings) -> dict[str, Host]:
    """The hosts of the lab by name."""
    by_name = lab_hosts(lab_settings)
    absent = [name for name, host in by_name.items() if host.state() != "running"]
    if absent:
        pytest.fail(f"the lab is not up ({', '.join(absent)}): run `tools/lab up`", pytrace=False)
    return by_name


@pytest.fixture(scope="session")
def cloud(lab: dict[str, Host], lab_settings: LabSettings) -> Connection:
    """A connection as admin."""
    return connect(lab_settings)


@pytest.fixture(scope="session")
def runs(cloud: Connection) -> Iterator[Runs]:
    """The runs of workflows, as the admin sees them, and soon after they have ended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_runs, "POLL_S", 0.5)
        yield Runs(Cloud(cloud))


@pytest.fixture(scope="session")
def run_workflow(runs: Runs) -> RunWorkflow:
    """A function that runs a workflow to its end and returns the run."""

    def run(name: str, inputs: Mapping[str, Any] | None = None, timeout_s: float = 900) -> Run:
        return runs.wait(runs.start(name, inputs).id, timeout_s=timeout_s)

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
        execution = run_workflow(UNDEPLOY)
        assert execution.state == "SUCCESS", execution.message
    assert docker_hosts() == []


@pytest.fixture(scope="module")
def converted(cloud: Connection, run_workflow: RunWorkflow, docker_hosts: DockerHosts) -> None:
    """A cloud that a deployment has gone over: its hosts work, its image is in Glance."""

    def is_converted() -> bool:
        rows = {row.name: row for row in cloud.compute.hypervisors(details=True)}
        states = {(rows[name].state, rows[name].status) for name in SELECTED}
        images = cloud.image.images(name="busybox", container_format="docker")
        return docker_hosts() == SELECTED and states == {("up", "enabled")} and any(images)

    if not is_converted():
        execution = run_workflow(DEPLOY)
        assert execution.state == "SUCCESS", execution.message
    assert is_converted()


@pytest.fixture(scope="session")
def hypervisors(cloud: Connection) -> Hypervisors:
    """A function that returns the type of each hypervisor by its name."""

    def types() -> dict[str, str]:
        return {row.name: row.hypervisor_type for row in cloud.compute.hypervisors(details=True)}

    return types


@pytest.fixture(scope="session")
def conversions() -> list[Conversion]:
    """The conversions that tests have made, the latest at the end."""
    return []


@pytest.fixture(scope="session")
def converting(
    conversions: list[Conversion], lab: dict[str, Host], hypervisors: Hypervisors
) -> Converting:
    """A context in which a test converts the hosts; `conversion` hands the result on.

    Where they are Docker hypervisors already there is none to hand on.
    """

    @contextlib.contextmanager
    def watched() -> Iterator[None]:
        types, before = hypervisors(), listing.take_all(lab)
        yield
        if "docker" not in types.values():
            conversions.append(Conversion(types, before, listing.take_all(lab)))

    return watched


@pytest.fixture
def conversion(
    conversions: list[Conversion],
    converting: Converting,
    lab: dict[str, Host],
    run_workflow: RunWorkflow,
    request: pytest.FixtureRequest,
) -> Conversion:
    """The latest conversion, if all hosts are as it has left them; else one that is made here."""
    if not conversions or listing.touched(conversions[-1].after, listing.take_all(lab)):
        request.getfixturevalue("unconverted")
        with converting():
            execution = run_workflow(DEPLOY)
            assert execution.state == "SUCCESS", execution.message
    return conversions[-1]


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
        while not wanted(answer := read()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return answer

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

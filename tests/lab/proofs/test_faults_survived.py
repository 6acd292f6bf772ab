# SPDX-License-Identifier: Apache-2.0
"""Whatever goes wrong while a run goes on: it tells the truth, nobody is lost, the next run mends.

What goes wrong, and when, is in ``rounds``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from openstack.compute.v2.server import Server
from openstack.connection import Connection

from lab.client.connection import connect
from lab.settings import LabSettings
from novadocker_client.connection import Cloud
from novadocker_client.runs import ERROR, SUCCESS, Run, Runs
from tests.lab.proofs import truth
from tests.lab.proofs.faults import Cast, Fault
from tests.lab.proofs.meeting import RUN_TIMEOUT_S, meet
from tests.lab.proofs.rounds import FIRST, HOSTS, IN_EACH_PHASE, OTHER, ROUNDS, Meeting, Round
from tests.lab.proofs.tenants import CONTAINER_COMMAND, Tenants, containers

pytestmark = pytest.mark.proof

# Each host is a batch of its own, and where one fails the other is gone on with.
INPUTS = {"hosts": [*HOSTS], "batch_size": 1, "max_failed": 2}
# A service that was killed or hung tells Nova within a minute that it is up.
BACK_S = 120.0
ENOUGH = 40

survived: set[str] = set()
ended_runs: list[Run] = []


class Scene:
    """The cloud in which runs meet faults, and who lives on it.

    :param machine: a tenant's virtual machine, on a host that no run is about
    """

    def __init__(
        self, cast: Cast, settings: LabSettings, tenants: Tenants, machine: Server
    ) -> None:
        self.cast, self._settings, self.tenants = cast, settings, tenants
        self._machine = machine

    def begin(self, workflow: str, inputs: Mapping[str, Any]) -> str:
        """Begin a run as a caller of its own, and return its id."""
        self.cast.caller = connect(self._settings)
        return Runs(Cloud(self.cast.caller)).start(workflow, {**INPUTS, **inputs}).id

    def look(self) -> dict[str, truth.Compute]:
        """Return the compute hosts as they are."""
        return truth.look(self.cast.cloud, self.cast.hosts, self._settings)

    def settle(self, wrong: Callable[[], list[str]]) -> list[str]:
        """Return what is wrong, when services have had the time to be back."""
        until = time.monotonic() + BACK_S
        while faults := wrong():
            if time.monotonic() > until:
                return faults
            time.sleep(3)
        return []

    def require_truth(self, run: Run) -> None:
        """Require that all is as the run says, and everybody is there."""
        ended_runs.append(run)
        print(f"  {run.workflow} {run.id} is {run.state}: {run.message[:600]}", flush=True)
        assert self.settle(lambda: truth.violations(self.look(), run)) == []
        assert self.tenants.now(self._machine) == ("ACTIVE", OTHER)

    def require_next_run(self, workflow: str, inputs: Mapping[str, Any]) -> None:
        """Require that a run that meets no fault puts everything in order, and leaves no trust."""
        self.settle(lambda: [host.name for host in self.look().values() if not host.up])
        run_id = self.begin(workflow, inputs)
        run = self.cast.runs.wait(run_id, timeout_s=RUN_TIMEOUT_S)
        assert run.state == SUCCESS, run.message
        self.require_truth(run)
        computes = self.look()
        for name in HOSTS:
            assert computes[name].enabled, computes[name]
            assert computes[name].is_as_wanted(workflow), computes[name]
        assert truth.trusts_left(self.cast.cloud) == []

    def require_before(self, workflow: str) -> None:
        """Have the hosts as they are before a workflow has anything to do, but a repair."""
        are_docker = {host.name for host in self.look().values() if "docker" in host.parts}
        if workflow == "undeploy" and not are_docker >= {*HOSTS}:
            self.require_next_run("deploy", {})
        if workflow == "deploy" and are_docker:
            self.require_next_run("undeploy", {"remove_images": True})


@pytest.fixture(scope="module")
def scene(
    lab: Any, cloud: Connection, lab_settings: LabSettings, runs: Runs, tenants: Tenants
) -> Iterator[Scene]:
    """A cloud with a tenant's machine on a host that no run is about."""
    machine = tenants.boot("machine", OTHER, tenants.vm_image())
    yield Scene(Cast(lab, cloud, runs, cloud), lab_settings, tenants, machine)


@pytest.fixture(scope="session")
def chosen(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The names of faults that are asked for, or parts of them; none for all."""
    return tuple(request.config.getoption("--fault"))


def of(meeting: Meeting, chosen: tuple[str, ...]) -> list[Fault]:
    """Return the faults of a meeting that are asked for."""
    return [
        fault
        for fault in meeting.faults
        if not chosen or any(name in fault.name for name in chosen)
    ]


@pytest.mark.parametrize("round_", ROUNDS, ids=[item.name.replace(" ", "-") for item in ROUNDS])
def test_runs_meet(round_: Round, scene: Scene, chosen: tuple[str, ...]) -> None:
    meetings = [(meeting, of(meeting, chosen)) for meeting in round_.meetings]
    if not any(faults for _, faults in meetings):
        pytest.skip("none of its faults is asked for")
    scene.require_before("undeploy" if round_.inhabited else round_.workflow)
    with inhabited(scene) if round_.inhabited else nullcontext():
        for meeting, faults in meetings:
            if faults:
                go_through(scene, round_.workflow, meeting, faults)
        scene.require_next_run(round_.workflow, round_.last)


def go_through(scene: Scene, workflow: str, meeting: Meeting, faults: Sequence[Fault]) -> None:
    """Have a run meet faults, and require that it has told the truth of it."""
    ended, met = meet(scene.cast, lambda: scene.begin(workflow, meeting.inputs), faults)
    assert ended.state in meeting.ends, ended.message
    # One that ended early for what it met has not come to all phases.
    missed = {fault.name for fault in faults} - {*met}
    assert not missed or ended.state != SUCCESS, f"not met by a run that went well: {missed}"
    scene.require_truth(ended)
    require_others(scene, ended)
    survived.update(met)


@contextmanager
def inhabited(scene: Scene) -> Iterator[None]:
    """A context in which a tenant's container lives on the first host, and is not restarted."""
    glance, tenants = scene.cast.cloud.image, scene.tenants
    image = glance.find_image("busybox", ignore_missing=False)
    glance.update_image(image, os_command_line=CONTAINER_COMMAND)
    container = tenants.boot("container", FIRST, image.id)
    try:
        began = containers(scene.cast.hosts[FIRST])
        yield
        assert tenants.now(container) == ("ACTIVE", FIRST)
        assert containers(scene.cast.hosts[FIRST]) == began
    finally:
        tenants.delete(container)


def require_others(scene: Scene, run: Run) -> None:
    """Require that what was begun beside a run, and changes its hosts, was refused for it."""
    for other in scene.cast.beside:
        print(f"  beside it {other.workflow} is {other.state}: {other.message[:300]}", flush=True)
        assert other.ended
        if other.workflow == run.workflow:
            assert other.state == ERROR, other.message
            assert run.id in other.message, other.message
    scene.cast.beside.clear()


def test_each_service_was_met_in_each_phase(chosen: tuple[str, ...]) -> None:
    missed = in_each_phase() - survived
    print(f"figures: {len(in_each_phase()) - len(missed)} faults of a service in a phase")
    assert chosen or not missed


def test_enough_was_tried(chosen: tuple[str, ...]) -> None:
    print(
        f"figures: {len(survived)} faults in {len(ended_runs)} runs,"
        f" {sum(run.state == SUCCESS for run in ended_runs)} of which went well all the same:"
        f" {'; '.join(sorted(survived - in_each_phase()))}"
    )
    assert chosen or len(survived) >= ENOUGH


def in_each_phase() -> set[str]:
    """Return the names of the faults of each service in each phase."""
    return {
        fault.name
        for round_ in IN_EACH_PHASE
        for meeting in round_.meetings
        for fault in meeting.faults
    }

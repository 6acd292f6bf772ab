# SPDX-License-Identifier: Apache-2.0
"""Whoever ends a run, or lets it wait, in whatever phase: it says what is left, the next is right.

The runs of the real cloud, by the commands that operators type; each kind of stop in each phase is
tried in process (``tests/functional/workbooks/test_no_stop_is_unclean.py``).
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from openstack.connection import Connection

from lab.client.connection import OPENRC, parse_openrc
from lab.hosts.access import Host
from lab.settings import LabSettings
from novadocker_client.runs import CANCELLED, Run, Runs
from tests.lab.proofs import truth

pytestmark = pytest.mark.proof

FIRST, SECOND = "compute-docker-1", "compute-docker-2"
HOSTS = f"{FIRST},{SECOND}"
COMMAND_TIMEOUT_S = 900
# A service that was restarted tells Nova within a minute that it is up.
BACK_S = 90.0
DEADLINE_S = 240
MAKING = ("deploy", "undeploy")
INTERRUPTED = 130
# What a shell runs in the background has Ctrl-C ignored.
SHELL = ("env", "--default-signal=INT", sys.executable, "-m", "openstackclient.shell")
WHEELS = "/usr/local/lib/novadocker/wheels/driver"
# What makes the driver of a host another one than the bundle's, as an earlier release's is.
OTHER_DRIVER = r"""
import pathlib, subprocess, sys, tempfile, zipfile
(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
name, version = wheel.name.split("-")[:2]
where = pathlib.Path(tempfile.mkdtemp())
older = where / wheel.name.replace(f"-{version}-", "-0.0.1-")
with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(older, "w") as new:
    for item in old.namelist():
        data = old.read(item)
        if item.endswith(".dist-info/METADATA"):
            data = data.replace(f"Version: {version}".encode(), b"Version: 0.0.1")
        if item.endswith(".dist-info/RECORD"):
            data = data.replace(f"-{version}.dist".encode(), b"-0.0.1.dist")
            data = b"\n".join(line for line in data.split(b"\n") if b"/METADATA," not in line)
        new.writestr(item.replace(f"-{version}.dist", "-0.0.1.dist"), data)
pip = [sys.argv[2], "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
subprocess.run([*pip, "--force-reinstall", str(older)], check=True)
"""
# What other plug-ins of the command say of themselves.
OF_OTHERS = "Could not load "
# Which test shows what to operators.
TRANSCRIPTS = {
    "test_a_stop_while_hosts_are_staged_takes_that_back": "stop",
    "test_a_run_that_nobody_approves_until_its_deadline_ends_and_says_what_is_left": "unapproved",
    "test_what_failed_is_done_again_on_those_hosts_alone": "failed_of",
    "test_docker_hypervisors_get_this_release_s_driver": "upgrade",
}
VERSION = "import importlib.metadata as it; print(it.version('nova-docker'))"

seen: list[str] = []


@dataclass
class Desk:
    """An operator at a machine with the command, and what is true of the cloud."""

    cloud: Connection
    hosts: dict[str, Host]
    settings: LabSettings
    runs: Runs
    typed: list[str] = field(default_factory=list)

    def type(self, *argv: str) -> subprocess.Popen[str]:
        """Begin a command."""
        known = parse_openrc(Host(self.settings.controller.name, self.settings).read(OPENRC))
        env = {**os.environ, **known, "COLUMNS": "100", "CLIFF_FIT_WIDTH": "1"}
        print(f"\n$ openstack docker {' '.join(argv)}", flush=True)
        return subprocess.Popen(
            [*SHELL, "docker", *argv],
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def command(self, *argv: str) -> tuple[int, str]:
        """Return the exit code of a command, and what it said."""
        code, text = ended(self.type(*argv))
        self.typed.append(f"$ openstack docker {' '.join(argv)}\n{text}")
        return code, text

    def run(self, *argv: str) -> tuple[int, Run]:
        """Return the exit code of a command that waits for a run, and the run, which has ended."""
        code, text = self.command(*argv, "--wait")
        return code, self.runs.get(id_in(text))

    def begin(self, *argv: str) -> str:
        """Return the run that a command has begun, and does not wait for."""
        code, text = self.command(*argv)
        assert code == 0, text
        return id_in(text)

    def await_hold(self, run_id: str) -> Run:
        """Return a run when it waits between two batches."""
        until = time.monotonic() + COMMAND_TIMEOUT_S
        while not (run := self.runs.waiting(self.runs.get(run_id))).hold:
            assert not run.ended, run.message
            assert time.monotonic() < until
            time.sleep(0.5)
        return run

    def require_truth(self, run: Run, **kinds: str) -> None:
        """Require that all is as a run says, and that hosts in service are of these kinds."""

        # Of what a run is to make of hosts it is judged where it makes something of them.
        judged = run if run.workflow in MAKING and run.inputs.get("phase") != "stage" else None

        def wrong() -> list[str]:
            computes = truth.look(self.cloud, self.hosts, self.settings)
            faults = truth.violations(computes, judged or Run(run.id, "verify", run.state))
            for name, kind in kinds.items():
                host = computes[name.replace("_", "-")]
                right = host.is_docker if kind == "docker" else host.is_other
                if not right or not host.enabled:
                    faults.append(f"not {kind} and in service: {host}")
            return faults

        until = time.monotonic() + BACK_S
        while faults := wrong():
            assert time.monotonic() < until, (faults, run.message)
            time.sleep(3)


def ended(command: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code of a command, and what it said, which is shown."""
    text = command.communicate(timeout=COMMAND_TIMEOUT_S)[0]
    print(text, flush=True)
    return command.returncode, text


def id_in(text: str) -> str:
    """Return the run that a command's output names."""
    ids = re.findall(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", text)
    assert ids, text
    return str(ids[-1])


def states(run: Run) -> dict[str, tuple[str, str]]:
    """Return the state and the reason of each compute host in a run's report."""
    return {row.host: (row.state, row.reason) for row in run.report.rows if row.role == "compute"}


@pytest.fixture(scope="module")
def desk(
    cloud: Connection,
    lab: Any,
    lab_settings: LabSettings,
    runs: Runs,
    run_workflow: Any,
    docker_hosts: Callable[[], list[str]],
) -> Iterator[Desk]:
    """An operator, in a cloud without a Docker hypervisor."""
    if docker_hosts():
        assert run_workflow("undeploy").state == "SUCCESS"
    yield Desk(cloud, lab, lab_settings, runs)


@pytest.fixture
def transcript(desk: Desk, request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep what a test types and sees, where it is asked for: pages show it."""
    desk.typed.clear()
    yield
    folder = os.environ.get("NOVADOCKER_TRANSCRIPTS")
    if folder:
        place = pathlib.Path(folder) / f"{TRANSCRIPTS[request.node.name]}.txt"
        lines = [line.rstrip() for line in "\n".join(desk.typed).splitlines()]
        kept = [line for line in lines if not line.startswith(OF_OTHERS)]
        place.write_text("\n".join(kept).strip() + "\n")


KINDS = {"compute_docker_1": "other", "compute_docker_2": "other"}


def test_ctrl_c_leaves_the_run_and_a_stop_ends_it_before_hosts_are_touched(
    desk: Desk, await_task: Any
) -> None:
    command = desk.type("deploy", "--hosts", HOSTS, "--batch-size", "1", "--wait")
    (newest,) = desk.runs.list(limit=1) or [None]
    until = time.monotonic() + 120
    while newest is None or newest.workflow != "deploy" or newest.ended:
        assert time.monotonic() < until
        time.sleep(0.5)
        (newest,) = desk.runs.list(limit=1) or [None]
    assert await_task(newest.id, "prepare")
    command.send_signal(signal.SIGINT)
    code, text = ended(command)
    assert (code, f"openstack docker run stop {newest.id}" in text) == (INTERRUPTED, True)
    assert not desk.runs.get(newest.id).ended
    assert await_task(newest.id, "convert_controllers")
    code, run = desk.run("run", "stop", newest.id)
    assert (code, run.outcome) == (4, "stopped"), run.message
    assert states(run) == {FIRST: ("skipped", "not started"), SECOND: ("skipped", "not started")}
    desk.require_truth(run, **KINDS)
    seen.append("Ctrl-C in prepare, then stop in convert_controllers")


def test_a_stop_while_hosts_are_staged_takes_that_back(
    desk: Desk, await_task: Any, transcript: None
) -> None:
    run_id = desk.begin("deploy", "--hosts", HOSTS, "--batch-size", "1")
    assert await_task(run_id, "stage")
    code, run = desk.run("run", "stop", run_id)
    assert (code, run.outcome) == (4, "stopped"), run.message
    desk.require_truth(run, **KINDS)
    seen.append("stop in stage")


def test_a_run_that_nobody_approves_until_its_deadline_ends_and_says_what_is_left(
    desk: Desk,
    transcript: None,
) -> None:
    given = ("--hosts", HOSTS, "--batch-size", "1", "--approval", "canary")
    run_id = desk.begin("deploy", *given, "--run-timeout-s", str(DEADLINE_S))
    run = desk.await_hold(run_id)
    # While it waits nothing of hosts is held.
    desk.require_truth(run, compute_docker_1="docker", compute_docker_2="other")
    desk.command("run", "show", run_id)
    desk.command("run", "list", "--limit", "2")
    code, other = desk.run("deploy", "--hosts", SECOND)
    assert (code, other.outcome) == (2, "refused"), other.message
    assert run_id in other.message
    code, _ = desk.command("run", "watch", run_id)
    run = desk.runs.get(run_id)
    assert (code, run.outcome) == (4, "stopped"), run.message
    assert "nobody approved the next batch in time: 1 batches were not started" in run.message
    assert states(run)[SECOND] == ("skipped", "not started")
    desk.require_truth(run, compute_docker_1="docker", compute_docker_2="other")
    seen.append("an approval that never came until the deadline")


def test_what_failed_is_done_again_on_those_hosts_alone(
    desk: Desk, await_task: Any, transcript: None
) -> None:
    turn_bad = "file=$(readlink -f $(echo {0}/*.whl)); cp -a $file /run/kept; printf x >> $file"
    turn_good = "file=$(readlink -f $(echo {0}/*.whl)); cp -a /run/kept $file; rm /run/kept"
    second = desk.hosts[SECOND]
    run_id = desk.begin("deploy", "--hosts", HOSTS, "--max-failed", "1")
    # What a plan would see comes after it was made.
    assert await_task(run_id, "convert_controllers")
    second.run(["bash", "-ec", turn_bad.format(WHEELS)])
    try:
        code, _ = desk.command("run", "watch", run_id)
        run = desk.runs.get(run_id)
    finally:
        second.run(["bash", "-ec", turn_good.format(WHEELS)])
    assert (code, run.outcome, states(run)[SECOND][0]) == (1, "partial", "failed"), run.message
    code, again = desk.run("deploy", "--failed-of", run.id)
    assert (code, again.outcome) == (0, "done"), again.message
    assert list(states(again)) == [SECOND]
    desk.require_truth(again, compute_docker_1="docker", compute_docker_2="docker")
    seen.append("--failed-of")


def test_docker_hypervisors_get_this_release_s_driver(desk: Desk, transcript: None) -> None:
    first, python = desk.hosts[FIRST], f"{desk.settings.openstack_venv}/bin/python"
    version = first.run([python, "-c", VERSION]).stdout.strip()
    first.run([python, "-c", OTHER_DRIVER, WHEELS, python])
    first.run(["systemctl", "restart", "nova-compute"])
    assert first.run([python, "-c", VERSION]).stdout.strip() == "0.0.1"
    code, plan = desk.run("plan", "--upgrade", "--hosts", HOSTS)
    assert (code, plan.outcome) == (0, "planned"), plan.message
    assert f"1 of 2 Docker hypervisors would get the driver {version}" in plan.message
    code, run = desk.run("upgrade", "--plan", plan.id)
    assert (code, run.outcome) == (0, "done"), run.message
    assert states(run)[SECOND][0] == "unchanged"
    assert first.run([python, "-c", VERSION]).stdout.strip() == version
    desk.require_truth(run, compute_docker_1="docker", compute_docker_2="docker")
    code, run = desk.run("upgrade", "--hosts", HOSTS)
    assert (code, run.outcome) == (0, "unchanged"), run.message
    seen.append("plan --upgrade and upgrade")


def test_an_undeploy_that_is_cancelled_in_its_pause_is_taken_up_by_recover(desk: Desk) -> None:
    given = ("--hosts", HOSTS, "--batch-size", "1", "--batch-pause-s", "3600")
    run = desk.await_hold(desk.begin("undeploy", *given))
    desk.require_truth(run, compute_docker_1="other", compute_docker_2="docker")
    desk.command("run", "show", run.id)
    desk.command("run", "stop", run.id, "--now")
    assert desk.runs.get(run.id).state == CANCELLED
    code, run = desk.run("recover")
    assert code == 0, run.message
    desk.require_truth(run, compute_docker_1="other", compute_docker_2="docker")
    code, run = desk.run("undeploy", "--hosts", HOSTS, "--batch-pause-s", "5")
    assert (code, run.outcome) == (0, "done"), run.message
    desk.require_truth(run, **KINDS)
    seen.append("cancelled in a pause of undeploy")


def test_hosts_are_staged_and_switched_by_runs_of_their_own_with_an_approval_between(
    desk: Desk,
) -> None:
    code, run = desk.run("deploy", "--hosts", HOSTS, "--phase", "stage")
    assert (code, run.outcome) == (0, "done"), run.message
    assert {reason for _, reason in states(run).values()} == {"staged, not switched"}
    desk.require_truth(run, **KINDS)
    given = ("--hosts", HOSTS, "--phase", "switch", "--approval", "batches")
    run = desk.await_hold(desk.begin("deploy", *given))
    code, run = desk.run("run", "approve", run.id)
    assert (code, run.outcome) == (0, "done"), run.message
    desk.require_truth(run, compute_docker_1="docker", compute_docker_2="docker")
    seen.append("stage, then switch with an approval")


def test_a_stop_in_a_pause_of_undeploy_and_a_cancel_at_its_end_leave_nothing(
    desk: Desk, await_task: Any
) -> None:
    given = ("--hosts", HOSTS, "--batch-size", "1", "--batch-pause-s", "3600")
    run = desk.await_hold(desk.begin("undeploy", *given))
    code, run = desk.run("run", "stop", run.id)
    assert (code, run.outcome) == (4, "stopped"), run.message
    assert states(run)[SECOND] == ("skipped", "not started")
    desk.require_truth(run, compute_docker_1="other", compute_docker_2="docker")
    run_id = desk.begin("undeploy", "--hosts", HOSTS)
    assert await_task(run_id, "revert_batch")
    desk.command("run", "stop", run_id, "--now")
    code, run = desk.run("recover")
    assert code == 0, run.message
    code, run = desk.run("undeploy", "--hosts", HOSTS, "--remove-images")
    assert code == 0, run.message
    desk.require_truth(run, **KINDS)
    assert truth.trusts_left(desk.cloud) == []
    seen.append("stop in a pause of undeploy, cancelled in revert_batch")


def test_something_was_tried() -> None:
    print(f"figures: {len(seen)} of 8: {'; '.join(seen)}")
    assert len(seen) == 8, json.dumps(seen)

# SPDX-License-Identifier: Apache-2.0
"""A Mistral executor that is killed in the middle of a run does not spoil the run."""

from __future__ import annotations

import time
from collections.abc import Callable

from openstack.connection import Connection

from lab.hosts.access import Host
from novadocker_client.runs import Runs

DEPLOY = "deploy"
EXECUTOR = "mistral-executor.service"
CONVERTED = ["compute-docker-1", "compute-docker-2"]
DOWN_S = 3
# The task of the workflow that changes hosts, and the first host that it changes. A run whose
# executor dies before that, in its very first task, ends as refused with nothing changed.
CHANGES = {"convert_controllers": "controller", "stage": "compute-docker-1"}

Hosts = dict[str, Host]


def step_runs_on(host: Host) -> bool:
    """Tell whether a step that changes a host is at work on it."""
    return (
        host.run(["pgrep", "-f", "heat-config/.*|apt-get|pip install"], check=False).returncode == 0
    )


def tasks_of(runs: Runs, run_id: str) -> set[str]:
    """Return the names of the tasks that a run has come to."""
    return {task.name for task in runs.progress(run_id).tasks}


def kill_executor(controller: Host) -> None:
    """Kill the executor as a power cut would, and start it again after a while."""
    # systemd would start it again by itself, too early for this test.
    controller.run(["systemctl", "mask", "--runtime", EXECUTOR])
    controller.run(["systemctl", "kill", "--signal=KILL", EXECUTOR])
    time.sleep(DOWN_S)
    controller.run(["systemctl", "unmask", "--runtime", EXECUTOR])
    controller.run(["systemctl", "reset-failed", EXECUTOR], check=False)
    controller.run(["systemctl", "start", EXECUTOR])


def test_run_ends_right_though_the_executor_was_killed(
    unconverted: None,
    lab: Hosts,
    cloud: Connection,
    runs: Runs,
    docker_hosts: Callable[[], list[str]],
) -> None:
    began = time.monotonic()
    run = runs.start(DEPLOY)
    kills = []
    for stage, host in CHANGES.items():
        # Once while a controller is changed, once while the computes are staged.
        while not (stage in tasks_of(runs, run.id) and step_runs_on(lab[host])):
            assert not runs.get(run.id).ended, "the run ended before the executor's death"
            time.sleep(0.2)
        kill_executor(lab["controller"])
        kills.append(time.monotonic() - began)
    execution = runs.wait(run.id, timeout_s=900)

    assert execution.state == "SUCCESS", execution.message
    hypervisors = {row.name: row for row in cloud.compute.hypervisors(details=True)}
    assert docker_hosts() == CONVERTED
    assert {(hypervisors[name].state, hypervisors[name].status) for name in CONVERTED} == {
        ("up", "enabled")
    }
    images = [image.name for image in cloud.image.images(container_format="docker")]
    assert len(images) == len(set(images)), f"an image was published twice: {images}"
    moments = ", ".join(f"{moment:.0f} s" for moment in kills)
    print(
        f"figures: executor killed after {moments} and down for {DOWN_S} s each,"
        f" the run ended right after {time.monotonic() - began:.0f} s"
    )

# SPDX-License-Identifier: Apache-2.0
"""How near to the limit novadocker.deploy is.

    python -m benchmarks.deploy_phases [--at-most RATIO] [--results FILE]

The limit is the time of the same scripts, with the same settings, run on the hosts directly, all
hosts at once and each host's scripts one after another: no Mistral, no Heat, no agent that asks now
and then, no canary batch, no service taken out of use, nothing looked at before or afterwards.
The canary alone makes two batches of the computes' part, which direct runs do at once: a ratio of
two for that part is the price of changing one host before the others, and not waste.

Runs of both kinds begin on hosts that `undeploy` has put back, after a first deployment has warmed
the machine's caches and published the image.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openstack.exceptions

from benchmarks import machine
from benchmarks.figures import options_of, write
from lab.client.connection import connect
from lab.errors import LabError
from lab.hosts.access import Host, lab_hosts
from lab.settings import LabSettings
from novadocker_actions import host_steps, recipes
from novadocker_actions.plan import inputs
from novadocker_client import runs
from novadocker_client.connection import Cloud
from novadocker_client.errors import ClientError
from novadocker_client.progress import Progress

TIMEOUT_S = 900
CONTROLLERS, COMPUTES = "controllers", "computes"
# By the task of the run that has them done, and one of the run's own.
GROUPS = {"convert_controllers": CONTROLLERS, "switch_batch": COMPUTES}
STAGE = "stage"

# Run on the host: runs scripts one after another as the agent's hook does.
_RUN = r"""
import json, os, subprocess, sys, tempfile, time
done = []
with tempfile.TemporaryDirectory() as folder:
    for number, step in enumerate(json.load(sys.stdin)):
        path = os.path.join(folder, str(number))
        with open(path, "w") as script:
            script.write(step["config"])
        os.chmod(path, 0o700)
        env = {name: value if isinstance(value, str) else json.dumps(value)
               for name, value in step["inputs"].items() if value is not None}
        env["heat_outputs_path"] = path
        began = time.time()
        ran = subprocess.run([path], env={**os.environ, **env}, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        result = ""
        if os.path.exists(path + ".deploy_result"):
            with open(path + ".deploy_result") as opened:
                result = opened.read().strip()
        done.append({"name": step["name"], "began": began, "ended": time.time(),
                     "ok": ran.returncode == 0 and result == "ok", "output": ran.stdout[-2000:]})
        if not done[-1]["ok"]:
            break
print(json.dumps(done))
"""

# Hosts run what is not signed only when they were enrolled with --trust-stacks.
RUN_STEP = """#!/bin/sh
exec python3 -I "$(readlink -f /usr/local/lib/novadocker/novadocker-host.pyz)" {step}
"""


@dataclasses.dataclass(frozen=True)
class Span:
    """One step on one host, or one task of the workflow for a batch of them.

    :param group: ``controllers`` or ``computes``
    :param step: name of the step
    :param seconds: how long it took
    :param where: the host, or the batch
    """

    group: str
    step: str
    seconds: float
    where: str


@dataclasses.dataclass(frozen=True)
class Run:
    """What a whole run took.

    :param took_s: from the operator's command to its end
    """

    took_s: float
    spans: tuple[Span, ...]


def steps_of(group: str) -> list[dict[str, Any]]:
    """Return the steps that a host of a group gets from a deployment with its defaults.

    :return: name, script and inputs of each, in their order
    """
    settings = inputs.validate("deploy", {})
    role = "compute" if group == COMPUTES else "controller,glance"
    steps = recipes.for_role(role)
    return [
        {
            "name": step,
            "config": RUN_STEP.format(step=step),
            "inputs": {
                "mode": "apply",
                "settings": recipes.settings_of(step, role, settings),
                "timeout_s": TIMEOUT_S,
                host_steps.PUSH_ID: "direct",
            },
        }
        for step in steps
    ]


def deploy_seconds(spans: Iterable[Span]) -> dict[tuple[str, str], float]:
    """Return how long each phase took where batches come one after another: their sum."""
    seconds: dict[tuple[str, str], float] = {}
    for span in spans:
        seconds[span.group, span.step] = seconds.get((span.group, span.step), 0.0) + span.seconds
    return seconds


def direct_seconds(spans: Iterable[Span]) -> dict[tuple[str, str], float]:
    """Return how long each phase took where all hosts are at it at once: the slowest host's."""
    seconds: dict[tuple[str, str], float] = {}
    for span in spans:
        seconds[span.group, span.step] = max(
            seconds.get((span.group, span.step), 0.0), span.seconds
        )
    return seconds


def spans_of(progress: Progress) -> Iterator[Span]:
    """Yield how long each task of a run took that changes hosts, to the second."""
    for task in progress.tasks:
        is_stage = not task.batch and task.name == STAGE
        group = COMPUTES if is_stage else GROUPS.get(task.batch)
        if group and task.started_at and task.finished_at:
            seconds = (task.finished_at - task.started_at).total_seconds()
            yield Span(group, task.name, seconds, task.id)


def deploy(cloud: Cloud) -> Run:
    """Run novadocker.deploy and return the times of its tasks."""
    began = time.monotonic()
    run = run_workflow(cloud, "deploy")
    took_s = time.monotonic() - began
    return Run(took_s, tuple(spans_of(runs.Runs(cloud).progress(run.id))))


def run_directly(hosts: Mapping[str, Host], groups: Mapping[str, Sequence[str]]) -> Run:
    """Run each group's scripts on its hosts, all hosts at once.

    :param groups: names of hosts by group
    :raises LabError: naming the script that failed
    """

    def run(group: str, host: str) -> list[Span]:
        text = json.dumps(steps_of(group))
        done = hosts[host].run(["python3", "-c", _RUN], input=text, timeout_s=TIMEOUT_S)
        spans = []
        for step in json.loads(done.stdout):
            if not step["ok"]:
                raise LabError(f"{host}: {step['name']} failed directly: {step['output'][-400:]}")
            spans.append(Span(group, step["name"], step["ended"] - step["began"], host))
        return spans

    work = [(group, host) for group, names in groups.items() for host in names]
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=len(work)) as pool:
        done = pool.map(lambda item: run(*item), work)
        spans = [span for of_host in done for span in of_host]
    return Run(time.monotonic() - began, tuple(spans))


def run_workflow(cloud: Cloud, name: str) -> runs.Run:
    """Run a workflow with its defaults to its good end.

    :raises LabError: with its message when it did not end well
    """
    runner = runs.Runs(cloud)
    run = runner.wait(runner.start(name).id, timeout_s=TIMEOUT_S)
    if run.state != runs.SUCCESS:
        raise LabError(f"{name} ended as {run.outcome}: {run.message}")
    return run


def table(deployed: Run, direct: Run) -> str:
    """Return the phases of both runs side by side."""
    ours, limit = deploy_seconds(deployed.spans), direct_seconds(direct.spans)
    lines = [f"{'group':<12} {'phase':<20} {'deploy s':>9} {'direct s':>9}"]
    for phase, seconds in ours.items():
        beside = f"{limit[phase]:9.1f}" if phase in limit else f"{'-':>9}"
        lines.append(f"{phase[0]:<12} {phase[1]:<20} {seconds:9.1f} {beside}")
    lines.append(f"{'all, from command to end':<33} {deployed.took_s:9.1f} {direct.took_s:9.1f}")
    return "\n".join(lines)


def measure(settings: LabSettings) -> tuple[Run, Run]:
    """Measure a deployment and the direct run of its scripts.

    :return: both, the deployment first
    """
    cloud = Cloud(connect(settings))
    hosts = lab_hosts(settings)
    print("warming up: undeploy, deploy", flush=True)
    run_workflow(cloud, "undeploy")
    selected = run_workflow(cloud, "deploy").report.data["hosts"]["selected"]
    run_workflow(cloud, "undeploy")
    print("the scripts directly, on all hosts at once", flush=True)
    direct = run_directly(hosts, {CONTROLLERS: [settings.controller.name], COMPUTES: selected})
    run_workflow(cloud, "undeploy")
    print("deploy", flush=True)
    return deploy(cloud), direct


def named(phases: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Return phases by one name each, as a record holds them."""
    return {f"{group}: {step}": seconds for (group, step), seconds in phases.items()}


def main() -> None:
    """Measure, show and write the figures; exit with 1 when the ratio is over the bar."""
    parser = options_of("deploy_phases", __doc__)
    parser.add_argument("--at-most", type=float, default=4.0, help="the bar for the ratio (4.0)")
    args = parser.parse_args()
    try:
        deployed, direct = measure(LabSettings())
    except (LabError, ClientError, runs.TimedOut, openstack.exceptions.SDKException) as err:
        sys.exit(f"FAILED: {err}")
    ratio = deployed.took_s / direct.took_s
    record = {
        "machine": machine.describe(),
        "deploy": {"took_s": deployed.took_s, "phases_s": named(deploy_seconds(deployed.spans))},
        "direct": {"took_s": direct.took_s, "phases_s": named(direct_seconds(direct.spans))},
        "ratio": ratio,
    }
    print(table(deployed, direct))
    print(
        f"figures: deploy {deployed.took_s:.1f} s, the same scripts directly on all hosts at once"
        f" {direct.took_s:.1f} s, ratio {ratio:.2f} (at most {args.at_most:g})"
    )
    write(record, args.results)
    sys.exit(0 if ratio <= args.at_most else 1)


if __name__ == "__main__":
    main()

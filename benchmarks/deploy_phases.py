# SPDX-License-Identifier: Apache-2.0
"""How near to the limit novadocker.deploy is.

    python -m benchmarks.deploy_phases [--at-most RATIO] [--results FILE]

The limit is the time of the same scripts, with the same inputs, run on the hosts directly, all
hosts at once and each host's scripts one after another: no Mistral, no Heat, no agent, no canary
batch, no service taken out of use. The agent on each host keeps what it ran and when, and so the
very same scripts are run. Runs of both kinds begin on hosts that `undeploy` has put back, after a
first deployment has warmed the machine's caches.

Left out of the direct run, since they are no work of the host alone: scripts that only look
(mode check), the upload of an image to Glance, which needs the run's own token, and the wait for
images that Nova's precache API brings.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openstack.exceptions
from openstack.connection import Connection

from benchmarks import machine
from benchmarks.figures import rounded
from lab import cloud as lab_cloud
from lab import nodes, workflows
from lab.errors import LabError
from lab.settings import LabSettings

DEPLOYED = "/var/lib/heat-config/deployed"
NOT_ALONE = ("upload_image",)
TIMEOUT_S = 900

# Run on the host: prints what its agent has run, with the moments of begin and end.
_HISTORY = r"""
import json, os, sys
folder, since = sys.argv[1], float(sys.argv[2])
found = []
for name in os.listdir(folder):
    path, notify = os.path.join(folder, name), os.path.join(folder, name[:-5] + ".notify.json")
    if name.endswith(".notify.json") or not name.endswith(".json") or not os.path.exists(notify):
        continue
    began, ended = os.stat(path).st_mtime, os.stat(notify).st_mtime
    if began >= since:
        with open(path) as opened:
            record = json.load(opened)
        inputs = {item["name"]: item["value"] for item in record["inputs"]}
        found.append({"name": record["name"], "config": record["config"], "inputs": inputs,
                      "began": began, "ended": ended})
print(json.dumps(sorted(found, key=lambda step: step["began"])))
"""

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


@dataclasses.dataclass(frozen=True)
class Span:
    """One run of a script on a host.

    :param step: name of the step
    :param mode: apply, check or undo
    :param began: seconds since the epoch
    :param ended: seconds since the epoch
    """

    host: str
    step: str
    mode: str
    began: float
    ended: float


@dataclasses.dataclass(frozen=True)
class Run:
    """All scripts of one run, on all hosts.

    :param took_s: from the operator's command to its end
    """

    took_s: float
    spans: tuple[Span, ...]


def phase_seconds(spans: Iterable[Span]) -> dict[str, float]:
    """Return how long each phase took: from the first host's begin to the last host's end.

    :return: seconds by ``step`` or, for those that only look, ``step (check)``
    """
    bounds: dict[str, tuple[float, float]] = {}
    for span in sorted(spans, key=lambda span: span.began):
        name = span.step if span.mode == "apply" else f"{span.step} ({span.mode})"
        began, ended = bounds.get(name, (span.began, span.ended))
        bounds[name] = (min(began, span.began), max(ended, span.ended))
    return {name: ended - began for name, (began, ended) in bounds.items()}


def alone(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the scripts of a host's history that are to be run directly.

    :param steps: what the agent ran: name, config and inputs
    """
    chosen = []
    for step in steps:
        inputs = dict(step["inputs"])
        if inputs.get("mode") != "apply" or step_name(step) in NOT_ALONE:
            continue
        settings = inputs.get("settings")
        if step_name(step) == "verify_host" and isinstance(settings, Mapping):
            inputs["settings"] = {**settings, "images": []}
        chosen.append({"name": step_name(step), "config": step["config"], "inputs": inputs})
    return chosen


def step_name(step: Mapping[str, Any]) -> str:
    """Return the name of the step that a software config is for."""
    return str(step["name"]).removeprefix("novadocker-")


def history(hosts: Mapping[str, nodes.Node], since: float) -> dict[str, list[dict[str, Any]]]:
    """Read from each host what its agent has run.

    :param since: seconds since the epoch
    """

    def read(node: nodes.Node) -> list[dict[str, Any]]:
        done = node.run(["python3", "-c", _HISTORY, DEPLOYED, str(since)])
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    with ThreadPoolExecutor() as pool:
        return dict(zip(hosts, pool.map(read, hosts.values()), strict=True))


def deploy(cloud: Connection, hosts: Mapping[str, nodes.Node]) -> tuple[Run, dict[str, Any]]:
    """Run novadocker.deploy and return its times and what the agents ran."""
    since = time.time()
    run_workflow(cloud, "novadocker.deploy")
    took_s = time.time() - since
    ran = history(hosts, since)
    spans = tuple(
        Span(host, step_name(step), str(step["inputs"].get("mode")), step["began"], step["ended"])
        for host, steps in ran.items()
        for step in steps
    )
    return Run(took_s, spans), ran


def run_directly(
    hosts: Mapping[str, nodes.Node], steps: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Run:
    """Run scripts on their hosts, all hosts at once.

    :param steps: scripts with their inputs, by host
    :raises LabError: naming the script that failed
    """

    def run(host: str) -> list[Span]:
        text = json.dumps(list(steps[host]))
        done = hosts[host].run(["python3", "-c", _RUN], input=text, timeout_s=TIMEOUT_S)
        spans = []
        for step in json.loads(done.stdout):
            if not step["ok"]:
                raise LabError(f"{host}: {step['name']} failed directly: {step['output'][-400:]}")
            spans.append(Span(host, step["name"], "apply", step["began"], step["ended"]))
        return spans

    busy = [host for host in hosts if steps.get(host)]
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=max(1, len(busy))) as pool:
        spans = [span for found in pool.map(run, busy) for span in found]
    return Run(time.monotonic() - began, tuple(spans))


def run_workflow(cloud: Connection, name: str) -> workflows.Execution:
    """Run a workflow with its defaults to its good end.

    :raises LabError: with its message when it did not end well
    """
    execution = workflows.wait(cloud, workflows.start(cloud, name).id, timeout_s=TIMEOUT_S)
    if execution.state != "SUCCESS":
        raise LabError(f"{name} ended in {execution.state}: {execution.message}")
    return execution


def table(deployed: Run, direct: Run) -> str:
    """Return the phases of both runs side by side."""
    ours, limit = phase_seconds(deployed.spans), phase_seconds(direct.spans)
    lines = [f"{'phase':<28} {'deploy s':>9} {'direct s':>9}"]
    for name, seconds in ours.items():
        beside = f"{limit[name]:9.2f}" if name in limit else f"{'-':>9}"
        lines.append(f"{name:<28} {seconds:9.2f} {beside}")
    lines.append(f"{'all, from command to end':<28} {deployed.took_s:9.2f} {direct.took_s:9.2f}")
    return "\n".join(lines)


def measure(settings: LabSettings) -> tuple[Run, Run]:
    """Measure a deployment and the direct run of its scripts.

    :return: both, the deployment first
    """
    cloud = lab_cloud.connect(settings)
    hosts = nodes.lab_nodes(settings)
    print("warming up: undeploy, deploy, undeploy", flush=True)
    run_workflow(cloud, "novadocker.undeploy")
    _, ran = deploy(cloud, hosts)
    run_workflow(cloud, "novadocker.undeploy")
    print("the scripts directly, on all hosts at once", flush=True)
    direct = run_directly(hosts, {host: alone(steps) for host, steps in ran.items()})
    run_workflow(cloud, "novadocker.undeploy")
    print("deploy", flush=True)
    deployed, _ = deploy(cloud, hosts)
    return deployed, direct


def main() -> None:
    """Measure, show and write the figures; exit with 1 when the ratio is over the bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deploy_phases", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--at-most", type=float, default=3.0, help="the bar for the ratio (3.0)")
    parser.add_argument(
        "--results",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "results" / "deploy_phases.json",
        help="where the figures are written",
    )
    args = parser.parse_args()
    try:
        deployed, direct = measure(LabSettings())
    except (LabError, openstack.exceptions.SDKException) as exc:
        sys.exit(f"FAILED: {exc}")
    ratio = deployed.took_s / direct.took_s
    record = {
        "machine": machine.describe(),
        "deploy": {"took_s": deployed.took_s, "phases_s": phase_seconds(deployed.spans)},
        "direct": {"took_s": direct.took_s, "phases_s": phase_seconds(direct.spans)},
        "ratio": ratio,
    }
    print(table(deployed, direct))
    print(
        f"figures: deploy {deployed.took_s:.1f} s, the same scripts directly on all hosts at once"
        f" {direct.took_s:.1f} s, ratio {ratio:.2f} (at most {args.at_most:g})"
    )
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(rounded(record), indent=1) + "\n")
    sys.exit(0 if ratio <= args.at_most else 1)


if __name__ == "__main__":
    main()

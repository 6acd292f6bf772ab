# SPDX-License-Identifier: Apache-2.0
"""How a step reaches a host: one long-lived Heat deployment a host, whose config is replaced.

Heat hands any signal that comes in to what the mailbox holds at that time, and keeps output values
until new ones replace them. So each push is signed (``push_id``), outputs are blanked with it, and
an outcome with another signature is a late one of an earlier push: the step is then pushed anew.
A step of another run that is under way is never replaced before its time is over.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from novadocker_actions import host_steps, outcomes
from novadocker_actions.clients import Service
from novadocker_actions.errors import CloudError, HostBusy
from novadocker_actions.outcomes import HostRun, Pending

LOG = logging.getLogger(__name__)

#: Tag of the stacks that enrolment makes.
STACK_TAG = "novadocker-hosts"
#: The script on the host enforces its own limit and signals; this is for the way there and back.
GRACE_S = 30
_PARALLEL = 8
_AGAIN = 2
_CONFIG_PREFIX = "novadocker-"
_EXPIRES = "expires_at"
_OUTPUTS = ("deploy_result", "changed", "report", host_steps.SIGNATURE)
_BLANK = dict.fromkeys((*_OUTPUTS, "deploy_stdout", "deploy_stderr", "deploy_status_code"), "")


def inventory(heat: Service) -> dict[str, dict[str, Any]]:
    """Return all enrolled hosts: name to ``server_id``, ``deployment_id`` and ``roles``.

    :param heat: the orchestration service
    """
    found: dict[str, dict[str, Any]] = {}
    for stack in heat.get("/stacks", params={"tags": STACK_TAG})["stacks"]:
        try:
            output = heat.get(f"/stacks/{stack['stack_name']}/{stack['id']}/outputs/inventory")
        except CloudError as fault:
            if fault.status != 404:
                raise
            continue
        for name, mailbox in (output["output"].get("output_value") or {}).items():
            if mailbox.get("server_id") and mailbox.get("deployment_id"):
                found[name] = mailbox
    return found


def key(*parts: str) -> str:
    """Return the signature of a push: the same for the same parts, so that it is made once.

    :param parts: such as the execution, the task, the host and the step
    """
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def push(
    heat: Service,
    run: HostRun,
    step: str,
    settings: dict[str, Any],
    *,
    mode: str,
    timeout_s: int,
    push_id: str,
    run_id: str = "",
) -> None:
    """Put a step into a host's mailbox, unless just this push is in it already.

    :param heat: the orchestration service
    :param run: the host; gets the step as pending
    :param step: name of a step
    :param settings: its settings
    :param mode: ``apply``, ``check``, ``undo`` (of all runs) or ``roll_back`` (of this one)
    :param timeout_s: limit that the host itself enforces
    :param push_id: signature, from :func:`key`
    :param run_id: the run that it is done in; the host can go back to how this run found it
    :raises HostBusy: while a step of another run is under way there
    """
    deadline = time.time() + timeout_s + GRACE_S
    try:
        current = _deployment(heat, run)
    except CloudError as fault:
        if fault.status != 404:
            raise
        run.fail(step, "its mailbox is gone from Heat: enrol it again with novadocker-enroll")
        return
    held = _config(heat, current["config_id"])
    held_inputs = _inputs(held)
    if held_inputs.get(host_steps.SIGNATURE) == push_id:
        # A lost executor pushed it before it told so.
        config_id = held["id"]
    elif current["status"] == "IN_PROGRESS" and held_inputs.get(_EXPIRES, 0) > time.time():
        raise HostBusy(
            f"{held['name'].removeprefix(_CONFIG_PREFIX)} of another run is under way on "
            f"{run.host}. Wait for that run to end, or leave the host out with exclude."
        )
    else:
        inputs = {
            "mode": mode,
            "settings": settings,
            "timeout_s": timeout_s,
            "run_id": run_id,
            host_steps.SIGNATURE: push_id,
            _EXPIRES: round(deadline),
        }
        config_id = _replace(heat, run, held, step, host_steps.script(step), inputs)
    run.pending = Pending(step, mode, push_id, config_id, round(deadline, 1))


def look(heat: Service, run: HostRun) -> None:
    """Take over a host's outcome if it is there, or give the host up when its time is over.

    :param heat: the orchestration service
    :param run: a host with a pending step
    """
    pending = run.pending
    if pending is None:
        return
    deployment = _deployment(heat, run)
    if deployment["config_id"] != pending.config_id:
        held = _config(heat, deployment["config_id"])
        if _inputs(held).get(host_steps.SIGNATURE) != pending.push_id:
            outcomes.give_up(run, "another run has put its own step into the host's mailbox")
            return
        # Two executors pushed the same, or it was pushed anew: the mailbox has the last of them.
        pending.config_id = held["id"]
    if deployment["status"] != "IN_PROGRESS":
        _take(heat, run, deployment)
    elif time.time() > pending.deadline:
        outcomes.give_up(
            run,
            "the host did not answer in time: see os-collect-config on it "
            "(`journalctl -u os-collect-config`)",
        )


def _take(heat: Service, run: HostRun, deployment: dict[str, Any]) -> None:
    pending = run.pending
    outputs = deployment.get("output_values") or {}
    signature = outputs.get(host_steps.SIGNATURE)
    if pending is None:
        return
    if signature and signature != pending.push_id and pending.again < _AGAIN:
        held = _config(heat, pending.config_id)
        inputs = {n: v for n, v in _inputs(held).items() if not n.startswith("deploy_")}
        pending.config_id = _replace(heat, run, held, pending.step, held["config"], inputs)
        pending.again += 1
        return
    if signature and signature != pending.push_id:
        outcomes.give_up(run, "the outcomes of other runs keep coming from this host")
        return
    reason = str(deployment.get("status_reason") or "")
    outcomes.judge(run, outputs, reason, _report(outputs.get("report")))


def look_at_all(heat: Service, runs: Sequence[HostRun], wait_s: float) -> int:
    """Look at all pending hosts until none is left or the time is over; return how many are left.

    :param heat: the orchestration service
    :param runs: hosts
    :param wait_s: how long to stay
    """
    until = time.monotonic() + wait_s
    pause_s = 0.3
    while True:
        on_each([run for run in runs if run.pending], lambda run: look(heat, run))
        left = sum(1 for run in runs if run.pending)
        if not left or time.monotonic() + pause_s > until:
            return left
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, 2.0)


def on_each(runs: Iterable[HostRun], act: Callable[[HostRun], None]) -> None:
    """Do something for each host, a few at a time.

    :param runs: hosts
    :param act: what to do; its errors are raised here
    """
    waiting = list(runs)
    if len(waiting) < 2:
        for run in waiting:
            act(run)
        return
    with concurrent.futures.ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(act, waiting))


def _deployment(heat: Service, run: HostRun) -> dict[str, Any]:
    answer = heat.get(f"/software_deployments/{run.deployment_id}")
    deployment: dict[str, Any] = answer["software_deployment"]
    return deployment


def _config(heat: Service, config_id: str) -> dict[str, Any]:
    config: dict[str, Any] = heat.get(f"/software_configs/{config_id}")["software_config"]
    return config


def _inputs(config: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in config.get("inputs") or []}


def _replace(
    heat: Service,
    run: HostRun,
    held: dict[str, Any],
    step: str,
    script: str,
    inputs: dict[str, Any],
) -> str:
    # The deploy_* inputs carry the signal that Heat made for this mailbox.
    kept = [entry for entry in held["inputs"] if entry["name"].startswith("deploy_")]
    own = [{"name": name, "type": _type(value), "value": value} for name, value in inputs.items()]
    config = heat.post(
        "/software_configs",
        json={
            "name": f"{_CONFIG_PREFIX}{step}",
            "group": "script",
            "config": script,
            "inputs": own + kept,
            "outputs": [{"name": name} for name in _OUTPUTS],
            "options": {},
        },
    )["software_config"]
    heat.put(
        f"/software_deployments/{run.deployment_id}",
        json={
            "config_id": config["id"],
            "action": "UPDATE",
            "status": "IN_PROGRESS",
            "status_reason": f"{step} pushed",
            # Heat keeps the values of the run before where it is given none.
            "output_values": _BLANK,
        },
    )
    try:
        heat.delete(f"/software_configs/{held['id']}")
    except CloudError as fault:
        LOG.warning("The config that was in the mailbox of %s is left: %s", run.host, fault)
    return str(config["id"])


def _type(value: Any) -> str:
    if isinstance(value, dict):
        return "Json"
    return "Number" if isinstance(value, int | float) else "String"


def _report(text: Any) -> dict[str, Any]:
    if isinstance(text, dict):
        return text
    try:
        report = json.loads(text or "{}")
    except ValueError:
        return {"reason": "the host's report cannot be read"}
    return report if isinstance(report, dict) else {}

# SPDX-License-Identifier: Apache-2.0
"""How a step reaches a host: one long-lived Heat deployment a host, whose config is replaced.

Heat hands any signal that comes in to what the mailbox holds at that time, and keeps output values
until new ones replace them. So each push has a name of its own (``push_id``), outputs are blanked
with it, and an outcome is believed only when it is signed with the host's key for just this push.
Any other, be it a late one of an earlier push or a forged one, ends nothing: the mailbox is opened
again, and as the host's own outcome may have been lost by it, the step is pushed anew, at doubling
intervals until the push's time is over.
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

from heatclient.v1.client import Client as Heat

from novadocker_actions import host_steps
from novadocker_actions.cloud import host_keys
from novadocker_actions.cloud.host_keys import HostKeys
from novadocker_actions.errors import CloudError, HostBusy, NovadockerError
from novadocker_actions.plan import rows
from novadocker_actions.plan.rows import HostRow, Pending

LOG = logging.getLogger(__name__)

#: The script on the host enforces its own limit and signals; this is for the way there and back.
GRACE_S = 30
_PARALLEL = 8
_CONFIG_PREFIX = "novadocker-"
_EXPIRES = "expires_at"
_GONE = "its mailbox is gone from Heat: enrol it again with novadocker-enroll"
#: How often this push was made anew, and when it was made last.
_AGAIN, _PUSHED = "again", "pushed_at"
#: The first time it is made anew at once, then after this long, after twice as long, and so on.
AGAIN_S = 5
_OUTPUTS = (*host_keys.SAID, host_steps.PUSH_ID, host_keys.SIGNATURE)
_BLANK = dict.fromkeys((*_OUTPUTS, "deploy_stdout", "deploy_stderr", "deploy_status_code"), "")


def key(*parts: str) -> str:
    """Return the name of a push: the same for the same parts, so that it is made once.

    :param parts: such as the execution, the task, the host and the step
    """
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def push(
    heat: Heat,
    row: HostRow,
    step: str,
    settings: dict[str, Any],
    *,
    mode: str,
    timeout_s: int,
    push_id: str,
    run_id: str = "",
) -> None:
    """Put a step into a host's mailbox, unless just this push is in it already.

    :param heat: Heat's client
    :param row: the host; gets the step as pending
    :param step: name of a step
    :param settings: its settings
    :param mode: ``apply``, ``check``, ``undo`` (of all runs) or ``roll_back`` (of this one)
    :param timeout_s: limit that the host itself enforces
    :param push_id: from :func:`key`
    :param run_id: the run that it is done in; the host can go back to how this run found it
    :raises HostBusy: while a step of another run is under way there
    """
    expires_at = round(time.time() + timeout_s + GRACE_S)
    try:
        current = _deployment(heat, row)
    except CloudError as fault:
        if fault.status != 404:
            raise
        rows.not_pushed(row, step, _GONE, mode)
        return
    held = _config(heat, current["config_id"])
    held_inputs = _inputs(held)
    if held_inputs.get(host_steps.PUSH_ID) == push_id:
        # A lost executor pushed it before it told so.
        config_id, expires_at = held["id"], held_inputs[_EXPIRES]
    elif current["status"] == "IN_PROGRESS" and held_inputs.get(_EXPIRES, 0) > time.time():
        raise HostBusy(
            f"{held['name'].removeprefix(_CONFIG_PREFIX)} of another run is under way on "
            f"{row.host}. Wait for that run to end, or leave the host out with exclude."
        )
    else:
        inputs = {
            "mode": mode,
            "settings": settings,
            "timeout_s": timeout_s,
            "run_id": run_id,
            "host": row.host,
            host_steps.PUSH_ID: push_id,
            _EXPIRES: expires_at,
            _PUSHED: int(time.time()),
        }
        config_id = _replace(heat, row, held, step, host_steps.script(step), inputs)
    row.pending = Pending(step, mode, push_id, config_id, expires_at)


def look(heat: Heat, row: HostRow, keys: HostKeys | None = None) -> None:
    """Take over a host's outcome if it is there, or give the host up when its time is over.

    :param heat: Heat's client
    :param row: a host with a pending step
    :param keys: the hosts' pinned keys
    """
    pending = row.pending
    if pending is None:
        return
    try:
        deployment = _deployment(heat, row)
    except CloudError as fault:
        if fault.status != 404:
            raise
        rows.give_up(row, _GONE)
        return
    if deployment["config_id"] != pending.config_id:
        held = _config(heat, deployment["config_id"])
        if _inputs(held).get(host_steps.PUSH_ID) != pending.push_id:
            rows.give_up(row, "another run has put its own step into the host's mailbox")
            return
        # Two executors pushed the same, or it was pushed anew: the mailbox has the last of them.
        inputs = _inputs(held)
        pending.config_id, pending.again = held["id"], inputs.get(_AGAIN, 0)
        # The host signs the end that it was told.
        pending.deadline = inputs[_EXPIRES]
    if deployment["status"] != "IN_PROGRESS":
        _take(heat, row, deployment, keys or HostKeys(heat))
    elif time.time() > pending.deadline:
        _give_up(row, pending)
    elif pending.again:
        _push_anew(heat, row, pending)


def _give_up(row: HostRow, pending: Pending, fault: str = "") -> None:
    # Where outcomes were refused, the host's own one may have been lost by that.
    if fault or pending.again:
        reason = (
            f"no outcome with this host's signature came in time, but {pending.again or 1} or more "
            f"without{f' ({fault})' if fault else ''}: see who may signal in the project of the "
            "stacks, and os-collect-config on the host"
        )
    else:
        reason = (
            "the host did not answer in time: see os-collect-config on it "
            "(`journalctl -u os-collect-config`)"
        )
    rows.give_up(row, reason)


def _take(heat: Heat, row: HostRow, deployment: dict[str, Any], keys: HostKeys) -> None:
    pending = row.pending
    if pending is None:
        return
    outputs = deployment.get("output_values") or {}
    said = {name: outputs.get(name) or "" for name in host_keys.SAID}
    fault = _refusal(row, pending, outputs, keys)
    if fault:
        LOG.warning("An outcome in the mailbox of %s was refused: %s", row.host, fault)
        if time.time() > pending.deadline:
            _give_up(row, pending, fault)
        else:
            _open_again(heat, row, pending)
        return
    if len(str(said["report"]).encode(errors="replace")) > host_keys.REPORT_BYTES:
        report = {"reason": f"the host's report is larger than {host_keys.REPORT_BYTES} bytes"}
        said["deploy_result"] = "failed"
    else:
        report = _report(said["report"])
    again, step = pending.again, pending.step
    rows.judge(row, said, "", report)
    if again and row.ok:
        row.reason = f"{again} outcomes of {step} were not signed by this host, and refused"


def _refusal(row: HostRow, pending: Pending, outputs: dict[str, Any], keys: HostKeys) -> str:
    key = keys.of(row.host)
    if not key:
        return "no key of the host is pinned: enrol it again with novadocker-enroll"
    if not outputs.get(host_keys.SIGNATURE):
        return "it is not signed"
    fault = host_keys.fault_of(key)
    if fault:
        return f"{fault.rstrip('.')}: enrol {row.host} again with novadocker-enroll"
    text = host_keys.document(row.host, pending.push_id, pending.deadline, outputs)
    if host_keys.is_signed(key, outputs[host_keys.SIGNATURE], text):
        return ""
    if outputs.get(host_steps.PUSH_ID) != pending.push_id:
        return "it is of another push"
    return "its signature is not this host's for this push"


def _open_again(heat: Heat, row: HostRow, pending: Pending) -> None:
    # Heat takes no signal for what has ended, and the host's own is yet to come, or was lost.
    if not _push_anew(heat, row, pending):
        again = {**_under_way(pending.step), "status_reason": "an outcome was refused"}
        heat.software_deployments.update(row.deployment_id, **again)


def _push_anew(heat: Heat, row: HostRow, pending: Pending) -> bool:
    held = _config(heat, pending.config_id)
    inputs = {n: v for n, v in _inputs(held).items() if not n.startswith("deploy_")}
    pause_s = AGAIN_S * 2 ** (pending.again - 1) if pending.again else 0
    if time.time() < inputs[_PUSHED] + pause_s:
        return False
    pending.again += 1
    inputs.update({_AGAIN: pending.again, _PUSHED: int(time.time())})
    pending.config_id = _replace(heat, row, held, pending.step, held["config"], inputs)
    return True


def look_at_all(heat: Heat, host_rows: Sequence[HostRow], wait_s: float) -> int:
    """Look at all pending hosts until none is left or the time is over; return how many are left.

    :param heat: Heat's client
    :param host_rows: hosts
    :param wait_s: how long to stay
    """
    until = time.monotonic() + wait_s
    pause_s, keys = 0.3, HostKeys(heat)
    while True:
        on_each([row for row in host_rows if row.pending], lambda row: _look_alone(heat, row, keys))
        left = sum(1 for row in host_rows if row.pending)
        if not left or time.monotonic() + pause_s > until:
            return left
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, 2.0)


def _look_alone(heat: Heat, row: HostRow, keys: HostKeys) -> None:
    pending = row.pending
    try:
        look(heat, row, keys)
    except NovadockerError:
        # The cloud's fault, and no host's.
        raise
    except Exception as fault:
        # What one host has said is not to end what is known of the others.
        LOG.exception("What %s said could not be taken over", row.host)
        row.pending = pending
        rows.give_up(row, f"what it told cannot be taken over: {fault!r}")


def on_each(host_rows: Iterable[HostRow], act: Callable[[HostRow], None]) -> None:
    """Do something for each host, a few at a time.

    :param host_rows: hosts
    :param act: what to do; its errors are raised here
    """
    waiting = list(host_rows)
    if len(waiting) < 2:
        for row in waiting:
            act(row)
        return
    with concurrent.futures.ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(act, waiting))


def _deployment(heat: Heat, row: HostRow) -> dict[str, Any]:
    deployment: dict[str, Any] = heat.software_deployments.get(row.deployment_id).to_dict()
    return deployment


def _config(heat: Heat, config_id: str) -> dict[str, Any]:
    config: dict[str, Any] = heat.software_configs.get(config_id).to_dict()
    return config


def _inputs(config: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in config.get("inputs") or []}


def _replace(
    heat: Heat,
    row: HostRow,
    held: dict[str, Any],
    step: str,
    script: str,
    inputs: dict[str, Any],
) -> str:
    # The deploy_* inputs carry the signal that Heat made for this mailbox.
    kept = [entry for entry in held["inputs"] if entry["name"].startswith("deploy_")]
    own = [{"name": name, "type": _type(value), "value": value} for name, value in inputs.items()]
    config = heat.software_configs.create(
        name=f"{_CONFIG_PREFIX}{step}",
        group="script",
        config=script,
        inputs=own + kept,
        outputs=[{"name": name} for name in _OUTPUTS],
        options={},
    )
    heat.software_deployments.update(row.deployment_id, config_id=config.id, **_under_way(step))
    try:
        heat.software_configs.delete(held["id"])
    except CloudError as err:
        if err.status != 404:
            LOG.warning("The config that was in the mailbox of %s is left: %s", row.host, err)
    return str(config.id)


def _under_way(step: str) -> dict[str, Any]:
    return {
        "action": "UPDATE",
        "status": "IN_PROGRESS",
        "status_reason": f"{step} pushed",
        # Heat keeps the values of the run before where it is given none.
        "output_values": _BLANK,
    }


def _type(value: Any) -> str:
    if isinstance(value, dict):
        return "Json"
    return "Number" if isinstance(value, int | float) else "String"


def _report(text: Any) -> dict[str, Any]:
    if isinstance(text, dict):
        return text
    try:
        report = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {"reason": "the host's report cannot be read"}
    return report if isinstance(report, dict) else {}

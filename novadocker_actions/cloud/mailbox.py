# SPDX-License-Identifier: Apache-2.0
"""How a recipe reaches a host: one long-lived Heat deployment a host, whose config is replaced.

The config is one message (:mod:`novadocker_actions.cloud.messages`), signed by the executor. Heat
hands any signal that comes in to what the mailbox holds at that time, and keeps output values until
new ones replace them. So each push has a name of its own (``push_id``), outputs are blanked with
it, and an outcome is believed only when it is signed with the host's key for just this push.
Any other, be it a late one of an earlier push or a forged one, ends nothing: the mailbox is opened
again, and as the host's own outcome may have been lost by it, the message is pushed anew, at
doubling intervals until the push's time is over; a host that has run it tells its outcome again.
A compute host belongs to one run at a time: what an active run has pushed to change it is a lease
for as long as that run is active, and at most a day: a host that is staged waits for its batch, and
each recipe renews the lease. What only looks, and what is for controllers,
which runs share, is one until its outcome has come and there was time to collect it. A recipe that
is under way is never replaced.
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
from novadocker_actions.cloud import host_keys, messages
from novadocker_actions.cloud.configs import KNOWN
from novadocker_actions.cloud.host_keys import HostKeys
from novadocker_actions.errors import CloudError, HostBusy, NovadockerError
from novadocker_actions.plan import rows
from novadocker_actions.plan.pending import Pending
from novadocker_actions.plan.rows import HostRow

LOG = logging.getLogger(__name__)

# The host itself keeps the limit of a recipe and signals; this is for the way there and back.
GRACE_S = 30
_PARALLEL = 8
# Of what lies in a host's mailbox; the stack of its enrolment calls the first of it so as well.
CONFIG_NAME = "novadocker-{host}"
# The inputs that Heat gives the config of a deployment: where, and as whom, its host signals.
_OF_HEAT, _SERVER = "deploy_", "deploy_server_id"
_GONE = "its mailbox is gone from Heat: enrol it again with novadocker-enroll"
_MUTE = (
    "what lies in its mailbox was put there by hand and does not say where the host signals to, "
    "nor does anything from before: enrol it again (`novadocker-enroll remove`, then `add`)"
)
# How often this push was made anew, and when it was made last: nobody signs that.
_AGAIN, _PUSHED = "again", "pushed_at"
# How long a host that a run has changed waits for its next recipe: as long as a run may take.
LEASE_S = 24 * 3600
# The first time it is made anew at once, then after this long, after twice as long, and so on.
AGAIN_S = 5
# A look in which Heat took longer than this to answer had to wait until it was back.
OUTAGE_S = 10
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
    steps: Sequence[tuple[str, dict[str, Any]]],
    *,
    mode: str,
    timeout_s: int,
    push_id: str,
    run_id: str = "",
    is_active: Callable[[str], bool] = lambda _run_id: False,
) -> None:
    """Put a recipe into a host's mailbox, unless just this push is in it already.

    :param heat: Heat's client
    :param row: the host; gets the recipe as pending
    :param steps: names of steps with their settings, in the order in which the host runs them
    :param mode: ``apply``, ``check``, ``undo`` (of all runs) or ``roll_back`` (of this one)
    :param timeout_s: limit for all steps together, which the host itself keeps
    :param push_id: from :func:`key`
    :param run_id: the run that it is done in; the host can go back to how this run found it
    :param is_active: whether another run is under way
    :raises HostBusy: while the host belongs to another run
    """
    names = [name for name, _ in steps]
    expires_at = round(time.time() + timeout_s + GRACE_S)
    try:
        current = _deployment(heat, row)
    except CloudError as err:
        if err.status != 404:
            raise
        rows.not_pushed(row, names, _GONE, mode)
        return
    held = _config(heat, current["config_id"])
    message = _message(held)
    if message.get(host_steps.PUSH_ID) == push_id:
        # A lost executor pushed it before it told so.
        config_id, expires_at = held["id"], message["expires_at"]
        text = held["config"]
    else:
        _require_free(row, current, message, run_id, is_active)
        replaced = _with_signals(heat, row, current, held)
        if not replaced:
            rows.not_pushed(row, names, _MUTE, mode)
            return
        text = messages.compose(
            host=row.host,
            push_id=push_id,
            run_id=run_id,
            mode=mode,
            expires_at=expires_at,
            timeout_s=timeout_s,
            steps=steps,
        )
        inputs = {host_keys.SIGNATURE: messages.sign(text), _PUSHED: int(time.time())}
        config_id = _replace(heat, row, replaced, text, inputs)
    digest = messages.digest(text)
    row.pending = Pending(names, mode, push_id, config_id, expires_at, text_digest=digest)


def _require_free(
    row: HostRow,
    current: dict[str, Any],
    message: dict[str, Any],
    run_id: str,
    is_active: Callable[[str], bool],
) -> None:
    changes = message.get("mode") != "check" and row.role == "compute"
    if message.get("expires_at", 0) + (LEASE_S if changes else 0) <= time.time():
        return
    told, holder = ", ".join(step["name"] for step in message["steps"]), message["run_id"]
    remedy = "Wait for that run to end, or leave the host out with exclude."
    if current["status"] == "IN_PROGRESS" and message["expires_at"] > time.time():
        raise HostBusy(f"{told} of another run is under way on {row.host}. {remedy}")
    if holder and holder != run_id and is_active(holder):
        raise HostBusy(
            f"{row.host} belongs to run {holder}, which has done {told}. {remedy}",
            uncollected=not changes,
        )


def look(heat: Heat, row: HostRow, keys: HostKeys | None = None, asked_at: float = 0) -> None:
    """Take over a host's outcome if it is there, or give the host up when its time is over.

    :param heat: Heat's client
    :param row: a host with a pending recipe
    :param keys: the hosts' pinned keys
    :param asked_at: when this look at all hosts began, by ``time.time``
    """
    pending = row.pending
    if pending is None:
        return
    asked_at = asked_at or time.time()
    try:
        deployment = _deployment(heat, row)
    except CloudError as err:
        if err.status != 404:
            raise
        rows.give_up(row, _GONE)
        return
    if deployment["config_id"] != pending.config_id:
        held = _config(heat, deployment["config_id"])
        message = _message(held)
        if message.get(host_steps.PUSH_ID) != pending.push_id:
            _give_way(row, pending)
            return
        # Two executors pushed the same, or it was pushed anew: the mailbox has the last of them.
        pending.config_id, pending.again = held["id"], _inputs(held).get(_AGAIN, 0)
        # The host signs the text that it was sent.
        pending.deadline = message["expires_at"]
        pending.text_digest = messages.digest(held["config"])
    if time.time() - asked_at > OUTAGE_S:
        # Heat was away, so the host could not tell it anything either.
        pending.awaited = round(time.time() + GRACE_S)
    if deployment["status"] != "IN_PROGRESS":
        _take(heat, row, deployment, keys or HostKeys(heat))
    elif time.time() > max(pending.deadline, pending.awaited):
        _give_up(row, pending)
    elif pending.again:
        _push_anew(heat, row, pending)


def _give_way(row: HostRow, pending: Pending) -> None:
    told = "another run has put its own steps into the host's mailbox"
    if pending.mode == "apply" and row.role != "compute":
        # It was free when the time was over, and this run was paused, say. What this run has done
        # there as well, that one may need by now: it is not taken back.
        row.lose("collect", told)
    else:
        rows.give_up(row, told)


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
        if time.time() > max(pending.deadline, pending.awaited):
            _give_up(row, pending, fault)
        else:
            _open_again(heat, row, pending)
        return
    if len(str(said["report"]).encode(errors="replace")) > host_keys.REPORT_BYTES:
        report = {"reason": f"the host's report is larger than {host_keys.REPORT_BYTES} bytes"}
        said["deploy_result"] = "failed"
    else:
        report = _report(said["report"])
    rows.judge(row, said, report)
    if pending.again and row.ok:
        row.reason = rows.shorten(
            f"{pending.again} outcomes of {pending.told} were not signed by this host, and refused"
        )


def _refusal(row: HostRow, pending: Pending, outputs: dict[str, Any], keys: HostKeys) -> str:
    key = keys.of(row.host)
    if not key:
        return "no key of the host is pinned: enrol it again with novadocker-enroll"
    if not outputs.get(host_keys.SIGNATURE):
        return "it is not signed"
    fault = host_keys.fault_of(key)
    if fault:
        return f"{fault.rstrip('.')}: enrol {row.host} again with novadocker-enroll"
    text = host_keys.document(row.host, pending.push_id, pending.text_digest, outputs)
    if host_keys.is_signed(key, outputs[host_keys.SIGNATURE], text):
        return ""
    if outputs.get(host_steps.PUSH_ID) != pending.push_id:
        return "it is of another push"
    return "its signature is not this host's for this push"


def _open_again(heat: Heat, row: HostRow, pending: Pending) -> None:
    # Heat takes no signal for what has ended, and the host's own is yet to come, or was lost.
    if not _push_anew(heat, row, pending):
        again = {**_under_way(), "status_reason": "an outcome was refused"}
        heat.software_deployments.update(row.deployment_id, **again)


def _push_anew(heat: Heat, row: HostRow, pending: Pending) -> bool:
    held = _config(heat, pending.config_id)
    inputs = {n: v for n, v in _inputs(held).items() if not n.startswith(_OF_HEAT)}
    pause_s = AGAIN_S * 2 ** (pending.again - 1) if pending.again else 0
    if time.time() < inputs.get(_PUSHED, 0) + pause_s:
        return False
    pending.again += 1
    inputs.update({_AGAIN: pending.again, _PUSHED: int(time.time())})
    pending.config_id = _replace(heat, row, held, held["config"], inputs)
    return True


def look_at_all(
    heat: Heat, host_rows: Sequence[HostRow], wait_s: float, keys: HostKeys | None = None
) -> int:
    """Look at all pending hosts until none is left or the time is over; return how many are left.

    :param heat: Heat's client
    :param host_rows: hosts
    :param wait_s: how long to stay
    :param keys: the hosts' pinned keys
    """
    until = time.monotonic() + wait_s
    pause_s, keys = 0.3, keys or HostKeys(heat)
    while True:
        asked_at = time.time()

        def look_alone(row: HostRow, asked_at: float = asked_at) -> None:
            _look_alone(heat, row, keys, asked_at)

        on_each([row for row in host_rows if row.pending], look_alone)
        left = sum(1 for row in host_rows if row.pending)
        if not left or time.monotonic() + pause_s > until:
            return left
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, 2.0)


def _look_alone(heat: Heat, row: HostRow, keys: HostKeys, asked_at: float) -> None:
    pending = row.pending
    try:
        look(heat, row, keys, asked_at)
    except NovadockerError:
        # The cloud's fault, and no host's.
        raise
    except Exception as err:
        # What one host has said is not to end what is known of the others.
        LOG.exception("What %s said could not be taken over", row.host)
        row.pending = pending
        rows.give_up(row, f"what it told cannot be taken over: {err!r}")


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
    known = KNOWN.get(config_id)
    if known is None:
        known = KNOWN.put(heat.software_configs.get(config_id).to_dict())
    return known


def _inputs(config: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in config.get("inputs") or []}


def _message(config: dict[str, Any]) -> dict[str, Any]:
    """Return the message that a config is, {} for one that is none: an empty mailbox's.

    What was not signed with the executor's key, whatever it says, is nobody's push and no lease.
    """
    if config.get("group") != messages.GROUP:
        return {}
    text = str(config.get("config") or "")
    if not messages.is_own(text, _inputs(config).get(host_keys.SIGNATURE)):
        # A new mailbox's greeting, or what somebody else has put there.
        LOG.info("A mailbox holds what is no message of this executor's key")
        return {}
    try:
        return messages.parse(text)
    except NovadockerError as err:
        LOG.info("A mailbox holds a message of another release: %s", err)
        return {}


def _with_signals(
    heat: Heat, row: HostRow, current: dict[str, Any], held: dict[str, Any]
) -> dict[str, Any]:
    """Return the latest config in a mailbox that says where its host signals to, {} if it is lost.

    What an operator puts there by hand does not, or is another host's: then it is what that took
    the place of.
    """
    if _signals(held) and _inputs(held).get(_SERVER, current["server_id"]) == current["server_id"]:
        return held
    LOG.warning("What lies in the mailbox of %s was put there by hand, and is replaced", row.host)
    for listed in heat.software_configs.list():
        if listed.name == CONFIG_NAME.format(host=row.host):
            config: dict[str, Any] = heat.software_configs.get(listed.id).to_dict()
            if _inputs(config).get(_SERVER) == current["server_id"]:
                return config
    return {}


def _signals(config: dict[str, Any]) -> list[dict[str, Any]]:
    # Without Heat's descriptions: an agent is given them each time that it asks.
    return [
        {name: entry[name] for name in ("name", "type", "value") if name in entry}
        for entry in config.get("inputs") or []
        if entry["name"].startswith(_OF_HEAT)
    ]


def _replace(
    heat: Heat, row: HostRow, held: dict[str, Any], text: str, inputs: dict[str, Any]
) -> str:
    own = [{"name": name, "type": _type(value), "value": value} for name, value in inputs.items()]
    config = heat.software_configs.create(
        name=CONFIG_NAME.format(host=row.host),
        group=messages.GROUP,
        config=text,
        inputs=own + _signals(held),
        outputs=[{"name": name} for name in _OUTPUTS],
        options={},
    )
    KNOWN.put(config.to_dict())
    heat.software_deployments.update(row.deployment_id, config_id=config.id, **_under_way())
    KNOWN.forget(held["id"])
    try:
        heat.software_configs.delete(held["id"])
    except CloudError as err:
        if err.status != 404:
            LOG.warning("The config that was in the mailbox of %s is left: %s", row.host, err)
    return str(config.id)


def _under_way() -> dict[str, Any]:
    return {
        "action": "UPDATE",
        "status": "IN_PROGRESS",
        "status_reason": "a message was pushed",
        # Heat keeps the values of the run before where it is given none.
        "output_values": _BLANK,
    }


def _type(value: Any) -> str:
    return "Number" if isinstance(value, int | float) else "String"


def _report(text: Any) -> dict[str, Any]:
    if isinstance(text, dict):
        return text
    try:
        report = json.loads(text or "{}", parse_constant=_no_number)
    except (ValueError, RecursionError):
        return {"reason": "the host's report cannot be read"}
    return report if isinstance(report, dict) else {}


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON, and no database takes it")

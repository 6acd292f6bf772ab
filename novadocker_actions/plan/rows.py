# SPDX-License-Identifier: Apache-2.0
"""What became of each host in a run: data that actions pass on, never an exception."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from novadocker_actions import host_steps
from novadocker_actions.plan import facts

#: A reason is cut to this, so that a thousand of them stay under Mistral's 1 MiB a field.
REASON_CHARS = 400

_FOR_THE_WAY = (
    "pending",
    "server_id",
    "deployment_id",
    "service_id",
    "needs",
    "done",
    "facts",
    "instances",
)

OK, FAILED, SKIPPED = "ok", "failed", "skipped"

#: Modes of a step that takes back: what all runs did, or this one.
TAKING_BACK = ("undo", "roll_back")


@dataclass
class Pending:
    """A step that was pushed to a host and not yet collected.

    :param deadline: seconds since the epoch after which the host is given up; it keeps it as well
    :param again: how often it was pushed anew since an outcome had come that was not the host's
    :param remark: whether it is but a remark when the step fails
    """

    step: str
    mode: str
    push_id: str
    config_id: str
    deadline: int
    again: int = 0
    remark: bool = False


@dataclass
class HostRow:
    """One host on its way through a run.

    :param needs: host steps that are to be applied
    :param unknown: host steps of which it is not known yet whether they are needed
    :param done: host steps that may have changed the host in this run, in order
    :param step: the step that it is at, or that failed
    :param parked: whether this run disabled its compute service
    :param preloaded: whether it was seen to hold the images
    :param hypervisor_type: what it was when the run began
    :param rolled_back: whether it was put back as it was
    :param mended: whether it is a Docker hypervisor with instances that had lost a part of what
        makes it one: what mends it is never taken back, for that would be the older hypervisor
    :param stuck: whether putting it back failed, so that it stays out of service
    :param facts: what the last collected step found, for the task that follows
    """

    host: str
    role: str
    server_id: str = ""
    deployment_id: str = ""
    service_id: str = ""
    needs: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    state: str = OK
    step: str = ""
    reason: str = ""
    log: str = ""
    changed: bool = False
    parked: bool = False
    preloaded: bool = False
    rolled_back: bool = False
    stuck: bool = False
    mended: bool = False
    hypervisor_type: str = ""
    instances: int = 0
    pending: Pending | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing has failed on this host."""
        return self.state == OK

    @property
    def to_roll_back(self) -> bool:
        """Whether it failed and steps are left that may have changed it."""
        return self.state == FAILED and bool(self.done) and not self.stuck

    def fail(self, step: str, reason: str, log: str = "") -> None:
        """Note that the host failed; the first failure is the one that is told."""
        self.pending = None
        if self.state == FAILED:
            return
        self.state, self.step, self.reason, self.log = FAILED, step, shorten(reason), log

    def add_reason(self, text: str) -> None:
        """Add to what is told of the host."""
        self.reason = shorten(f"{self.reason} ({text})" if self.reason else text)

    def skip(self, step: str, reason: str) -> None:
        """Note that the host is left as it is, and why."""
        self.state, self.step, self.reason = SKIPPED, step, shorten(reason)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a workflow carries it, without what is at its default."""
        data: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value or item.name in ("host", "role"):
                data[item.name] = dict(vars(value)) if isinstance(value, Pending) else value
        if data.get("state") == OK:
            del data["state"]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> HostRow:
        """Return it from what :meth:`to_dict` gave."""
        pending = data.get("pending")
        return cls(**{**data, "pending": Pending(**pending) if pending else None})


def finished(rows: Iterable[HostRow]) -> list[dict[str, Any]]:
    """Return rows with no more in them than a report needs."""
    carried = write(rows)
    for row in carried:
        for name in _FOR_THE_WAY:
            row.pop(name, None)
    return carried


def shorten(text: Any) -> str:
    """Cut a text to what a report carries of it; the host's log has the rest.

    One character beyond Latin-1 would double what Python holds of the whole field that it is in,
    and by that Mistral measures it.
    """
    plain = " ".join(str(text).split()).encode("ascii", "backslashreplace").decode()
    return plain if len(plain) <= REASON_CHARS else plain[: REASON_CHARS - 3] + "..."


def read(rows: Iterable[dict[str, Any]]) -> list[HostRow]:
    """Return host runs from a workflow's rows."""
    return [HostRow.from_dict(row) for row in rows]


def write(rows: Iterable[HostRow]) -> list[dict[str, Any]]:
    """Return a workflow's rows from host runs."""
    return [row.to_dict() for row in rows]


def judge(
    row: HostRow, outputs: dict[str, Any], status_reason: str, report: dict[str, Any]
) -> None:
    """Take over what a host said of its step.

    Success is ``deploy_result=ok`` in the host's own words, never the absence of an error.

    :param row: the host, with the step that is pending
    :param outputs: output values of the Heat deployment
    :param status_reason: Heat's words on it
    :param report: the script's report, {} when it left none
    """
    pending = row.pending
    if pending is None:
        return
    row.pending = None
    changed = str(outputs.get("changed")).lower() == "true"
    fault = ""
    if outputs.get("deploy_result") != "ok":
        said = report.get("reason") or _last_lines(outputs.get("deploy_stderr")) or status_reason
        fault = str(said or "the host reported no outcome")
    try:
        row.facts = facts.judged(pending.step, report.get("facts"))
    except (ValueError, RecursionError) as misfit:
        row.facts = {}
        fault = fault or f"what it told cannot be read: {misfit}"
    _take(row, pending, fault, changed=changed, log=shorten(report.get("log") or ""))


def leave_mended(rows: Iterable[HostRow]) -> None:
    """Leave hosts that failed while they were mended under their instances as they are.

    :param rows: hosts; those stay out of service, with the reason
    """
    for row in rows:
        if row.to_roll_back and row.mended:
            row.stuck = True
            row.reason = shorten(
                f"{row.reason}; it was not put back, as {row.instances} instances live on it: mend "
                "what failed and deploy again"
            )


def give_up(row: HostRow, fault: str) -> None:
    """Note that nothing more is to be awaited from a host.

    :param row: the host, with the step that is pending
    :param fault: why
    """
    if row.pending is not None:
        pending, row.pending = row.pending, None
        _take(row, pending, fault, changed=False, log="")


def not_pushed(row: HostRow, step: str, reason: str, mode: str) -> None:
    """Note that a step did not come to its host.

    A host that was to be put back is as it was before: the step is still to be taken back, but not
    by this run.

    :param row: the host
    :param step: name of the step
    :param reason: why
    :param mode: of the step
    """
    if mode not in TAKING_BACK or row.ok:
        row.fail(step, reason)
        return
    row.done.append(step)
    row.stuck = True
    row.add_reason(f"undoing {step} could not begin: {reason}")


def _take(row: HostRow, pending: Pending, fault: str, *, changed: bool, log: str) -> None:
    if pending.remark:
        row.preloaded = not fault
        if fault:
            row.add_reason(f"not all images are there yet: {fault}")
        return
    if pending.mode in TAKING_BACK and row.state == FAILED:
        row.stuck = bool(fault)
        row.rolled_back = not fault and not row.done
        if fault:
            row.reason = shorten(f"{row.reason}; undoing {pending.step} failed: {fault}")
        return
    if fault:
        row.fail(pending.step, fault, log)
        row.stuck = pending.mode in TAKING_BACK
        if pending.mode == "apply" and pending.step in row.needs:
            # It may have changed the host before it failed; undo knows what it did.
            row.done.append(pending.step)
        return
    if pending.mode == "check":
        if changed and pending.step in host_steps.CONVERTING:
            row.needs.append(pending.step)
        return
    row.step = pending.step
    row.changed |= changed
    if pending.mode == "apply" and (changed or pending.step in row.needs):
        # A step that ran twice for one push says of the second time that it changed nothing; its
        # host knows what this run did there, and takes back that alone.
        row.done.append(pending.step)


def _last_lines(text: Any) -> str:
    return " ".join(str(text or "").strip().splitlines()[-3:])

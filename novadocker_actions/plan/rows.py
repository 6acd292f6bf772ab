# SPDX-License-Identifier: Apache-2.0
"""What became of each host in a run: data that actions pass on, never an exception."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from novadocker_actions import recipes
from novadocker_actions.plan import facts, packing
from novadocker_actions.plan.pending import Pending

# A reason is cut to this; the host's log has the rest.
REASON_CHARS = 400
# Of the end of the log of a step that failed, and of what a host says of times.
TAIL_CHARS, _MOST_SECONDS = 1000, 1_000_000
# Where a batch's hosts still say too much: reasons and tails, to the first with which all fit.
_FEWER_CHARS = ((REASON_CHARS, 400), (REASON_CHARS, 0), (200, 0), (80, 0), (20, 0))

_FOR_THE_WAY = (
    "pending",
    "deployment_id",
    "needs",
    "disturbs",
    "damaged",
    "done",
    "facts",
    *("instances", "containers"),
    *("package", "scheduler", "deployer"),
    *("left_by", "findings", "moving"),
)

# What a host has as its package of steps: another than its message was made for, or ours by now.
OTHER, BROUGHT = "other", "brought"
# So a host says that, whichever release its package is of.
_OTHER_PACKAGE = "this message was made for the package "

# Of a host. Unknown is one that could not be heard as a service was away: no fault of its own.
OK, FAILED, SKIPPED, UNKNOWN = "ok", "failed", "skipped", "unknown"

# Modes of a recipe that takes back: what all runs did, or this one.
TAKING_BACK = ("undo", "roll_back")


@dataclass
class HostRow:
    """One host on its way through a run.

    :param needs: host steps that are to be applied
    :param unknown: host steps of which it is not known yet whether they are needed
    :param disturbs: needed steps that would disturb what the host serves with
    :param damaged: whether the run found that it lacks a part of what makes a Docker hypervisor
    :param done: host steps that may have changed the host in this run, in order
    :param step: the step that it is at, or that failed
    :param parked: whether this run disabled its compute service, or one that was lost before it
    :param preloaded: whether it was seen to hold the images
    :param node: what Nova calls its hypervisor, where that is not the host's name
    :param hypervisor_type: what it was when the run began
    :param rolled_back: whether it was put back as it was
    :param mended: whether it is a Docker hypervisor with instances that had lost a part of what
        makes it one: what mends it is never taken back, for that would be the older hypervisor
    :param stuck: whether it cannot be put back now, so that it stays out of service
    :param package: ``OTHER`` where its package of steps is not ours, ``BROUGHT`` where it was
    :param containers: instances that its engine has, where its Nova has lost the driver by others
    :param scheduler: what its nova-scheduler does with isolated aggregates, "" where it has none
    :param deployer: the tool that runs its nova-compute in a container, "" where none does
    :param seconds: how long the host took for each step that it ran other than as a check
    :param out_at: when this run took it out of service, in seconds since the epoch
    :param out_s: how long it was out of service by this run, 0 where it is or never was
    :param tail: the end of the host's log of the step that failed
    :param moving: instances that are being migrated off it
    :param left_by: the run whose changes are to be taken back, where that is not this one
    :param findings: what would keep it from being converted, beside the reason that is told first
    :param facts: what the last collected recipe found, for the task that follows
    """

    host: str
    role: str
    deployment_id: str = ""
    needs: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    disturbs: list[str] = field(default_factory=list)
    damaged: bool = False
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
    node: str = ""
    hypervisor_type: str = ""
    instances: int = 0
    containers: int = 0
    package: str = ""
    scheduler: str = ""
    deployer: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    out_at: int = 0
    out_s: int = 0
    tail: str = ""
    moving: list[str] = field(default_factory=list)
    left_by: str = ""
    findings: list[str] = field(default_factory=list)
    pending: Pending | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Return whether nothing has failed on this host."""
        return self.state == OK

    def takes(self, step: str) -> bool:
        """Return whether a step is for a host of this role, or only looks."""
        return step not in recipes.CONVERTING or step in recipes.for_role(self.role)

    def is_disturbed_by(self, step: str) -> bool:
        """Return whether a step interrupts the host's service, so that it has to be out of it."""
        return step in recipes.DISTURBING or step in self.disturbs

    @property
    def to_switch(self) -> bool:
        """Return whether the host is well, and needs what cannot be done while it is in service."""
        return self.ok and any(map(self.is_disturbed_by, self.needs))

    @property
    def to_roll_back(self) -> bool:
        """Return whether the host will not become what was wanted, and steps have changed it."""
        return not self.ok and bool(self.done) and not self.stuck

    def took(self, step: str, seconds: Any) -> None:
        """Add to how long a step took on the host, as far as that is a number of seconds."""
        if type(seconds) in (int, float) and 0 <= seconds <= _MOST_SECONDS:
            self.seconds[step] = round(self.seconds.get(step, 0.0) + seconds, 1)

    def fail(self, step: str, reason: str, log: str = "") -> None:
        """Note that the host failed; the first failure is the one that is told."""
        self.pending = None
        if self.state == FAILED:
            return
        self.state, self.step, self.reason, self.log = FAILED, step, shorten(reason), log

    def lose(self, step: str, fault: str) -> None:
        """Note that a service was away when it came to this host.

        Where a recipe is under way on it, nobody can say how that ends: it is let alone, and the
        next run asks the host.

        :param step: the task that could not be done
        :param fault: what the service answered
        """
        under_way, self.pending = self.pending, None
        if self.ok:
            self.state, self.step, self.reason = UNKNOWN, step, shorten(fault)
        else:
            self.add_reason(f"{step}: {fault}")
        if under_way is None:
            return
        self.stuck = True
        if under_way.mode == "apply":
            needed = [name for name in under_way.steps if name in self.needs]
            self.done += [name for name in needed if name not in self.done]
        self.add_reason(f"how {under_way.told} ended is not known")

    def add_reason(self, text: str) -> None:
        """Add to what is told of the host."""
        self.reason = shorten(f"{self.reason} ({text})" if self.reason else text)

    def skip(self, step: str, reason: str) -> None:
        """Note that the host is left as it is, and why; one that has failed has failed."""
        if not self.ok:
            return
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


def read(rows: list[dict[str, Any]] | str) -> list[HostRow]:
    """Return host runs from a workflow's rows.

    :param rows: as they are, or packed
    """
    return [HostRow.from_dict(row) for row in packing.unpack(rows)]


def write(rows: Iterable[HostRow]) -> list[dict[str, Any]]:
    """Return a workflow's rows from host runs."""
    return [row.to_dict() for row in rows]


def batch(rows: Sequence[HostRow]) -> dict[str, Any]:
    """Return hosts as a workflow carries them: their rows, and what its routes depend on.

    :param rows: at most a hundred hosts
    """
    return {"rows": _packed(rows), **counts(rows)}


def counts(rows: Sequence[HostRow]) -> dict[str, int]:
    """Return what routes depend on, of hosts.

    :param rows: hosts
    """
    return {
        "hosts": len(rows),
        "ok": sum(1 for row in rows if row.ok),
        "failed": sum(1 for row in rows if row.state in (FAILED, UNKNOWN)),
        "pending": sum(1 for row in rows if row.pending),
        "changing": sum(1 for row in rows if row.ok and row.needs),
        "unknown": sum(1 for row in rows if row.ok and row.unknown),
        "to_roll_back": sum(1 for row in rows if row.to_roll_back),
        "lacking": sum(1 for row in rows if row.package == OTHER),
    }


def _packed(rows: Sequence[HostRow]) -> list[dict[str, Any]] | str:
    packed = packing.pack(write(rows))
    for chars, tail_chars in _FEWER_CHARS:
        if len(packed) <= packing.PACKED_CHARS:
            return packed
        for row in rows:
            row.reason, row.tail = (
                row.reason[:chars],
                row.tail[max(0, len(row.tail) - tail_chars) :],
            )
            row.findings = [finding[:chars] for finding in row.findings]
        packed = packing.pack(write(rows))
    while len(packed) > packing.PACKED_CHARS:
        loudest = max(rows, key=lambda row: len(str(row.facts)))
        if not loudest.facts:
            break
        loudest.facts = {}
        loudest.fail(loudest.step or "collect", "it told more than there is room for in its batch")
        packed = packing.pack(write(rows))
    return packed


def judge(row: HostRow, outputs: dict[str, Any], report: dict[str, Any]) -> None:
    """Take over what a host said of its recipe, step by step.

    Success is ``deploy_result=ok`` in the host's own words, never the absence of an error.

    :param row: the host, with the recipe that is pending
    :param outputs: output values of the Heat deployment
    :param report: the host's report, {} when it left none
    """
    pending = row.pending
    if pending is None:
        return
    row.pending, row.facts = None, {}
    fault = ""
    if outputs.get("deploy_result") != "ok":
        said = report.get("reason") or _last_lines(outputs.get("deploy_stderr"))
        fault = str(said or "the host reported no outcome")
    if fault and report.get("steps") == [] and not report.get("log") and not report.get("begun"):
        # The host refused the message: nothing was begun.
        if fault.startswith(_OTHER_PACKAGE) and not row.package:
            row.package = OTHER
        not_pushed(row, pending.steps, fault, pending.mode)
        return
    failed = False
    for step, entry in zip(pending.steps, _entries(report), strict=False):
        entry_fault = _fault_of(entry, step, fault)
        try:
            told = facts.judged(step, entry.get("facts"))
        except (ValueError, RecursionError) as err:
            told = {}
            entry_fault = entry_fault or f"what it told cannot be read: {err}"
        # A message for two roles of a host has steps of the other one; and what a host runs steps
        # from is no change of what it is.
        changed = entry.get("changed") is True and row.takes(step) and step != recipes.PACKAGE
        if pending.mode == "check" and changed and told.pop(facts.DISTURBS, True):
            row.disturbs.append(step)
        row.facts.update(told)
        if pending.mode != "check":
            row.took(step, entry.get("seconds"))
        if entry_fault and not row.tail:
            row.tail = _tail(entry.get("tail"))
        _take(row, pending, step, entry_fault, changed=changed, log=shorten(entry.get("log") or ""))
        failed = failed or bool(entry_fault)
        if failed and pending.mode != "check":
            return
    if failed:
        return
    left = pending.steps[len(_entries(report)) :]
    if left or fault:
        _lost(row, pending, left or pending.steps[-1:], fault or f"it told no outcome of {left[0]}")


def _entries(report: dict[str, Any]) -> list[dict[str, Any]]:
    entries = report.get("steps")
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict)]


def _fault_of(entry: dict[str, Any], step: str, fault: str) -> str:
    if entry.get("step") != step:
        return f"it told of {entry.get('step')!r} where {step} was to be"
    if entry.get("ok") is True:
        return ""
    return str(entry.get("reason") or fault or "the host reported no outcome")


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

    :param row: the host, with the recipe that is pending
    :param fault: why
    """
    if row.pending is not None:
        pending, row.pending = row.pending, None
        _lost(row, pending, pending.steps, fault)


def not_pushed(row: HostRow, steps: Sequence[str], reason: str, mode: str) -> None:
    """Note that a recipe did not come to its host.

    A host that was to be put back is as it was before: that is still to be done, but not by this
    run.

    :param row: the host
    :param steps: of the recipe
    :param reason: why
    :param mode: of the recipe
    """
    if mode not in TAKING_BACK or row.ok:
        row.fail(steps[0], reason)
        return
    row.stuck = True
    row.add_reason(f"undoing {', '.join(steps)} could not begin: {reason}")


def perhaps_pushed(row: HostRow, steps: Sequence[str], fault: str, mode: str) -> None:
    """Note that Heat was away when a recipe was pushed, so that the host may have got it or not.

    :param row: the host
    :param steps: of the recipe
    :param fault: what Heat answered
    :param mode: of the recipe
    """
    row.pending = Pending(list(steps), mode, "", "", 0)
    row.lose("push", fault)


def _lost(row: HostRow, pending: Pending, steps: Sequence[str], fault: str) -> None:
    # Any of them may have been half done when it was heard of no more.
    told = ", ".join(steps)
    if pending.mode == "apply" and not pending.remark:
        row.done += [step for step in steps if step in row.needs and step not in row.done]
    _take(row, pending, told, fault, changed=False, log="")


def _take(
    row: HostRow, pending: Pending, step: str, fault: str, *, changed: bool, log: str
) -> None:
    if pending.remark:
        row.preloaded = not fault
        if fault:
            row.add_reason(f"not all images are there yet: {fault}")
        return
    if pending.mode in TAKING_BACK and not row.ok:
        row.stuck = bool(fault)
        if fault:
            row.reason = shorten(f"{row.reason}; undoing {step} failed: {fault}")
            return
        row.done = [name for name in row.done if name != step]
        row.rolled_back = not row.done
        return
    if fault and pending.mode == "check" and not row.ok:
        row.findings.append(shorten(f"{step} would fail: {fault}"))
    if fault:
        row.fail(step, fault, log)
        row.stuck = pending.mode in TAKING_BACK
        if pending.mode == "apply" and step in row.needs and step not in row.done:
            # It may have changed the host before it failed; undo knows what it did.
            row.done.append(step)
        return
    if pending.mode == "check":
        if changed and step in recipes.CONVERTING and step not in row.needs:
            row.needs.append(step)
        return
    row.step = step
    row.changed |= changed
    if pending.mode == "apply" and (changed or step in row.needs):
        # A step that ran twice for one push says of the second time that it changed nothing; its
        # host knows what this run did there, and takes back that alone.
        row.done.append(step)


def _tail(text: Any) -> str:
    plain = str(text or "").encode("ascii", "backslashreplace").decode()
    return plain[-TAIL_CHARS:]


def _last_lines(text: Any) -> str:
    return " ".join(str(text or "").strip().splitlines()[-3:])

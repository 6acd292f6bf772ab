# SPDX-License-Identifier: Apache-2.0
"""A recipe: steps that are run in order, up to the first that fails; all of them in a check."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.faults import LOG, SettingsError, StepFailed
from library.message import Message
from library.outcome import MODES, REASON_CHARS, REPORT_BYTES, outcome_of, work_of
from library.progress import Progress
from library.settings import with_defaults
from library.step import Step
from library.watchdog import supervise

# What makes a host trust somebody, or restarts its agent, is done over SSH by the operator alone.
SSH_ALONE = ("bring_wheels", "install_agent", "make_host_key")
FEW_ACTIONS = 10
ACTION_CHARS = 300
# Of the log, of a step that failed.
TAIL_CHARS = 1000
# What programs print of accounts: of addresses, of settings and of headers. It stays on the host.
SECRET = re.compile(
    r"(?P<address>://[^\s/:@]*:)[^\s/@]+(?=@)"
    r"|(?P<name>(?:passw(?:or)?d|passphrase|secret|token|credential|api_?key|authorization)\w*"
    r"[\"']?\s*[:=]\s*[\"']?(?:(?:basic|bearer)\s+)?)[^\s\"',;]+",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Part:
    """A step of a recipe: its name, what it does in the recipe's mode, and its settings."""

    name: str
    work: Callable[[Step], None]
    settings: dict[str, Any]


def parts_of(message: Message) -> list[Part]:
    """Return what a message asks for, checked as a whole before anything is begun.

    :raises StepFailed: naming the step that this host does not know, or the setting that misfits
    """
    if message.mode not in MODES:
        raise SettingsError(f"mode: must be one of {', '.join(MODES)}")
    if message.mode == "roll_back" and not message.run_id:
        raise SettingsError("run_id: is required to roll back, as it says which run")
    return [part_of(name, settings, message.mode) for name, settings in message.steps]


def part_of(name: str, settings: dict[str, Any], mode: str) -> Part:
    """Return one step of a recipe."""
    if name in SSH_ALONE:
        raise StepFailed(f"{name} is done over SSH by novadocker-enroll alone")
    # A step is a module of the package; of the library and the agent none is reached like this.
    if importlib.util.find_spec(f"configs.{name}") is None:
        raise StepFailed(f"this host knows no step {name}: see `novadocker-enroll update`")
    module = importlib.import_module(f"configs.{name}")
    if mode in ("apply", "check"):
        try:
            settings = with_defaults(settings, module.SETTINGS)
        except SettingsError as err:
            raise SettingsError(f"{name} {err}") from err
    return Part(name, work_of(mode, module.converge, getattr(module, "undo", None)), settings)


def run_recipe(
    message: Message, parts: list[Part], root: Path, log: str, progress: Progress
) -> dict[str, Any]:
    """Run the steps in order; return the report, with ``stopped`` when a signal ended it.

    :param log: name of the log file, for the report
    :param progress: is told when a step begins
    """
    deadline = time.monotonic() + message.timeout_s
    told: list[dict[str, Any]] = []
    report: dict[str, Any] = {"steps": told, "reason": "", "log": log}
    try:
        for number, part in enumerate(parts, 1):
            LOG.info("step %d of %d: %s, %s", number, len(parts), part.name, message.mode)
            progress.begins(number)
            begun = time.monotonic()
            outcome = outcome_of(functools.partial(run_part, message, part, root, deadline))
            seconds = round(time.monotonic() - begun, 1)
            LOG.info("%s: %s after %s s", part.name, outcome["reason"] or "ok", seconds)
            told.append(step_report(part.name, outcome, seconds, log, root))
            if not outcome["ok"]:
                report["reason"] = report["reason"] or told[-1]["reason"]
                stopped = bool(outcome.get("stopped"))
                # A check has no step build on the one before it: all that would fail is told.
                if message.mode != "check" or stopped or time.monotonic() >= deadline:
                    return {**report, "stopped": stopped}
    except InterruptedError:
        return {**report, "reason": "stopped by a signal before the end", "stopped": True}
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return report


def run_part(message: Message, part: Part, root: Path, deadline: float) -> dict[str, Any]:
    """Run one step in what is left of the recipe's time."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise StepFailed(f"the {message.timeout_s:g} s of the recipe were over before it began")
    step = Step(part.name, message.mode, part.settings, root, run_id=message.run_id)
    return supervise(step, part.work, left_s)


def step_report(
    name: str, outcome: dict[str, Any], seconds: float, log: str, root: Path
) -> dict[str, Any]:
    """Return what is told of one step, of one that failed with the end of the log."""
    tail = {} if outcome["ok"] else {"tail": log_tail(root / log.lstrip("/"))}
    return {
        **tail,
        "step": name,
        "ok": outcome["ok"],
        "changed": bool(outcome["actions"]),
        "reason": outcome["reason"][:REASON_CHARS],
        "actions": [action[:ACTION_CHARS] for action in outcome["actions"]],
        "facts": outcome["facts"],
        "seconds": seconds,
        "log": log,
    }


def log_tail(path: Path) -> str:
    """Return the last lines of a log without what looks like a secret, "" where there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - 4 * TAIL_CHARS))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    text = SECRET.sub(lambda match: f"{match['address'] or match['name']}***", text)
    return text[-TAIL_CHARS:].partition("\n")[2] if len(text) > TAIL_CHARS else text


def outputs_of(report: dict[str, Any]) -> dict[str, str]:
    """Return the outputs that Heat is told of a recipe."""
    steps, reason = report["steps"], report["reason"]
    ok = not reason and all(step["ok"] for step in steps)
    return {
        "deploy_result": "ok" if ok else "failed",
        "changed": "true" if any(step["changed"] for step in steps) else "false",
        "report": bounded({name: report[name] for name in report if name != "stopped"}),
    }


def bounded(report: dict[str, Any]) -> str:
    """Return a report as JSON text of at most 16 KB, shortening what is least needed first."""

    def too_long() -> bool:
        return len(json.dumps(report)) > REPORT_BYTES

    for step in report["steps"] if too_long() else ():
        more = len(step["actions"]) - FEW_ACTIONS
        if more > 0:
            step["actions"] = [*step["actions"][:FEW_ACTIONS], f"and {more} more, see the log"]
    for step in report["steps"]:
        if too_long():
            step.pop("tail", None)
    by_size = sorted(report["steps"], key=lambda step: -len(json.dumps(step["facts"])))
    for step in by_size:
        if too_long():
            step["facts"] = {"truncated": True}
    for step in report["steps"]:
        if too_long():
            step["actions"], step["reason"] = [], step["reason"][: REASON_CHARS // 10]
    return json.dumps(report)


def refused(reason: str) -> dict[str, Any]:
    """Return the report of a recipe of which nothing was begun."""
    return {"steps": [], "reason": reason[:REASON_CHARS], "log": ""}

# SPDX-License-Identifier: Apache-2.0
"""A step as a program: its inputs, its log, and the outcome that it always leaves."""

from __future__ import annotations

import json
import logging
import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from library.faults import LOG, SettingsError, StepFailed
from library.files import utc_stamp
from library.settings import with_defaults
from library.step import Step
from library.watchdog import supervise

MODES = ("apply", "check", "undo", "roll_back")
DEFAULT_TIMEOUT_S = 900
REPORT_BYTES = 16 * 1024
REASON_CHARS = 2000
LOGS_KEPT = 50


def run_step(
    name: str,
    schema: dict[str, Any],
    converge: Callable[[Step], None],
    undo: Callable[[Step], None] | None = None,
) -> None:
    """Run a step as its inputs say, write its outputs, and exit with 0 only when all went well.

    :param converge: makes the host as wanted; called for ``apply`` and for ``check``
    :param undo: takes back what the step recorded, in ``undo`` of all runs and in ``roll_back`` of
        this one (:attr:`Step.to_undo`); steps that change nothing have none
    """
    root = Path(os.environ.get("NOVADOCKER_ROOT", "/"))
    log = open_log(root, name)

    def done() -> dict[str, Any]:
        timeout_s, step = read_inputs(name, schema, root)
        return supervise(step, work_of(step.mode, converge, undo), timeout_s)

    outcome = outcome_of(done)
    write_outputs(outcome, log)
    sys.exit(0 if outcome["ok"] else 1)


def outcome_of(done: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the outcome of what is done; whatever keeps it from ending is its failure."""
    try:
        return done()
    except StepFailed as err:
        reason = str(err)
    except Exception as err:  # noqa: BLE001 - it is told as the outcome
        LOG.exception("the step broke")
        reason = f"the step broke: {err!r}"
    return {"ok": False, "reason": reason, "actions": [], "facts": {}}


def work_of(
    mode: str, converge: Callable[[Step], None], undo: Callable[[Step], None] | None
) -> Callable[[Step], None]:
    """Return what is to be done in a mode."""

    def take_back(step: Step) -> None:
        if mode == "roll_back":
            step.require_journal()
        if undo is None:
            step.note("this step changes nothing, so there is nothing to undo")
        elif mode == "roll_back" and not step.journal:
            step.note("this run changed nothing here")
        else:
            undo(step)
            step.forget()

    return take_back if mode in ("undo", "roll_back") else converge


def read_inputs(name: str, schema: dict[str, Any], root: Path) -> tuple[float, Step]:
    """Return the time limit and the step that the environment asks for."""
    inputs = dict(os.environ)
    mode = inputs.get("mode") or "apply"
    if mode not in MODES:
        raise SettingsError(f"mode: must be one of {', '.join(MODES)}")
    try:
        timeout_s = float(inputs.get("timeout_s") or DEFAULT_TIMEOUT_S)
    except ValueError as err:
        raise SettingsError("timeout_s: must be a number of seconds") from err
    if not timeout_s > 0:
        raise SettingsError("timeout_s: must be more than 0")
    try:
        settings = json.loads(inputs.get("settings") or "{}")
    except ValueError as err:
        raise SettingsError("settings: is not JSON") from err
    if mode in ("apply", "check"):
        settings = with_defaults(settings, schema)
    run_id = inputs.get("run_id") or ""
    if mode == "roll_back" and not run_id:
        raise SettingsError("run_id: is required to roll back, as it says which run")
    return timeout_s, Step(name, mode, settings, root, run_id=run_id or own_run_id())


def own_run_id() -> str:
    """Return an id for a step that no workflow pushed: its config's in Heat, else a new one."""
    outputs = dict(os.environ).get("heat_outputs_path")
    return Path(outputs).name if outputs else uuid.uuid4().hex


def open_log(root: Path, name: str) -> str:
    """Start this run's log file, drop the oldest ones, and return its name."""
    directory = root / "var/log/novadocker"
    directory.mkdir(parents=True, exist_ok=True, mode=0o750)
    for old in sorted(directory.glob("*.log"), key=lambda path: path.stat().st_mtime)[:-LOGS_KEPT]:
        old.unlink(missing_ok=True)
    path = directory / f"{name}-{utc_stamp()}.log"
    handler = logging.FileHandler(path)
    os.chmod(path, 0o600)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.DEBUG)
    return f"/var/log/novadocker/{path.name}"


def write_outputs(outcome: dict[str, Any], log: str) -> None:
    """Write the outputs where the hook looks for them, and one line for people."""
    outputs = {
        "deploy_result": "ok" if outcome["ok"] else "failed",
        "changed": "true" if outcome["actions"] else "false",
        "report": bounded_report(outcome, log),
    }
    prefix = dict(os.environ).get("heat_outputs_path")
    for name, text in outputs.items() if prefix else ():
        with os.fdopen(
            os.open(f"{prefix}.{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w"
        ) as handle:
            handle.write(text)
    print(json.dumps(outputs) if not prefix else f"{outputs['deploy_result']}; see {log}")
    if outcome["reason"]:
        print(outcome["reason"][:REASON_CHARS], file=sys.stderr)


def bounded_report(outcome: dict[str, Any], log: str) -> str:
    """Return the report as JSON text of at most 16 KB, shortening what is least needed first."""
    report: dict[str, Any] = {
        "reason": outcome["reason"][:REASON_CHARS],
        "actions": [action[:300] for action in outcome["actions"]],
        "facts": outcome["facts"],
        "log": log,
    }
    if len(json.dumps(report)) > REPORT_BYTES:
        more = len(report["actions"]) - 10
        report["actions"] = [*report["actions"][:10], f"and {more} more, see the log"]
    if len(json.dumps(report)) > REPORT_BYTES:
        report["facts"] = {"truncated": True}
    return json.dumps(report)

# SPDX-License-Identifier: Apache-2.0
"""What comes into this host's mailbox: refused, run once, or told again.

A message that was begun is on record before its first step, and its outcome after the last: one
that comes again is not run again. What a crash or a reboot interrupted is run once more, from its
first step, as each step goes on where it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from library import package
from library.faults import LOG, StepFailed
from library.files import replace_file, sync_directory
from library.message import (
    OPERATOR_KEYS,
    Message,
    begins_at,
    is_greeting,
    read_message,
    require_host,
    require_signature,
    require_time,
)
from library.outcome import open_log
from library.progress import Progress
from library.recipe import outputs_of, parts_of, refused, run_recipe
from library.records import STATE_DIRECTORY
from library.step import Step
from library.watchdog import locked

# The outcomes of messages that were run, until nobody can have them run again.
RAN = f"{STATE_DIRECTORY}/messages"
# Past a message's end, in case that this host's clock goes back.
KEPT_S = 7 * 24 * 3600
BEGINNINGS = 2
# What brings this host the package that other messages ask for.
INSTALL_PACKAGE = "install_package"

Outputs = dict[str, Any]


def answer(config: dict[str, Any], own: Path, root: Path = Path("/")) -> Outputs:
    """Do what a config of Heat asks for, if it is the operator's word; return the outputs.

    :param config: as heat-agents hand it to a hook
    :param own: the package that this program runs from
    """
    try:
        text = config.get("config")
        if is_greeting(text):
            hello = {**refused(""), "package": package.digest_of(own)}
            return outputs_of(hello)
        signature = next(
            (i.get("value") for i in config.get("inputs") or [] if i.get("name") == "signature"), ""
        )
        require_signature(str(text), signature, root / OPERATOR_KEYS.lstrip("/"))
        message = read_message(text)
        require_host(message, root)
        other = package_for(message, own, root)
        if other is not None:
            return handed_over(config, other)
        with turn(root):
            return run_once(message, root, str(text))
    except Interrupted as err:
        return outputs_of({**refused(str(err)), "begun": True})
    except StepFailed as err:
        return outputs_of(refused(str(err)))
    except Exception as err:  # noqa: BLE001 - it is told as the outcome: silence is waited for
        LOG.exception("this message could not be answered")
        reason = f"this host could not run the message: {err!r}"
        return outputs_of({**refused(reason), "begun": True})


class Interrupted(StepFailed):
    """A message is not run, or not again, and its steps may have been begun before that."""


def package_for(message: Message, own: Path, root: Path) -> Path | None:
    """Return the package that is to run a message, None when it is this one.

    :raises StepFailed: when the host has no such package
    """
    if [name for name, _ in message.steps] == [INSTALL_PACKAGE]:
        return None
    wanted = package.held(root, message.package)
    if wanted is not None:
        package.keep(wanted)
    if package.digest_of(own) == message.package:
        return None
    if wanted is None:
        raise StepFailed(
            f"this message was made for the package {message.package[:12]} of steps, and this host "
            f"has {package.digest_of(own)[:12]}: run `novadocker-enroll update {message.host}`"
        )
    return wanted


def handed_over(config: dict[str, Any], other: Path) -> Outputs:
    """Have another package of this host, which a message asks for, look at it and run it."""
    done = subprocess.run(
        [sys.executable, "-I", other, "message"],
        input=json.dumps(config),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        return dict(json.loads(done.stdout))
    except (TypeError, ValueError) as err:
        raise StepFailed(
            f"the package {other.name} ended with exit code {done.returncode} and no outcome"
        ) from err


@contextmanager
def turn(root: Path) -> Iterator[None]:
    """Run one message at a time; wait for what is under way."""
    path = root / "run/novadocker-message.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def alone(step: Step) -> Iterator[None]:
    """Do something while neither a message nor a step is under way; wait for what is.

    In this order, as a message takes the lock of steps again and again while it has its own.
    """
    with turn(step.root), locked(step):
        yield


def run_once(message: Message, root: Path, text: str) -> Outputs:
    """Run a message, unless it was run already: then tell its outcome again.

    :param text: of the message, to the letter
    :raises StepFailed: when it must not be begun
    """
    name = hashlib.sha256(message.push_id.encode(errors="replace")).hexdigest()
    record = root / RAN.lstrip("/") / f"{name}.json"
    before = recorded(record)
    if before.get("outputs"):
        return dict(before["outputs"])
    begun = int(before.get("begun") or 0)
    again = "the host went down while it ran this" if begun else ""
    if begun >= BEGINNINGS:
        raise Interrupted("the host went down twice while it ran this; it is not tried again")
    try:
        require_time(message, drop_old(record.parent))
        parts = parts_of(message)
    except StepFailed as err:
        if not again:
            raise
        raise Interrupted(f"{again}; now {err}") from err
    log = open_log(root, "-".join(dict.fromkeys(name for name, _ in message.steps))[:100])
    if again:
        LOG.warning("%s, and it is run once more", again)
    save(record, message, begun + 1, None)
    report = run_recipe(message, parts, root, log, Progress(root, text, message, log))
    outputs = outputs_of(report)
    if not report.get("stopped"):
        try:
            save(record, message, begun + 1, outputs)
        except OSError as err:
            # It is told all the same; should it come again, its steps find all done.
            LOG.error("that this message was run is not on record: %s", err)
    return outputs


def recorded(record: Path) -> dict[str, Any]:
    """Return what is on record of a message, {} when it never was begun."""
    try:
        return dict(json.loads(record.read_bytes()))
    except FileNotFoundError:
        return {}
    except (TypeError, ValueError) as err:
        raise Interrupted(
            f"{record} cannot be read ({err}), so it is not known whether this message was run: "
            "look at the host's log, remove that file, then run the workflow again"
        ) from err


def save(record: Path, message: Message, begun: int, outputs: Outputs | None) -> None:
    """Put on record that a message was begun, or how it ended."""
    record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = {
        "expires_at": message.expires_at,
        "begins_at": begins_at(message),
        "begun": begun,
        "outputs": outputs,
    }
    replace_file(record, json.dumps(data).encode(), 0o600)


def drop_old(place: Path) -> float:
    """Forget messages whose end is so long past that they are refused for that.

    :return: when the last of those that this host has run was made, 0 when it has run none; the
        record of that one stays
    """
    ends: dict[Path, tuple[float, float]] = {}
    for record in place.glob("*.json"):
        try:
            data = json.loads(record.read_bytes())
            ends[record] = (float(data["expires_at"]), float(data.get("begins_at") or 0))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            ends[record] = (record.stat().st_mtime, 0)
    newest = max(ends, key=lambda record: ends[record][::-1], default=None)
    for record, (end, _) in ends.items():
        if end + KEPT_S < time.time() and record != newest:
            record.unlink()
            sync_directory(place)
    return ends[newest][1] if newest else 0

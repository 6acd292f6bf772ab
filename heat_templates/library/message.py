# SPDX-License-Identifier: Apache-2.0
"""A message to this host: what it says, whether the operator has signed it, and for whom.

Whoever may write in the stacks' project of Heat can put any text into this host's mailbox. The
executor's side is novadocker_actions/cloud/messages.py.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.faults import StepFailed
from library.files import require_own
from library.step import clean_environment

FORMAT = 2
# Public keys (PEM) of those who may tell this host what to do; several while one is replaced.
OPERATOR_KEYS = "/etc/novadocker/operator.pub"
# The name that this host is enrolled by.
HOST_NAME = "/etc/novadocker/host.name"
PURPOSE = b"novadocker-message\n"
SALT_BYTES = 32
KEY_BLOCK = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n?", re.S)
NAME = re.compile(r"[a-z][a-z0-9_]*")
STEPS = 50
LONGEST_S = 24 * 3600
# How far the clocks of executor and host may be apart.
EARLY_S = 3600
# Messages do not always come in the order in which they are made.
ORDER_S = 120
KINDS: dict[str, tuple[type, ...]] = {
    "host": (str,),
    "push_id": (str,),
    "run_id": (str,),
    "mode": (str,),
    "expires_at": (int,),
    "timeout_s": (int, float),
    "package": (str,),
}


@dataclass(frozen=True)
class Message:
    """What a host is to do.

    :param push_id: names the message, so that it is run once
    :param run_id: the run that it is a part of, and that can be rolled back
    :param mode: of all its steps
    :param expires_at: seconds since the epoch after which it is not begun
    :param timeout_s: limit for all steps together
    :param package: SHA-256 of the package of steps that it was made for
    :param steps: names and settings, in the order in which they are run
    """

    host: str
    push_id: str
    run_id: str
    mode: str
    expires_at: int
    timeout_s: float
    package: str
    steps: tuple[tuple[str, dict[str, Any]], ...]


def is_greeting(text: Any) -> bool:
    """Return whether a text asks for nothing but an answer: what a new mailbox holds."""
    try:
        return bool(json.loads(text) == {"format": FORMAT, "steps": []})
    except (TypeError, ValueError, RecursionError):
        return False


def read_message(text: Any) -> Message:
    """Return what a text says.

    :raises StepFailed: when it is not a message of this format
    """
    try:
        given = json.loads(text)
    except (TypeError, ValueError, RecursionError) as err:
        raise StepFailed("this message is not JSON") from err
    if not isinstance(given, dict) or given.get("format") != FORMAT:
        raise StepFailed(
            f"this message is not of format {FORMAT}, the one that this host's package knows: run "
            "`novadocker-enroll update` for it with the executor's release"
        )
    for name, kinds in KINDS.items():
        if not isinstance(given.get(name), kinds) or isinstance(given[name], bool):
            raise StepFailed(f"this message has no {name} that can be used")
    steps = given.get("steps")
    if not isinstance(steps, list) or not 0 < len(steps) <= STEPS:
        raise StepFailed(f"this message does not list 1 to {STEPS} steps")
    if not given["push_id"] or not 0 < given["timeout_s"] <= LONGEST_S:
        raise StepFailed(f"this message has no push_id, or a timeout_s not within 0 to {LONGEST_S}")
    named = tuple(step_of(step) for step in steps)
    return Message(**{name: given[name] for name in KINDS}, steps=named)


def step_of(step: Any) -> tuple[str, dict[str, Any]]:
    """Return the name and the settings of one step of a message."""
    given = step if isinstance(step, dict) else {}
    name, settings = given.get("name"), given.get("settings")
    if not isinstance(name, str) or not NAME.fullmatch(name) or not isinstance(settings, dict):
        raise StepFailed("this message has a step without a name or settings")
    return name, settings


def require_signature(text: str, signature: Any, keys: Path) -> None:
    """Refuse a message that none of the operator's keys has signed (RSA-PSS, SHA-256).

    :param keys: file of the public keys, which only enrolment over SSH writes
    :raises StepFailed: naming what is to be done where the host is at fault
    """
    require_own(keys)
    blocks = KEY_BLOCK.findall(keys.read_text()) if keys.exists() else []
    if not blocks:
        raise StepFailed(
            f"this host has no key in {keys} to know the operator by: run `novadocker-enroll add` "
            "for it again"
        )
    if not signature:
        raise StepFailed("this message is not signed, and this host runs signed ones alone")
    try:
        given = base64.b64decode(str(signature), validate=True)
    except (binascii.Error, ValueError):
        given = b""
    try:
        # To the letter: nothing that reads otherwise may become what was signed.
        covered = PURPOSE + text.encode()
    except UnicodeEncodeError as err:
        raise StepFailed("this message is no text, so nobody has signed it") from err
    if not any(verified(block, covered, given) for block in blocks):
        raise StepFailed(
            f"this message is not signed by the operator, or was altered ({len(blocks)} keys in "
            f"{keys}): if it is the executor's, enrol this host again with its public key"
        )


def verified(key: str, text: bytes, signature: bytes) -> bool:
    """Return whether a signature of a text is a key's, in the words of openssl."""
    with tempfile.TemporaryDirectory(prefix="novadocker-") as folder:
        public, signed = Path(folder, "key"), Path(folder, "signature")
        public.write_text(key)
        signed.write_bytes(signature)
        options = ("rsa_padding_mode:pss", f"rsa_pss_saltlen:{SALT_BYTES}")
        command = ["openssl", "dgst", "-sha256", "-verify", str(public)]
        command += [word for option in options for word in ("-sigopt", option)]
        try:
            done = subprocess.run(
                [*command, "-signature", str(signed)],
                input=text,
                capture_output=True,
                check=False,
                env=clean_environment(),
            )
        except OSError as err:
            raise StepFailed("there is no openssl on this host: install the package openssl") from (
                err
            )
    return done.returncode == 0


def require_host(message: Message, root: Path) -> None:
    """Refuse a message that is for another host.

    :raises StepFailed: naming both
    """
    path = root / HOST_NAME.lstrip("/")
    require_own(path)
    name = path.read_text().strip() if path.exists() else ""
    if message.host != name:
        raise StepFailed(
            f"this message is for the host {message.host}, and this host is enrolled as "
            f"{name or 'nothing: run `novadocker-enroll add` for it'}"
        )


def require_time(message: Message, latest: float = 0) -> None:
    """Refuse a message whose end has come, by this host's clock or by what came after it.

    A clock that was set back would have a host believe what it was told long ago.

    :param latest: the last beginning of the messages that this host has run
    :raises StepFailed: with both times
    """
    now = time.time()
    if message.expires_at < now:
        raise StepFailed(
            f"this message expired at {utc(message.expires_at)}, and this host's clock shows "
            f"{utc(now)}: run the workflow again; if the message was new, set the clock"
        )
    if begins_at(message) > now + EARLY_S:
        raise StepFailed(
            f"this message is of {utc(begins_at(message))}, and this host's clock shows "
            f"{utc(now)}, so it cannot be told which messages are over: set the clock"
        )
    if message.expires_at < latest - ORDER_S:
        raise StepFailed(
            f"this message expired at {utc(message.expires_at)}, and this host has run one of "
            f"{utc(latest)} since: its clock, which shows {utc(now)}, was set back; set the clock "
            "and run the workflow again"
        )


def begins_at(message: Message) -> float:
    """Return when a message was made, in seconds since the epoch, or up to a minute later."""
    return message.expires_at - message.timeout_s


def utc(seconds: float) -> str:
    """Return a time for people."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} s"

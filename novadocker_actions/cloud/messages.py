# SPDX-License-Identifier: Apache-2.0
"""Messages to hosts: what a host is to do, signed so that only the executor can say it.

Whoever may write in the stacks' project can put anything into a host's mailbox. So a host runs a
message only when the executor's key has signed just this text, which names the host, the run, an
end and the package of steps that it was made with. The host's side is in heat_templates/library.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from oslo_config import cfg

from novadocker_actions import host_package

# The input that carries the signature is called as the output that carries a host's.
from novadocker_actions.cloud.host_keys import SIGNATURE as SIGNATURE
from novadocker_actions.errors import NovadockerError, Refused

# Heat's name for what runs a config: the hook of ours on hosts.
GROUP = "novadocker"
FORMAT = 2
MODES = ("apply", "check", "undo", "roll_back")

KEY_FILE = "/etc/novadocker/message.key"
KEY_BITS = 3072
MAKE_KEY = "novadocker-enroll make-key"
_HELP = f"See `{MAKE_KEY} --help`."
OPTIONS = (
    cfg.StrOpt(
        "message_key_file",
        default=KEY_FILE,
        help="Private key (RSA, PEM) that signs messages to hosts. Hosts were given its public "
        "half when they were enrolled. Readable by the executor's user alone.",
    ),
)
_OPTION_GROUP = "novadocker"
# Signatures of one kind are never good for another.
_PURPOSE = b"novadocker-message\n"
_SALT_BYTES = 32
_DIGEST_CHARS = 32
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n?", re.S)
# Group may read: a secret that is mounted into a container belongs to a group.
_NOT_FOR_KEYS = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
_KINDS: Mapping[str, tuple[type, ...]] = {
    "host": (str,),
    "push_id": (str,),
    "run_id": (str,),
    "mode": (str,),
    "expires_at": (int,),
    "timeout_s": (int, float),
    "package": (str,),
    "steps": (list,),
}


def compose(
    *,
    host: str,
    push_id: str,
    run_id: str,
    mode: str,
    expires_at: int,
    timeout_s: float,
    steps: Iterable[tuple[str, Mapping[str, Any]]],
) -> str:
    """Return the text of a message: one line of ASCII, the same for the same arguments.

    :param host: name that the host is enrolled by
    :param push_id: names this message; a host runs it once
    :param run_id: the run that changes the host; it can be rolled back
    :param mode: of all steps: ``apply``, ``check``, ``undo`` or ``roll_back``
    :param expires_at: seconds since the epoch after which the host does not begin with it
    :param timeout_s: limit for all steps together, in seconds; the host keeps it
    :param steps: names of host steps with their settings, in the order in which they are run
    """
    message = {
        "format": FORMAT,
        "host": host,
        "push_id": push_id,
        "run_id": run_id,
        "mode": mode,
        "expires_at": expires_at,
        "timeout_s": timeout_s,
        "package": host_package.digest(),
        "steps": [{"name": name, "settings": dict(settings)} for name, settings in steps],
    }
    return json.dumps(message, separators=(",", ":"), sort_keys=True)


def parse(text: str) -> dict[str, Any]:
    """Return what a message says; whether it is signed is another question.

    :raises NovadockerError: when it is not a message of this format
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise NovadockerError("A message to a host is not JSON.") from err
    if not isinstance(message, dict) or message.get("format") != FORMAT:
        raise NovadockerError(f"A message to a host is not of format {FORMAT}.")
    for name, kinds in _KINDS.items():
        value = message.get(name)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise NovadockerError(f"A message to a host has no {name} that can be used.")
    if message["mode"] not in MODES or not all(map(_is_step, message["steps"])):
        raise NovadockerError("A message to a host has a mode or a step that is none.")
    return message


def _is_step(step: Any) -> bool:
    return (
        isinstance(step, dict)
        and isinstance(step.get("name"), str)
        and isinstance(step.get("settings"), dict)
    )


def digest(text: str) -> str:
    """Return what tells a message from any other: hosts sign it with what they say of the message.

    :param text: from :func:`compose`, to the letter
    """
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARS]


def covered(text: str) -> bytes:
    """Return what the signature of a message covers.

    :param text: from :func:`compose`, to the letter
    """
    return _PURPOSE + text.encode()


def sign(text: str) -> str:
    """Return the executor's signature (RSA-PSS, SHA-256) of a message, as base64.

    :raises Refused: when the executor has no key that can be used
    """
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), _SALT_BYTES)
    signature = _executors_key().sign(covered(text), pss, hashes.SHA256())
    return base64.b64encode(signature).decode()


def is_own(text: str, signature: Any) -> bool:
    """Return whether a message is the executor's own, not what somebody has put in its place.

    :param text: from a mailbox
    :param signature: base64, from beside it
    :raises Refused: when the executor has no key that can be used
    """
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), _SALT_BYTES)
    public = _executors_key().public_key()
    try:
        given = base64.b64decode(str(signature), validate=True)
        public.verify(given, covered(text), pss, hashes.SHA256())
    except (ValueError, exceptions.InvalidSignature):
        return False
    return True


def _executors_key() -> rsa.RSAPrivateKey:
    cfg.CONF.register_opts(OPTIONS, _OPTION_GROUP)
    path = Path(cfg.CONF[_OPTION_GROUP].message_key_file)
    try:
        state = path.stat()
        if state.st_mode & _NOT_FOR_KEYS:
            raise _refusal(path, "can be read by others.", f"Run `chmod 600 {path}`.")
        return _loaded(path, state.st_mtime_ns)
    except OSError as err:
        raise _refusal(
            path,
            f"cannot be read by the Mistral executor: {err.strerror}.",
            f"Make it with `{MAKE_KEY}`, once, and copy it to all executors; then enrol the hosts "
            "again with `novadocker-enroll add`.",
        ) from err


def _refusal(path: Path, problem: str, remedy: str) -> Refused:
    return Refused(f"[{_OPTION_GROUP}] message_key_file {path}", problem, remedy)


@functools.lru_cache(maxsize=2)
def _loaded(path: Path, _changed_ns: int) -> rsa.RSAPrivateKey:
    # Reading a key proves it, which takes longer than to sign: so only when the file is another.
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as err:
        raise _refusal(path, "holds no private key in PEM.", _HELP) from err
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _refusal(path, "holds a key that is not RSA.", _HELP)
    return key


def public_file(path: Path) -> Path:
    """Return where the public half of a key file is."""
    return path.with_suffix(".pub")


def read_public(path: Path) -> str:
    """Return the public keys (PEM) of a file, as hosts are given them.

    :raises Refused: when there is none that can be used
    """
    try:
        text = path.read_text(encoding="ascii")
        keys = [serialization.load_pem_public_key(pem.encode()) for pem in _PEM.findall(text)]
    except FileNotFoundError as err:
        raise Refused(
            str(path),
            "is not there: hosts know by it whose messages they may run.",
            f"Make it with `{MAKE_KEY}` where the Mistral executor runs, or name it with "
            "--operator-key.",
        ) from err
    except (OSError, ValueError) as err:
        raise Refused(str(path), f"cannot be read: {err}.", _HELP) from err
    if not keys or not all(isinstance(key, rsa.RSAPublicKey) for key in keys):
        raise Refused(str(path), "holds no public RSA key in PEM.", _HELP)
    return "".join(f"{pem.strip()}\n" for pem in _PEM.findall(text))


def make_key(path: Path, uid: int = -1, gid: int = -1) -> str:
    """Make the executor's key and, beside it, the public half; return that half as PEM.

    :param path: of the private key
    :param uid: of the executor's user, -1 for the one that this runs as
    :param gid: of that user's group
    :raises Refused: when there is one: hosts believe it, and no other
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if path.exists():
        raise _there_already(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if uid != -1:
        # The place is also that of a host's own key, and root's; the executor has to get through.
        path.parent.chmod(path.parent.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
    public_file(path).write_bytes(public)
    public_file(path).chmod(0o644)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as draft:
        draft.write(private)
        draft.flush()
        os.fchown(draft.fileno(), uid, gid)
        os.fsync(draft.fileno())
        try:
            # Whole or not at all, and never in place of another.
            os.link(draft.name, path)
        except FileExistsError as err:
            raise _there_already(path) from err
    return public.decode()


def _there_already(path: Path) -> Refused:
    return Refused(
        str(path),
        "is there already, and enrolled hosts believe it.",
        "Keep it; to replace it, make one at another --file and enrol the hosts with both.",
    )

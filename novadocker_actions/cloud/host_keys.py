# SPDX-License-Identifier: Apache-2.0
"""The keys of hosts: where they are pinned, what is believed by them, and what is sealed to them.

Enrolment fetches each host's public key over SSH and writes it into a stack of its own beside the
pool's. Heat lets every reader of a project, and every agent, signal any deployment in it: so an
outcome is the host's word only where the host's pinned key says so.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
from collections.abc import Mapping
from typing import Any

from cryptography import exceptions
from cryptography.hazmat.primitives import ciphers, hashes, hmac, padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from heatclient.v1.client import Client as Heat

from novadocker_actions.errors import CloudError, NovadockerError

# Tag of the stacks that hold enrolled hosts, and of those that hold these hosts' keys.
STACK_TAG = "novadocker-hosts"
KEYS_TAG = "novadocker-keys"
# A pool's keys are in a stack that is called as the pool's, with this before it.
KEYS_PREFIX = "novadocker-keys-"
# In that stack: the handle through which hosts tell how far they have come.
PROGRESS = "progress"

# What a host's agent signs, beside the host's name, the push and its end.
SAID = ("deploy_result", "changed", "report")
SIGNATURE = "signature"
# heat_templates/library/outcome.py keeps reports to half of it.
REPORT_BYTES = 32 * 1024
_SALT_BYTES = 32
_PBKDF2_ROUNDS = 10_000


class HostKeys:
    """The pinned keys of all enrolled hosts, fetched when the first is asked for.

    :param heat: Heat's client
    """

    def __init__(self, heat: Heat) -> None:
        self._heat = heat

    def of(self, host: str) -> str:
        """Return a host's public key (DER, base64), "" where none is pinned."""
        return self._by_host.get(host, ("", ""))[0]

    def stack_of(self, host: str) -> str:
        """Return name and id, with a slash between, of the stack that pins it, "" for none."""
        return self._by_host.get(host, ("", ""))[1]

    @functools.cached_property
    def _by_host(self) -> dict[str, tuple[str, str]]:
        pools = self._heat.stacks.list(tags=STACK_TAG)
        names = {f"{KEYS_PREFIX}{pool.stack_name}" for pool in pools}
        keys: dict[str, tuple[str, str]] = {}
        for stack in self._heat.stacks.list(tags=KEYS_TAG):
            # The keys of a pool that is gone may name a host that is in another one now.
            if stack.stack_name in names:
                told = self._told_by(stack.identifier)
                keys.update({host: (key, stack.identifier) for host, key in told.items()})
        return keys

    def _told_by(self, identifier: str) -> dict[str, str]:
        try:
            shown = self._heat.stacks.output_show(identifier, "public_keys")
        except CloudError as err:
            # It goes at this moment, or pins no keys: that is nothing to other pools' hosts.
            if err.status != 404:
                raise
            return {}
        return dict(shown["output"].get("output_value") or {})


def document(host: str, push_id: str, text_digest: str, said: Mapping[str, Any]) -> bytes:
    """Return what the signature of an outcome covers.

    The host's side of it is ``signed`` in heat_templates/agent/outcomes.py. A host signs what it
    says of any text in its mailbox, so that it can tell why it runs none: therefore the text itself
    is covered, and not only the name that whoever wrote it has given it.

    :param host: name that the host is enrolled by
    :param push_id: the push that is answered
    :param text_digest: of the message, from :func:`novadocker_actions.cloud.messages.digest`
    :param said: the outputs
    """
    covered = ["novadocker-outcome", host, push_id, text_digest]
    covered += [said.get(name, "") for name in SAID]
    return json.dumps([str(part) for part in covered], separators=(",", ":")).encode()


def fault_of(public_key: str) -> str:
    """Return what is wrong with a host's public key, "" when nothing is.

    :param public_key: DER, base64
    """
    try:
        _loaded(public_key)
    except NovadockerError as err:
        return str(err)
    return ""


def is_signed(public_key: str, signature: Any, text: bytes) -> bool:
    """Return whether a text was signed (RSA-PSS, SHA-256) by the owner of a key.

    :param public_key: DER, base64
    :param signature: base64, from whoever sent it
    :param text: what was signed
    """
    pss = rsa_padding.PSS(rsa_padding.MGF1(hashes.SHA256()), _SALT_BYTES)
    try:
        given = base64.b64decode(str(signature), validate=True)
        _loaded(public_key).verify(given, text, pss, hashes.SHA256())
    except (binascii.Error, ValueError, exceptions.InvalidSignature):
        return False
    return True


def seal(secret: Mapping[str, Any], public_key: str) -> str:
    """Encrypt data for one host, which opens it with `openssl` alone.

    A random key, sealed by RSA-OAEP, makes a passphrase of AES-256-CBC and the key of an HMAC over
    what that gives: as ``unsealed`` in heat_templates/configs/upload_image.py takes it apart.

    :param secret: such as a token, and what it is for
    :param public_key: the host's pinned key: DER, base64
    :return: three base64 texts with dots between them
    """
    oaep = rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    key, salt = os.urandom(32), os.urandom(8)
    passphrase = _hmac(key, b"passphrase").hex().encode()
    drawn = PBKDF2HMAC(hashes.SHA256(), 48, salt, _PBKDF2_ROUNDS).derive(passphrase)
    padder = padding.PKCS7(128).padder()
    plain = padder.update(json.dumps(dict(secret)).encode()) + padder.finalize()
    cipher = ciphers.Cipher(ciphers.algorithms.AES(drawn[:32]), ciphers.modes.CBC(drawn[32:]))
    aes = cipher.encryptor()
    # The form of `openssl enc`.
    text = b"Salted__" + salt + aes.update(plain) + aes.finalize()
    parts = (_loaded(public_key).encrypt(key, oaep), text, _hmac(_hmac(key, b"tag"), text))
    return ".".join(base64.b64encode(part).decode() for part in parts)


def _hmac(key: bytes, text: bytes) -> bytes:
    total = hmac.HMAC(key, hashes.SHA256())
    total.update(text)
    return total.finalize()


@functools.lru_cache(maxsize=1024)
def _loaded(public_key: str) -> rsa.RSAPublicKey:
    try:
        key = serialization.load_der_public_key(base64.b64decode(public_key, validate=True))
    except (binascii.Error, ValueError, exceptions.UnsupportedAlgorithm) as err:
        raise NovadockerError("A host's pinned key cannot be read.") from err
    if not isinstance(key, rsa.RSAPublicKey):
        raise NovadockerError("A host's pinned key is no RSA key.")
    return key

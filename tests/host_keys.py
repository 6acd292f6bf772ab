# SPDX-License-Identifier: Apache-2.0
"""What a host does with its key, by another library than the one that hosts have."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import ciphers, hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC


def public_text(key: rsa.RSAPrivateKey) -> str:
    """Return a key's public half as it is pinned."""
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def sign(key: rsa.RSAPrivateKey, text: bytes) -> str:
    """Return a host's signature of a text."""
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return base64.b64encode(key.sign(text, pss, hashes.SHA256())).decode()


def unseal(key: rsa.RSAPrivateKey, sealed: str) -> dict[str, Any]:
    """Open what was sealed to a key."""
    wrapped, text, tag = (base64.b64decode(part) for part in sealed.split("."))
    secret = key.decrypt(
        wrapped, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    )
    total = hmac.HMAC(_hmac(secret, b"tag"), hashes.SHA256())
    total.update(text)
    total.verify(tag)
    passphrase = _hmac(secret, b"passphrase").hex().encode()
    drawn = PBKDF2HMAC(hashes.SHA256(), 48, text[8:16], 10_000).derive(passphrase)
    cipher = ciphers.Cipher(ciphers.algorithms.AES(drawn[:32]), ciphers.modes.CBC(drawn[32:]))
    aes = cipher.decryptor()
    plain = aes.update(text[16:]) + aes.finalize()
    return dict(json.loads(plain[: -plain[-1]]))


def _hmac(key: bytes, text: bytes) -> bytes:
    total = hmac.HMAC(key, hashes.SHA256())
    total.update(text)
    return total.finalize()

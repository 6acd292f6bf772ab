# SPDX-License-Identifier: Apache-2.0
"""Rows in as few bytes as they may take: Mistral keeps each field of an execution whole.

A few rows stay as they are, for who reads an execution. Those of a batch of hosts are one text,
about 200 bytes a host.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from typing import Any

# What is no longer than this stays as it is.
PLAIN_CHARS = 6_000
# What a batch of hosts may take, packed: with what else is in a field, that is below 64 KiB.
PACKED_CHARS = 36_000
_MARK = "zlib:"
_HASH_CHARS = 32


def pack(items: list[Any]) -> list[Any] | str:
    """Return a list as a workflow carries it: as it is, or as one text of ASCII.

    :param items: what JSON can hold
    """
    text = json.dumps(items, separators=(",", ":"))
    return items if len(text) <= PLAIN_CHARS else compressed(text)


def compressed(text: str) -> str:
    """Return a text of JSON, compressed.

    :param text: which :func:`unpack` reads then
    """
    return _MARK + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def hashed(text: str) -> str:
    """Return the hash of a text that is known by it, such as that of a page.

    :param text: what somebody else has put there may have half a surrogate in it
    """
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_HASH_CHARS]


def unpack(value: list[Any] | str) -> list[Any]:
    """Return a list from what :func:`pack` gave.

    :param value: a list, or a text
    """
    if not isinstance(value, str):
        return list(value)
    text = zlib.decompress(base64.b64decode(value.removeprefix(_MARK)))
    items: list[Any] = json.loads(text)
    return items

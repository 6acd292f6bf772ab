# SPDX-License-Identifier: Apache-2.0
"""What a run says of many hosts: packed in its executions, or in pages of which it has the names.

Pages are environments of Mistral's. Anybody in the project can alter these, so the name of one has
the hash of what the run has put into it, and another content is not shown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

from novadocker_client import readable
from novadocker_client.connection import MISTRAL, Cloud
from novadocker_client.errors import NotFound, asking

_MARK = "zlib:"
_HASH_CHARS = 32
# No page of a run is as large as this.
_MOST_BYTES = 16 * 1024 * 1024


def unpack(value: Any) -> Any:
    """Return a list from how a run carries it; what is no packed one is returned as it is.

    :param value: such as the rows in what a task has published
    """
    if not isinstance(value, str) or not value.startswith(_MARK):
        return value
    try:
        packed = base64.b64decode(value.removeprefix(_MARK), validate=True)
        return readable.loads(zlib.decompressobj().decompress(packed, _MOST_BYTES).decode())
    except (binascii.Error, zlib.error, ValueError):
        return []


def hashed(text: str) -> str:
    """Return what the name of a page ends with that has this text."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_HASH_CHARS]


def read(cloud: Cloud, name: str) -> list[Mapping[str, Any]]:
    """Return what is in a page.

    :param name: of an environment of Mistral's
    :raises NotFound: when it is gone, or is not what the run has put there
    """
    with asking(MISTRAL, f"show the environment {name}"):
        variables = cloud.mistral.environments.get(name).to_dict().get("variables")
    text = str(readable.mapping(variables).get("items"))
    if not name.endswith(f"-{hashed(text)}"):
        raise NotFound(
            MISTRAL, f"show the environment {name}", "it is not what the run has written"
        )
    items = unpack(text)
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []

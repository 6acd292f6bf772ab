# SPDX-License-Identifier: Apache-2.0
"""Secrets in what a run was given: Mistral and Heat keep all of it, and show it to the project."""

from __future__ import annotations

import re
from typing import Any

# A password in a URL (RFC 3986 calls it userinfo), as proxies, mirrors and package indexes have it.
_IN_URL = re.compile(r"://[^/?#\s]*:[^/?#\s]*@")
# Options of the engine's log drivers that are secrets: splunk-token, fluentd-shared-key, ...
_NAMES = re.compile(r"(^|[-_.])(token|password|passwd|secret|shared-key|access-key)s?$", re.I)


def place_of(value: Any, name: str = "") -> str:
    """Return where in something given a secret is, "" where none is seen.

    :param value: text, or lists and objects of it
    :param name: what it is called
    :return: names from the outermost, with dots between them
    """
    if isinstance(value, str):
        return name if value and (_IN_URL.search(value) or _NAMES.search(name)) else ""
    if isinstance(value, dict):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, list):
        parts = [(str(number), part) for number, part in enumerate(value)]
    else:
        return ""
    places = (place_of(part, f"{name}.{key}" if name else key) for key, part in parts)
    return next(filter(None, places), "")

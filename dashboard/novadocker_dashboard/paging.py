# SPDX-License-Identifier: Apache-2.0
"""A long list, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator

PARAMETER = "page"


def page(items: Sequence[Any], query: Mapping[str, str], size: int) -> Page:
    """Return the page that a query asks for, the nearest one where it asks for none that is.

    :param query: of the request
    :param size: how many items a page has
    """
    return Paginator(items, max(size, 1)).get_page(query.get(PARAMETER))


def kept(query: Mapping[str, str], *names: str) -> str:
    """Return these parameters of a query, for links that change another one."""
    given = {name: query[name] for name in names if query.get(name)}
    return f"{urlencode(given)}&" if given else ""

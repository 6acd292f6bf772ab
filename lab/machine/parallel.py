# SPDX-License-Identifier: Apache-2.0
"""The same work on many hosts at the same time."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def each(items: Iterable[Item], work: Callable[[Item], Answer]) -> list[Answer]:
    """Apply a function to every item, in threads, and return the results in the order of the items.

    All work ends before this returns; then the first item's error is raised, if any failed.
    """
    listed = list(items)
    if not listed:
        return []
    with concurrent.futures.ThreadPoolExecutor(len(listed)) as pool:
        futures = [pool.submit(work, item) for item in listed]
    return [future.result() for future in futures]

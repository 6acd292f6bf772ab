# SPDX-License-Identifier: Apache-2.0
"""Work that is done in another thread for the time that something else takes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def meanwhile(work: Callable[[], None], name: str) -> Iterator[None]:
    """Do some work in a thread while the body runs; wait for its end, and raise its exception.

    :param name: name of the thread
    """
    faults: list[BaseException] = []

    def do() -> None:
        try:
            work()
        except BaseException as err:  # noqa: BLE001 - raised again by the thread that waits
            faults.append(err)

    thread = threading.Thread(target=do, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if faults:
        raise faults[0]

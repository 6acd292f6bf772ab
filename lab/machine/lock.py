# SPDX-License-Identifier: Apache-2.0
"""One change of the lab at a time, whoever asks for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from lab.errors import LabError
from lab.settings import LabSettings


@contextlib.contextmanager
def held(settings: LabSettings, command: str) -> Iterator[None]:
    """Hold the lab's lock; it goes with this process, however that ends.

    :param command: what is done to the lab, for others that want to do something to it
    :raises LabError: while another process holds it
    """
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    with open(settings.cache_dir / "lock", "a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            other, _, pid = (handle.read() or "command ?").rpartition(" ")
            raise LabError(
                f"another '{other}' is at work on the lab (process {pid}): wait until it has ended"
                f" (tail --pid={pid} -f /dev/null), then repeat"
            ) from None
        handle.truncate(0)
        handle.write(f"{command} {os.getpid()}")
        handle.flush()
        yield

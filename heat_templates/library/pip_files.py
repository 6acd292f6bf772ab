# SPDX-License-Identifier: Apache-2.0
"""Files that pip reads: constraints and requirements, for as long as it runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def files(room: str | None, **lines: Iterable[str]) -> Iterator[str]:
    """Write files of these lines into a folder that is there for a while; yield its name.

    :param room: where the folder is made
    """
    with tempfile.TemporaryDirectory(prefix="novadocker-", dir=room) as folder:
        write(folder, **lines)
        yield folder


def write(folder: str, **lines: Iterable[str]) -> None:
    """Write files of these lines into a folder."""
    for name, content in lines.items():
        Path(folder, name).write_text("".join(f"{line}\n" for line in content))

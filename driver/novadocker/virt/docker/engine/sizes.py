# SPDX-License-Identifier: Apache-2.0
"""How much the engine writes when it writes out a container's files.

The engine writes holes of files as zeros, past any limit of the container's file system, so the
size that counts is the one that the files have, not the blocks that they occupy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

from novadocker import exceptions
from novadocker.virt.docker.engine import client, sandbox

# Most that a file takes besides of what is in it.
FILE_BYTES = 4096 + 1024


@dataclasses.dataclass(frozen=True)
class Size:
    """Bytes of a container's files.

    :param written_bytes: of those that are written out
    :param every_bytes: of all of them; None where ``written_bytes`` has what describes files, too
    """

    written_bytes: int
    every_bytes: int | None


class Sizes:
    """Measures containers.

    :param engine: asked for sizes, or for the files themselves
    """

    def __init__(self, engine: client.Engine) -> None:
        self._engine = engine

    def of(self, container_id: str, info: Mapping[str, Any], whole: bool, most: int) -> Size:
        """Return how large the files of a container are.

        :param info: the engine's answer to ``info``
        :param whole: whether those of its image are written out, too
        :param most: bytes above which counting may end
        :raises ImageRefused: the engine cannot tell
        """
        if sandbox.has_containerd_store(info):
            return Size(self._exported(container_id, most), None)
        written, every = self._listed(container_id)
        return Size(every if whole else written, every)

    def overhead(
        self, container_id: str, size: Size, directories: Iterable[str], left_bytes: int
    ) -> int:
        """Return the most that files take besides of what is in them: an inode, and a last block.

        The engine does not say how many files there are. They are no more than the file system
        has, or as many as an archive of them has headers.

        :param directories: where they are written to
        :param left_bytes: space that there is for them
        """
        if size.every_bytes is None:
            return 0
        bound = max(_used_files(directory) for directory in directories) * FILE_BYTES
        if size.written_bytes + bound <= left_bytes:
            return bound
        fitting = (left_bytes - size.written_bytes) // FILE_BYTES
        most = size.every_bytes + (fitting + 1) * tarfile.BLOCKSIZE
        headers = max(self._exported(container_id, most) - size.every_bytes, 0)
        return headers // tarfile.BLOCKSIZE * FILE_BYTES

    def _listed(self, container_id: str) -> tuple[int, int]:
        """Return the bytes that were written into a container, and those of all its files."""
        (listed,) = self._engine.call(
            "containers", all=True, size=True, filters={"id": [container_id]}, patient=True
        )
        # The engine leaves a size of 0 out. Of what it cannot measure, such as a path that is too
        # long for it, it says that -1 bytes were written, or leaves out both sizes.
        written, every = int(listed.get("SizeRw") or 0), int(listed.get("SizeRootFs") or 0)
        if written < 0 or every <= 0:
            raise exceptions.ImageRefused(
                "the engine cannot tell how large the instance's files are; its log says why"
            )
        return written, every

    def _exported(self, container_id: str, most: int) -> int:
        """Return the size of all files as the engine writes them, or some size above a limit.

        containerd's image store tells blocks, of which a hole has none.
        """
        size = 0
        with contextlib.closing(self._engine.stream("export", container_id)) as parts:
            for part in parts:
                size += len(part)
                if size > most:
                    break
        return size


def _used_files(directory: str) -> int:
    """Return how many files a file system has; very many where it does not count them."""
    counted = os.statvfs(directory)
    return counted.f_files - counted.f_ffree if counted.f_files else sys.maxsize

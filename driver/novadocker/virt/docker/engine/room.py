# SPDX-License-Identifier: Apache-2.0
"""Space for what the engine writes out of a container: a commit, or a copy of its files.

The engine writes holes of files as zeros, past any limit of the container's file system, so the
size that counts is the one that the files have, not the blocks that they occupy.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.engine import client, sandbox
from novadocker.virt.docker.host import resources

LOG = logging.getLogger(__name__)

# What stays free on the engine's file system where whoever asks can be refused.
RESERVE_BYTES = 512 << 20
# Where containerd keeps its data, unless the engine started it, below its own directory.
_CONTAINERD_ROOT = "/var/lib/containerd"


class Room:
    """Space where the engine keeps its data.

    :param root_directory: the engine's data directory, where it is not as the engine says
    """

    def __init__(self, engine: client.Engine, root_directory: str | None) -> None:
        self._engine = engine
        self._root_directory = root_directory
        self._warned: set[str] = set()

    def require(
        self,
        name: str,
        max_bytes: int | None = None,
        whole: bool = False,
        times: int = 1,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        """Make sure that the engine has the space to write out what is in a container.

        :param max_bytes: limit, however much is free; None for none
        :param whole: count the files of the container's image, too
        :param times: how often it is written out
        :param reserve_bytes: what has to stay free
        :raises ImageRefused: it is too much, or the engine cannot tell how much it is
        :raises NotFound: there is no container of that name
        :raises DriverError: how much is free cannot be told
        """
        container_id = self._engine.call("inspect_container", name)["Id"]
        info = self._engine.call("info")
        free = max(self._free(info) - reserve_bytes, 0)
        if sandbox.has_containerd_store(info):
            most = free // times if max_bytes is None else min(free // times, max_bytes)
            size = self._exported(container_id, most)
        else:
            size = self._listed(container_id, whole)
        told = f"the instance's files have {size} bytes, the holes in them included"
        if max_bytes is not None and size > max_bytes:
            raise exceptions.ImageRefused(
                f"{told}; [docker]max_image_size_gb allows {max_bytes}: shorten or delete some"
            )
        if size * times > free:
            raise exceptions.ImageRefused(
                f"{told}, they are to be written {times} times, and its host has space for "
                f"{free}: the operator has to make space where Docker keeps its data, unless a "
                "file is mostly a hole"
            )

    def _listed(self, container_id: str, whole: bool) -> int:
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
        return every if whole else written

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

    def _free(self, info: Mapping[str, Any]) -> int:
        directories = [self._root_directory or str(info["DockerRootDir"])]
        if sandbox.has_containerd_store(info) and os.path.isdir(_CONTAINERD_ROOT):
            directories.append(_CONTAINERD_ROOT)
        return min(map(self._free_in, directories))

    def _free_in(self, directory: str) -> int:
        try:
            seen = resources.nearest(directory)
            free = shutil.disk_usage(seen).free
        except OSError as err:
            raise exceptions.DriverError(
                f"how much is free in {directory}, where Docker keeps its data, cannot be told: "
                f"{err}; set [docker]root_directory to where nova-compute sees it"
            ) from err
        if seen != directory and directory not in self._warned:
            self._warned.add(directory)
            LOG.warning(
                "%(directory)s, where Docker keeps its data, is not to be seen by nova-compute: "
                "what is free is taken from %(seen)s. Set [docker]root_directory",
                {"directory": directory, "seen": seen},
            )
        return free

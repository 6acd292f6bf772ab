# SPDX-License-Identifier: Apache-2.0
"""Space for what the engine writes out of a container: a commit, or a copy of its files.

The engine writes holes of files as zeros, past any limit of the container's file system, so the
size that counts is the one that the files have, not the blocks that they occupy.
"""

import shutil

from novadocker import exceptions
from novadocker.virt.docker.engine import client

# What stays free on the engine's file system, whatever is written out.
RESERVE_BYTES = 512 << 20


def require(
    engine: client.Engine,
    container_id: str,
    root_directory: str | None,
    max_bytes: int | None,
    whole: bool,
) -> None:
    """Make sure that the engine has the space to write out what is in a container.

    :param root_directory: the engine's data directory, where it is not as the engine says
    :param max_bytes: limit, however much is free; None for none
    :param whole: count the files of the container's image, too
    :raises ImageRefused: it is too much
    """
    (listed,) = engine.call(
        "containers", all=True, size=True, filters={"id": [container_id]}, patient=True
    )
    size = int(listed.get("SizeRootFs" if whole else "SizeRw") or 0)
    if max_bytes is not None and size > max_bytes:
        raise exceptions.ImageRefused(
            f"the instance's files have {size} bytes, the holes in them included; "
            f"[docker]max_image_size_gb allows {max_bytes}: shorten or delete some"
        )
    root = root_directory or engine.call("info")["DockerRootDir"]
    free = shutil.disk_usage(root).free - RESERVE_BYTES
    if size > free:
        raise exceptions.ImageRefused(
            f"the instance's files have {size} bytes, the holes in them included, and its host "
            f"has space for {max(free, 0)}: shorten or delete some"
        )

# SPDX-License-Identifier: Apache-2.0
"""Space where the engine keeps its data, claimed before the engine writes there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.engine import client, sandbox
from novadocker.virt.docker.engine.sizes import Sizes
from novadocker.virt.docker.host import resources
from novadocker.virt.docker.host.space import LEDGER, RESERVE_BYTES, Claim

LOG = logging.getLogger(__name__)

# Where containerd keeps its data, unless the engine started it, below its own directory.
_CONTAINERD_ROOT = "/var/lib/containerd"


class Room:
    """Space where the engine keeps its data.

    :param root_directory: the engine's data directory, where it is not as the engine says
    """

    def __init__(self, engine: client.Engine, root_directory: str | None) -> None:
        self._engine = engine
        self._sizes = Sizes(engine)
        self._root_directory = root_directory
        self._warned: set[str] = set()

    def require(
        self, name: str, max_bytes: int | None = None, whole: bool = False, **asked: Any
    ) -> None:
        """Make sure that the engine has the space to write out what is in a container.

        The parameters are those of :meth:`reserve`, and so are the errors.
        """
        with self.reserve(name, max_bytes, whole, **asked):
            pass

    @contextlib.contextmanager
    def reserve(
        self,
        name: str,
        max_bytes: int | None = None,
        whole: bool = False,
        times: int = 1,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> Iterator[None]:
        """Keep the space free that the engine needs to write out what is in a container.

        :param max_bytes: limit, however much is free; None for none
        :param whole: count the files of the container's image, too
        :param times: how often it is written out
        :param reserve_bytes: what has to stay free
        :raises ImageRefused: it is too much, or the engine cannot tell how much it is
        :raises HostFull: there is no space for it
        :raises NotFound: there is no container of that name
        :raises DriverError: how much is free cannot be told
        """
        container_id = self._engine.call("inspect_container", name)["Id"]
        info = self._engine.call("info")
        most = max(self._left(info, reserve_bytes), 0) // times
        size = self._sizes.of(
            container_id, info, whole, most if max_bytes is None else min(most, max_bytes)
        )
        if max_bytes is not None and size.written_bytes > max_bytes:
            raise exceptions.ImageRefused(_too_much(size.written_bytes, max_bytes))
        told = _told(size.written_bytes)

        def refusal(left: int) -> str:
            return (
                f"{told}, they are to be written {times} times, and its host has space for "
                f"{left}: the operator has to make space where Docker keeps its data, unless a "
                "file is mostly a hole"
            )

        claims = self._claims(info, size.written_bytes * times, refusal, reserve_bytes)
        # Whatever has holes, or is too large, ends here: what follows may read all of it.
        with LEDGER.hold(*claims):
            pass
        overhead = 0
        # Where nothing has to stay free, an instance may be nowhere else.
        if reserve_bytes:
            overhead = self._sizes.overhead(
                container_id,
                size,
                [claim.directory for claim in claims],
                self._left(info, reserve_bytes) // times,
            )
        told = f"{told}, and take up to {overhead} more as they lie on a disk"
        for claim in claims:
            claim.size_bytes += overhead * times
        with LEDGER.hold(*claims):
            yield

    def whole_bytes(self, name: str, max_bytes: int) -> int:
        """Return the size of all files of a container, as they are written out.

        :raises ImageRefused: it is more than the limit, or the engine cannot tell
        :raises NotFound: there is no container of that name
        """
        container_id = self._engine.call("inspect_container", name)["Id"]
        size = self._sizes.of(container_id, self._engine.call("info"), True, max_bytes)
        if size.written_bytes > max_bytes:
            raise exceptions.ImageRefused(_too_much(size.written_bytes, max_bytes))
        return size.written_bytes

    @contextlib.contextmanager
    def reserve_bytes(self, size_bytes: int, what: str) -> Iterator[list[Claim]]:
        """Keep space free where the engine keeps its data, and yield the claims on it.

        :param what: what takes the space, for messages
        :raises HostFull: there is less
        :raises DriverError: how much is free cannot be told
        """

        def refusal(left: int) -> str:
            return (
                f"{what} takes {size_bytes} bytes where Docker keeps its data, and its host has "
                f"space for {left}: the operator has to make space there"
            )

        claims = self._claims(self._engine.call("info"), size_bytes, refusal, RESERVE_BYTES)
        with LEDGER.hold(*claims):
            yield claims

    def _claims(
        self,
        info: Mapping[str, Any],
        size_bytes: int,
        refusal: Callable[[int], str],
        reserve_bytes: int,
    ) -> list[Claim]:
        """Return a claim on each file system on which the engine keeps its data."""
        claims = {}
        for directory in self.directories(info):
            claim = Claim(directory, size_bytes, refusal, reserve_bytes)
            claims[claim.device] = claim
        return list(claims.values())

    def _left(self, info: Mapping[str, Any], reserve_bytes: int) -> int:
        return min(LEDGER.left(directory, reserve_bytes) for directory in self.directories(info))

    def directories(self, info: Mapping[str, Any]) -> list[str]:
        """Return where the engine keeps its data, as nova-compute sees it.

        :param info: the engine's answer to ``info``
        :raises DriverError: nova-compute does not see it
        """
        directories = [self._root_directory or str(info["DockerRootDir"])]
        if sandbox.has_containerd_store(info) and os.path.isdir(_CONTAINERD_ROOT):
            directories.append(_CONTAINERD_ROOT)
        return [self._seen(directory) for directory in directories]

    def _seen(self, directory: str) -> str:
        """Return a directory on the file system of another one that may be out of sight."""
        try:
            seen = resources.nearest(directory)
            shutil.disk_usage(seen)
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
        return seen


def _told(size_bytes: int) -> str:
    return f"the instance's files have {size_bytes} bytes, the holes in them included"


def _too_much(size_bytes: int, max_bytes: int) -> str:
    return (
        f"{_told(size_bytes)}; [docker]max_image_size_gb allows {max_bytes}: shorten or delete some"
    )

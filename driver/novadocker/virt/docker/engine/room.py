# SPDX-License-Identifier: Apache-2.0
"""Space on this host: for what the engine writes, and for images on their way to it and from it.

Of a container the engine writes holes of files as zeros, past any limit of the container's file
system, so the size that counts is the one that the files have, not the blocks that they occupy.
"""

import contextlib
import dataclasses
import os
import shutil
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.engine import client, sandbox
from novadocker.virt.docker.host import resources

LOG = logging.getLogger(__name__)

# What stays free on a file system where whoever asks can be refused.
RESERVE_BYTES = 512 << 20
# Most that a file takes besides of what is in it.
FILE_BYTES = 4096 + 1024
# Where containerd keeps its data, unless the engine started it, below its own directory.
_CONTAINERD_ROOT = "/var/lib/containerd"


@dataclasses.dataclass(eq=False)
class Claim:
    """Space that somebody is about to fill.

    :param directory: an existing directory of the file system
    :param refusal: returns the message of a refusal, from the bytes that are left
    :param reserve_bytes: what has to stay free besides
    :param measure: returns how much of it has been written; by default ``written_bytes`` says so
    :ivar written_bytes: how much of it has been written, and is not free any more
    """

    directory: str
    size_bytes: int
    refusal: Callable[[int], str]
    reserve_bytes: int = RESERVE_BYTES
    measure: Callable[[], int] | None = None
    written_bytes: int = 0
    device: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.device = os.stat(self.directory).st_dev

    @property
    def awaited_bytes(self) -> int:
        """Return how much of it is still to be written."""
        written_bytes = self.measure() if self.measure else self.written_bytes
        return max(self.size_bytes - written_bytes, 0)


class Ledger:
    """Claims of all threads of this process, by which no space is given away twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: list[Claim] = []

    def left(self, directory: str, reserve_bytes: int = RESERVE_BYTES) -> int:
        """Return the bytes that are free in a directory and neither reserved nor claimed."""
        with self._lock:
            return self._left(directory, reserve_bytes)

    @contextlib.contextmanager
    def hold(self, *claims: Claim) -> Iterator[None]:
        """Claim space on one or several file systems; all of it, or none.

        :raises HostFull: there is less
        """
        held: list[Claim] = []
        try:
            with self._lock:
                for claim in claims:
                    left = self._left(claim.directory, claim.reserve_bytes)
                    if claim.size_bytes > left:
                        raise exceptions.HostFull(claim.refusal(max(left, 0)))
                    self._claims.append(claim)
                    held.append(claim)
            yield
        finally:
            with self._lock:
                for claim in held:
                    self._claims.remove(claim)

    def _left(self, directory: str, reserve_bytes: int) -> int:
        device = os.stat(directory).st_dev
        awaited = sum(claim.awaited_bytes for claim in self._claims if claim.device == device)
        return shutil.disk_usage(directory).free - reserve_bytes - awaited


# The file systems are the host's, whoever writes to them.
LEDGER = Ledger()


class Room:
    """Space where the engine keeps its data.

    :param root_directory: the engine's data directory, where it is not as the engine says
    """

    def __init__(self, engine: client.Engine, root_directory: str | None) -> None:
        self._engine = engine
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
        size, every = self._sizes(
            container_id, info, whole, most if max_bytes is None else min(most, max_bytes)
        )
        if max_bytes is not None and size > max_bytes:
            raise exceptions.ImageRefused(_too_much(size, max_bytes))
        told = _told(size)

        def refusal(left: int) -> str:
            return (
                f"{told}, they are to be written {times} times, and its host has space for "
                f"{left}: the operator has to make space where Docker keeps its data, unless a "
                "file is mostly a hole"
            )

        claims = self._claims(info, size * times, refusal, reserve_bytes)
        # Whatever has holes, or is too large, ends here: what follows may read all of it.
        with LEDGER.hold(*claims):
            pass
        overhead = 0
        # Where nothing has to stay free, an instance may be nowhere else.
        if every is not None and reserve_bytes:
            left = self._left(info, reserve_bytes) // times
            overhead = self._overhead(container_id, claims, size, every, left)
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
        size, _every = self._sizes(container_id, self._engine.call("info"), True, max_bytes)
        if size > max_bytes:
            raise exceptions.ImageRefused(_too_much(size, max_bytes))
        return size

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

    def _sizes(
        self, container_id: str, info: Mapping[str, Any], whole: bool, most: int
    ) -> tuple[int, int | None]:
        """Return the bytes that are written out, and those of all files of the container.

        :param whole: whether all files are written out
        :param most: where counting may end
        :return: the second one is None where the first one has what describes the files in it
        """
        if sandbox.has_containerd_store(info):
            return self._exported(container_id, most), None
        written, every = self._listed(container_id)
        return (every if whole else written), every

    def _overhead(
        self, container_id: str, claims: list[Claim], size: int, every: int, left: int
    ) -> int:
        """Return the most that files take besides of what is in them: an inode, and a last block.

        The engine does not say how many there are. They are no more than the file system has, or
        as many as an archive of them has headers.

        :param size: of what is written out
        :param every: size of all files of the container
        :param left: space for what is written out
        """
        bound = max(_used_files(claim.directory) for claim in claims) * FILE_BYTES
        if size + bound <= left:
            return bound
        most = every + ((left - size) // FILE_BYTES + 1) * tarfile.BLOCKSIZE
        headers = max(self._exported(container_id, most) - every, 0)
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

    def _claims(
        self,
        info: Mapping[str, Any],
        size_bytes: int,
        refusal: Callable[[int], str],
        reserve_bytes: int,
    ) -> list[Claim]:
        """Return a claim on each file system on which the engine keeps its data."""
        claims = {}
        for directory in self._directories(info):
            claim = Claim(directory, size_bytes, refusal, reserve_bytes)
            claims[claim.device] = claim
        return list(claims.values())

    def _left(self, info: Mapping[str, Any], reserve_bytes: int) -> int:
        return min(LEDGER.left(directory, reserve_bytes) for directory in self._directories(info))

    def _directories(self, info: Mapping[str, Any]) -> list[str]:
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


def _told(size: int) -> str:
    return f"the instance's files have {size} bytes, the holes in them included"


def _too_much(size: int, max_bytes: int) -> str:
    return f"{_told(size)}; [docker]max_image_size_gb allows {max_bytes}: shorten or delete some"


def _used_files(directory: str) -> int:
    """Return how many files a file system has; very many where it does not count them."""
    counted = os.statvfs(directory)
    return counted.f_files - counted.f_ffree if counted.f_files else sys.maxsize

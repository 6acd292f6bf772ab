# SPDX-License-Identifier: Apache-2.0
"""Space on the host for images on their way between Glance and the engine."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator

from oslo_log import log as logging
from oslo_utils import fileutils

from novadocker import exceptions
from novadocker.virt.docker.host import space

LOG = logging.getLogger(__name__)

# The directory itself is none of a tenant's business.
_WHERE = "[docker]image_spool_dir of the host"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Spool:
    """A private directory of this nova-compute, below one that it may share with others.

    :param directory: the directory that may be shared
    :param host: name of this nova-compute's host
    """

    def __init__(self, directory: str, host: str) -> None:
        self.path = os.path.join(directory, "novadocker-" + re.sub(r"[^\w.-]", "_", host))

    def clean(self) -> None:
        """Delete files that a killed nova-compute of this host has left.

        :raises DriverError: the directory belongs to somebody else
        """
        self._ensure()
        for name in os.listdir(self.path):
            LOG.info("Deleting the left-over %s of an image transfer", name)
            shutil.rmtree(os.path.join(self.path, name), ignore_errors=True)

    @contextlib.contextmanager
    def lend(self) -> Iterator[str]:
        """Yield a temporary directory, which is deleted afterwards.

        :raises HostFull: the file system is full
        """
        self._ensure()
        with self._full_is_told(), tempfile.TemporaryDirectory(dir=self.path) as directory:
            yield directory

    @contextlib.contextmanager
    def promise(self, path: str, size_bytes: int) -> Iterator[None]:
        """Reserve space for a file that somebody else writes.

        :raises HostFull: less space is left
        """
        self._ensure()
        claim = space.Claim(
            self.path,
            size_bytes,
            lambda left: f"it has {size_bytes} bytes and {_WHERE} has {left} left",
            measure=lambda: os.path.getsize(path) if os.path.exists(path) else 0,
        )
        with space.LEDGER.hold(claim):
            yield

    def write(self, path: str, parts: Iterable[bytes], limit: int, what: str) -> None:
        """Write a file of parts whose total size is unknown.

        :param limit: most bytes
        :param what: name of the content, for messages
        :raises ImageRefused: the content exceeds the limit
        :raises HostFull: the content exceeds the space that is left
        """
        size = 0

        def refusal(_left: int) -> str:
            return f"there is no space for {what}: {_WHERE} is full after {size} bytes"

        with open(path, "wb") as out:
            for part in parts:
                if size + len(part) > limit:
                    raise exceptions.ImageRefused(
                        f"{what} has more than the {limit} bytes that [docker]max_image_size_gb "
                        "allows"
                    )
                with space.LEDGER.hold(space.Claim(self.path, len(part), refusal)):
                    out.write(part)
                    out.flush()
                size += len(part)

    def _ensure(self) -> None:
        fileutils.ensure_tree(self.path, mode=0o700)
        status = os.lstat(self.path)
        if os.path.islink(self.path) or status.st_uid != os.geteuid():
            raise exceptions.DriverError(
                f"{self.path} is not nova-compute's own directory: delete it, or set "
                "[docker]image_spool_dir to a place where others cannot make it"
            )

    @contextlib.contextmanager
    def _full_is_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            if err.errno not in _FULL:
                raise
            raise exceptions.HostFull(f"there is no space for it in {_WHERE}") from err

# SPDX-License-Identifier: Apache-2.0
"""The hosts file of an instance, which the engine makes on the host and mounts into containers."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence

from novadocker.privsep import ctx

# Where the engine has it: nothing else is written to.
_PATH = re.compile(r"(/[^/]+)+/containers/[0-9a-f]{64}/hosts")
# The instance may write into it, as much as it likes.
_MOST_BYTES = 64 << 10


@ctx.entrypoint
def set_own_addresses(path: str, name: str, addresses: Sequence[str]) -> bool:
    """Give an instance's own name other addresses in its hosts file.

    The file stays, as it is mounted; so do lines of other names, or of more than one name.

    :param path: of the file on the host, as the engine tells it
    :param name: host name of the instance
    :return: False where the name has these addresses
    :raises OSError: the file is not there, or is none of the engine's, or too large
    """
    if not _PATH.fullmatch(path):
        raise OSError(errno.EINVAL, "no hosts file of a container", path)
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no ordinary file", path)
    with open(descriptor, "r+b") as file:
        # Not by its size: the instance may add to it at any time.
        old = file.read(_MOST_BYTES + 1)
        if len(old) > _MOST_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {_MOST_BYTES} bytes", path)
        new = _with_addresses(old, name.encode(), [address.encode() for address in addresses])
        if new == old:
            return False
        file.seek(0)
        file.write(new)
        file.truncate()
    return True


def _with_addresses(content: bytes, name: bytes, addresses: Sequence[bytes]) -> bytes:
    wanted = [b"%s\t%s" % (address, name) for address in addresses]
    lines: list[bytes] = []
    place = None
    for line in content.splitlines():
        if line.split()[1:] == [name] and not line.startswith(b"#"):
            place = len(lines) if place is None else place
        else:
            lines.append(line)
    place = len(lines) if place is None else place
    return b"".join(line + b"\n" for line in [*lines[:place], *wanted, *lines[place:]])

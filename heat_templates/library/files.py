# SPDX-License-Identifier: Apache-2.0
"""Files of the host: read whole, and written so that a power cut leaves the old or the new."""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import os
import stat
import struct
import time
from pathlib import Path
from typing import Any

from library.faults import StepFailed

# Who may not write what root trusts.
OTHERS = stat.S_IWGRP | stat.S_IWOTH

# Of Linux: what asks for the attributes that chattr sets, and two of them.
GET_ATTRIBUTES = 0x80086601
IMMUTABLE, APPEND_ONLY = 0x10, 0x20


def file_state(path: Path) -> dict[str, Any] | None:
    """Return a file's content, mode and owner as JSON data; None when it is not there.

    A link is no file, and what it leads to is not read.
    """
    if path.is_symlink() or not path.exists():
        return None
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as handle:
        status, content = os.fstat(handle.fileno()), base64.b64encode(handle.read()).decode()
    owner = {"uid": status.st_uid, "gid": status.st_gid}
    return {"content": content, "mode": status.st_mode & 0o7777, **owner}


def sha256(state: dict[str, Any]) -> str:
    """Return the digest of the content in a file's recorded state."""
    return hashlib.sha256(base64.b64decode(state["content"])).hexdigest()


def replace_file(
    path: Path, data: bytes, mode: int, uid: int | None = None, gid: int | None = None
) -> None:
    """Write a file in one step: readers see the old text or the new one."""
    draft = path.with_name(f".{path.name}.novadocker")
    # Left by a power cut, or laid there by somebody who may write in this directory.
    draft.unlink(missing_ok=True)
    made = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY
    with os.fdopen(os.open(draft, made, 0o600), "wb") as handle:
        handle.write(data)
        handle.flush()
        copy_attributes(path, handle.fileno())
        os.fchown(handle.fileno(), -1 if uid is None else uid, -1 if gid is None else gid)
        # An access list says who may write as well: the mode that is wanted has the last word.
        os.fchmod(handle.fileno(), mode)
        os.fsync(handle.fileno())
    os.replace(draft, path)
    sync_directory(path.parent)


def refuse_unwritable(path: Path) -> None:
    """Refuse a file that not even root could write: by chattr, or where it would be.

    :raises StepFailed: naming what is in the way
    """
    place = next(part for part in path.parents if os.path.lexists(part))
    if not place.is_dir():
        raise StepFailed(f"{place} is no directory, which {path} needs: mend it, then repeat")
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        raise StepFailed(
            f"{path} cannot be written, as {place} is on a file system that is mounted read-only: "
            "mount it to be written, then repeat"
        )
    for item in (path, place):
        if attributes(item) & (IMMUTABLE | APPEND_ONLY):
            raise StepFailed(
                f"{item} is kept from changes by its attributes: `chattr -i -a {item}`, then repeat"
            )


def attributes(path: Path) -> int:
    """Return the attributes that chattr sets; 0 where the file system has none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        told = fcntl.ioctl(descriptor, GET_ATTRIBUTES, struct.pack("l", 0))
    except OSError:
        return 0
    finally:
        os.close(descriptor)
    return int(struct.unpack("l", told)[0])


def require_own(path: Path) -> None:
    """Refuse to trust a file that others than this user, who is root, can put there or change.

    :raises StepFailed: naming what others own or can write
    """
    for place in (path.parent, path):
        if not os.path.lexists(place):
            continue
        state = place.lstat()
        if stat.S_ISLNK(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & OTHERS:
            raise StepFailed(
                f"{place} is not root's alone, so what is in it is not trusted: see who changed "
                f"it, then `chown root: {place}` and `chmod go-w {place}`, and run "
                "`novadocker-enroll add` for this host again"
            )


def copy_attributes(source: Path, target: int) -> None:
    """Give an open file the extended attributes of another: its SELinux label, its access list."""
    try:
        for name in os.listxattr(source, follow_symlinks=False):
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False))
    except OSError as err:
        if err.errno not in (errno.ENOENT, errno.ENOTSUP, errno.EPERM):
            raise


def sync_directory(place: Path) -> None:
    """Make new, renamed and removed entries of a directory outlive a power cut."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def utc_stamp() -> str:
    """Return the time now, for names of files."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())

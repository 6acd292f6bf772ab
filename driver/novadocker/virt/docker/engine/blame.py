# SPDX-License-Identifier: Apache-2.0
"""Whose fault it is that the engine has not started a container: the image's, or the host's.

The engine answers alike, with 400 or with 500, where an image names a program that it does not
contain, and where a runtime is broken or a flavor asks for what the kernel does not take. Only what
is known to come from an image is blamed on it; Nova tries another host for all else.
"""

from __future__ import annotations

import re

# Of dockerd and of the runtimes runc, crun and runsc.
_OF_THE_IMAGE = re.compile(
    r"""
    (?<=container\ process:\ ) exec:\ ".*":\ .* | (?<=process\ caused:\ ) exec:\ ".*":\ .*
    | executable\ (file\ )? ["'`].*["'`]\ not\ found\ in\ \$PATH
    | .{0,200} exec\ format\ error
    | unable\ to\ find\ (user|group)\ .*
    | uids\ and\ gids\ must\ be\ in\ range\ .*
    | chdir\ to\ cwd\ .*
    | the\ working\ directory\ .*\ is\ invalid .*
    | cannot\ mkdir:\ .*\ is\ not\ a\ directory
    | lstat\ .*/merged/.*:\ not\ a\ directory
    """,
    re.IGNORECASE | re.VERBOSE,
)
# What the runtime itself said before is unknown: it may not have been there.
_OF_THE_RUNTIME = "unable to retrieve OCI runtime error"
# Where the engine has the container's file system on the host.
_ON_THE_HOST = re.compile(r"/\S*/merged(?=/)")


def of_the_image(told: str) -> str | None:
    """Return what is wrong with an image that could not be started; None if it is not the image.

    :param told: the engine's message
    :return: its part that is about the image, without paths of the host
    """
    if _OF_THE_RUNTIME in told:
        return None
    part = _OF_THE_IMAGE.search(told)
    if part is None:
        return None
    return _ON_THE_HOST.sub("", part[0].removesuffix(": unknown"))

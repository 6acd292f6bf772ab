# SPDX-License-Identifier: Apache-2.0
"""A client of the engine that loses nothing of what a command in a container prints.

That of docker reads headers through a buffer, and what follows them past it: what a quick command
has printed by the time that a slow client reads the headers is gone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import docker
import requests

_HEADER = struct.Struct(">BxxxL")


class _Api(docker.APIClient):  # type: ignore[misc]
    def _read_from_socket(
        self, response: requests.Response, stream: bool, tty: bool = True, demux: bool = False
    ) -> Iterator[bytes] | bytes:
        if tty or demux:
            raise NotImplementedError("no test asks for a terminal, or for its output in two parts")
        self._raise_for_status(response)
        parts = _parts(response)
        return parts if stream else b"".join(parts)


def _parts(response: requests.Response) -> Iterator[bytes]:
    raw: Any = response.raw
    reader = raw._fp.fp
    # A command may be silent for as long as it likes.
    reader.raw._sock.settimeout(None)
    while len(header := reader.read(_HEADER.size)) == _HEADER.size:
        _, size = _HEADER.unpack(header)
        yield reader.read(size)
    response.close()


class Client(docker.DockerClient):  # type: ignore[misc]
    """Docker's client otherwise.

    :param url: where the engine listens
    """

    def __init__(self, url: str, version: str = "auto", timeout_s: int = 60) -> None:
        self.api = _Api(base_url=url, version=version, timeout=timeout_s)

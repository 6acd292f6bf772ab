# SPDX-License-Identifier: Apache-2.0
"""A connection with the engine that both sides write to, after a request that asked for it."""

from __future__ import annotations

import contextlib
import socket
from typing import IO, Any

import requests

_CHUNK = 64 << 10


class Duplex:
    """What a terminal in a container says, and what it is told.

    One thread may read while another one writes or closes.

    :param response: the engine's answer, which has become the connection
    """

    def __init__(self, response: requests.Response) -> None:
        # Until it is closed the response must not be collected as garbage.
        self._response = response
        raw: Any = response.raw
        # The headers were read through it: it may have more than them already.
        self._reader: IO[bytes] = raw._fp.fp
        inner: Any = self._reader
        self._socket: socket.socket = inner.raw._sock
        # A terminal may be silent for as long as it likes.
        self._socket.settimeout(None)

    def read(self) -> bytes:
        """Return what has come, and wait where there is nothing; nothing at the end."""
        reader: Any = self._reader
        try:
            data: bytes = reader.read1(_CHUNK)
        except (OSError, ValueError):
            # The other thread has ended it.
            return b""
        return data

    def write(self, data: bytes) -> None:
        """Write all of it.

        :raises OSError: the connection has ended
        """
        self._socket.sendall(data)

    def end(self) -> None:
        """End the connection; whoever reads gets nothing more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, when nobody reads any more."""
        self.end()
        with contextlib.suppress(OSError):
            self._response.close()
        with contextlib.suppress(OSError):
            self._socket.close()

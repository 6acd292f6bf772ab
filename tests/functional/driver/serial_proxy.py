# SPDX-License-Identifier: Apache-2.0
"""Nova's own nova-serialproxy in this process, and a client of it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib import parse

from nova.console import websocketproxy
from websockify import websocket

# Of a test; what is awaited is there in a moment.
_DEADLINE_S = 30


class Proxy:
    """Takes connections as nova-serialproxy does, in threads and not in processes.

    Nova's database and messages are this process's own.

    :ivar refusals: why connections have ended
    """

    def __init__(self) -> None:
        self.refusals: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._server = websocketproxy.NovaWebSocketProxy(
            listen_host="127.0.0.1",
            listen_port=self.address[1],
            target_host="ignore",
            target_port="ignore",
            RequestHandlerClass=websocketproxy.NovaProxyRequestHandler,
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken = self._listener.accept()
                threading.Thread(target=self._serve, args=taken, daemon=True).start()

    def _serve(self, taken: socket.socket, peer: Any) -> None:
        with contextlib.closing(taken):
            try:
                self._server.do_handshake(taken, peer)
            except Exception as err:  # noqa: BLE001 - the client sees the end of the connection
                self.refusals.append(f"{type(err).__name__}: {err}")

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @contextlib.contextmanager
    def viewing(self, url: str) -> Iterator[Viewer]:
        """Connect as a browser would that was sent to a URL of Nova's."""
        host, port = self.address
        connection = _WebSocket(parse.urlsplit(url).query)
        connection.connect(f"ws://{host}:{port}/", protocols=["binary"])
        try:
            yield Viewer(connection)
        finally:
            # None is left of one that has ended.
            if connection.socket is not None:
                connection.socket.close()


class _WebSocket(websocket.WebSocket):
    """A connection to a URL with a query, which websockify leaves out."""

    def __init__(self, query: str) -> None:
        super().__init__()
        self._query = query

    def send_request(self, type: str, path: str) -> None:  # noqa: A002 - websockify's
        super().send_request(type, f"{path}?{self._query}")


class Viewer:
    """Somebody who looks at a console, and types."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        connection.socket.settimeout(_DEADLINE_S)
        self._shown = b""

    def type(self, text: str) -> None:
        """Type something."""
        self._connection.sendmsg(text.encode())

    def sees(self, text: str) -> str:
        """Return all that is shown, once there is some text in it.

        :raises AssertionError: the console has ended before
        """
        deadline = time.monotonic() + _DEADLINE_S
        while text.encode() not in self._shown:
            assert time.monotonic() < deadline, self._shown
            message = self._connection.recvmsg()
            assert message is not None, f"the console has ended: {self._shown!r}"
            self._shown += message
        return self._shown.decode()

    def is_hung_up(self) -> bool:
        """Return whether the console has ended; what is shown meanwhile is passed over."""
        try:
            while (message := self._connection.recvmsg()) is not None:
                self._shown += message
        except TimeoutError:
            return False
        except Exception:  # noqa: BLE001 - of websockify, where there was no handshake
            return True
        return True

# SPDX-License-Identifier: Apache-2.0
"""A Docker Engine's local socket, answered by canned JSON."""

from __future__ import annotations

import http.server
import json
import pathlib
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Answer = tuple[int, Any]
Answers = dict[tuple[str, str], Answer | Callable[[str], Answer]]


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def engine(path: pathlib.Path, answers: Answers) -> Iterator[list[str]]:
    """Serve answers by method and path (without its query); yield the list of requests.

    An answer that is a function is called with the query for what it answers.
    """
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            asked.append(f"{self.command} {self.path}")
            path, _, query = self.path.partition("?")
            answer = answers.get((self.command, path), (404, {"message": "no such thing"}))
            status, body = answer(query) if callable(answer) else answer
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            if isinstance(body, str):
                data = body.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def address_string(self) -> str:
            return "socket"

        def log_message(self, *args: Any) -> None:
            return

    with _Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()

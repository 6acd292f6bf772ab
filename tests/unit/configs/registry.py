# SPDX-License-Identifier: Apache-2.0
"""A registry on the loopback, and HTTP servers of its kind."""

from __future__ import annotations

import http.server
import json
import pathlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

DIGEST = "sha256:" + "d" * 64


@contextmanager
def serving(
    handler: type[http.server.BaseHTTPRequestHandler],
    certificate: tuple[pathlib.Path, pathlib.Path] | None = None,
    clients_of: pathlib.Path | None = None,
) -> Iterator[str]:
    """Serve HTTP on the loopback; yield host and port.

    :param certificate: for TLS, and its key
    :param clients_of: the authority of clients that are let in; all are without it
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            if clients_of:
                context.load_verify_locations(clients_of)
                context.verify_mode = ssl.CERT_REQUIRED
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


class Registry(http.server.BaseHTTPRequestHandler):
    """A registry with one image, which wants a token, as public registries do."""

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") != "Bearer good":
            realm = f'realm="{self.scheme}://{self.headers["Host"]}/token"'
            self._end(401, {"WWW-Authenticate": f'Bearer {realm},service="s",scope="pull"'})
        elif self.path == "/v2/org/app/manifests/1.2":
            self._end(200, {"Docker-Content-Digest": DIGEST})
        else:
            self._end(404, {})

    @property
    def scheme(self) -> str:
        return "https" if isinstance(self.connection, ssl.SSLSocket) else "http"

    def do_GET(self) -> None:
        granted = "service=s" in self.path and "scope=pull" in self.path
        self.give({"token": "good" if granted else "bad"})

    def give(self, answer: dict[str, str]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _end(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        return

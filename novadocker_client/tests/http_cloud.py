# SPDX-License-Identifier: Apache-2.0
"""The fake cloud on a port of this machine, with a Keystone: for whole commands."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from novadocker_client.tests.fake_cloud import FakeCloud


@contextmanager
def served(services: dict[str, str] | None = None) -> Iterator[FakeCloud]:
    """Serve a cloud while the block is run.

    :param services: those that the catalog has
    """

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {}
            if parts.path == "/v3/auth/tokens":
                status, answer = 201, {"token": cloud.token()}
                headers["X-Subject-Token"] = "a-token"
            elif parts.path.rstrip("/") == "/v3":
                link = {"rel": "self", "href": f"{cloud.url}/v3/"}
                status = 200
                answer = {"version": {"id": "v3.14", "status": "stable", "links": [link]}}
            else:
                status, answer = cloud.answer(
                    self.command, parts.path, dict(parse_qsl(parts.query)), body
                )
            text = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cloud = FakeCloud(services, f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def environment(cloud: FakeCloud) -> dict[str, str]:
    """Return the variables by which a client finds the cloud."""
    return {
        "OS_AUTH_URL": f"{cloud.url}/v3",
        "OS_USERNAME": "operator",
        "OS_PASSWORD": "a-password",
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": "RegionOne",
    }

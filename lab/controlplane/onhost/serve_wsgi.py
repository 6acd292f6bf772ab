# SPDX-License-Identifier: Apache-2.0
"""Serve one OpenStack API: import its WSGI module, listen, tell systemd when it answers.

serve_wsgi.py nova.wsgi.osapi_compute --port 8774 --prog nova-api
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

THREADS = 12


def main() -> None:
    """Read the command line and serve until systemd says stop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("module", help="module that has the WSGI application as 'application'")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--prog", required=True, help="the name under which it reads its options")
    args = parser.parse_args()
    # Services read their options from sys.argv and find their files by the program's name.
    sys.argv = [args.prog]
    # Neutron with OVN shares events among its workers, and asks their server how many there are.
    os.environ["ASGI_WORKERS"] = "1"
    application = importlib.import_module(args.module).application
    serve(application, args.port)


def keeping_connections(application: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an application that closes what it was sent: cheroot would lose the connection with it.

    Glance does so, and a client that keeps its connections sees the next request fail.
    """

    def serve_one(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environ["wsgi.input"].close = lambda: None
        return application(environ, start_response)

    return serve_one


def serve(application: Callable[..., Any], port: int) -> None:
    """Serve a WSGI application on all addresses."""
    # Nova refuses modules that were imported before it has set up its threads.
    from cheroot import wsgi

    # Keep-alive connections are held for longer than clients keep theirs in a pool unused.
    server = wsgi.Server(
        ("0.0.0.0", port),
        keeping_connections(application),
        numthreads=THREADS,
        request_queue_size=128,
        timeout=65,
    )
    server.prepare()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    notify("READY=1")
    try:
        server.serve()
    finally:
        server.stop()


def notify(state: str) -> None:
    """Tell systemd (``Type=notify``) how the service is."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(state.encode(), address)


if __name__ == "__main__":
    main()

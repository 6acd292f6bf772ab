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
from types import FrameType

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
    application = importlib.import_module(args.module).application
    serve(application, args.port)


def serve(application: object, port: int) -> None:
    """Serve a WSGI application on all addresses."""
    # Nova refuses modules that were imported before it has set up its threads.
    from cheroot import wsgi

    # Keep-alive connections are held for longer than clients keep theirs in a pool unused.
    server = wsgi.Server(
        ("0.0.0.0", port), application, numthreads=THREADS, request_queue_size=128, timeout=65
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

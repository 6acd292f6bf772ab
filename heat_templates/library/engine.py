# SPDX-License-Identifier: Apache-2.0
"""The Docker Engine of the host, over its socket."""

from __future__ import annotations

import grp
import http.client
import json
import socket
from typing import Any

from library.faults import StepFailed

# Where packages, and those who do without them, put the engine.
ENGINES = ("/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd")
DOCKER_SOCKET = "/run/docker.sock"


class SocketConnection(http.client.HTTPConnection):
    """HTTP over the Docker Engine's local socket."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.socket_path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.socket_path)


def docker_response(
    path: str,
    method: str = "GET",
    timeout_s: float | None = 30,
    headers: dict[str, str] | None = None,
) -> http.client.HTTPResponse:
    """Ask the Docker Engine and return the open response, for bodies that are streamed.

    :raises StepFailed: when the engine does not answer
    """
    connection = SocketConnection(DOCKER_SOCKET, timeout_s)
    try:
        connection.request(method, path, headers=headers or {})
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as err:
        raise StepFailed(f"the Docker Engine does not answer at {DOCKER_SOCKET}: {err}") from err


def engine_answers(path: str = "") -> bool:
    """Return whether an engine answers.

    :param path: of its socket, if it is not the host's own engine
    """
    connection = SocketConnection(path or DOCKER_SOCKET, 5)
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().read() == b"OK"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def docker(path: str, method: str = "GET", timeout_s: float = 30) -> Any:
    """Ask the Docker Engine; return its JSON answer, None when it has no such thing.

    :raises StepFailed: when the engine does not answer or refuses
    """
    response = docker_response(path, method, timeout_s)
    try:
        text = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as err:
        raise StepFailed(f"the Docker Engine did not finish its answer: {err}") from err
    if response.status == http.client.NOT_FOUND:
        return None
    if response.status >= http.client.BAD_REQUEST:
        raise StepFailed(f"the Docker Engine refused {method} {path.split('?')[0]}: {text[:300]}")
    return json.loads(text) if text.startswith(("{", "[")) else text


def group_members(name: str) -> list[str] | None:
    """Return who is in a group, None when there is no such group."""
    try:
        return list(grp.getgrnam(name).gr_mem)
    except KeyError:
        return None

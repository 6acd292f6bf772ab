# SPDX-License-Identifier: Apache-2.0
"""Terminals in running containers: that of the workload, or of a shell beside it."""

from __future__ import annotations

import contextlib
import re

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.engine import client, duplex

LOG = logging.getLogger(__name__)

# The first line is the shell's process id in the container, by which it is ended.
_SHELL = "echo $$; if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh"
_HANG_UP = 'kill -HUP "$0"'
# What nobody types: Ctrl-P, which is the engine's own, is the last command in a shell.
_DETACH_KEYS = "ctrl-_,ctrl-^,ctrl-_"
_ROWS, _COLUMNS = 24, 80
_PID_LINE = re.compile(rb"([1-9][0-9]{0,9})\r?\n")
_MOST_PID_BYTES = 16


class Terminal:
    """A terminal that somebody looks at.

    :param connection: with the engine
    :param said: what it has said already
    """

    def __init__(self, connection: duplex.Duplex, said: bytes = b"") -> None:
        self._connection = connection
        self._said = said

    def read(self) -> bytes:
        """Return what has come, and wait where there is nothing; nothing at the end."""
        said, self._said = self._said, b""
        return said or self._connection.read()

    def write(self, data: bytes) -> None:
        """Type something.

        :raises OSError: the terminal is gone
        """
        self._connection.write(data)

    def end(self) -> None:
        """End the connection; whoever reads gets nothing more."""
        self._connection.end()

    def close(self) -> None:
        """Close the connection, when nobody reads any more."""
        self._connection.close()


class _Shell(Terminal):
    """A terminal of a shell, which ends with it: the engine would let it run on."""

    def __init__(self, engine: client.Engine, name: str, connection: duplex.Duplex) -> None:
        line = connection.read()
        while b"\n" not in line and len(line) < _MOST_PID_BYTES and (more := connection.read()):
            line += more
        told = _PID_LINE.match(line)
        super().__init__(connection, line[told.end() :] if told else line)
        self._engine = engine
        self._name = name
        self._pid = told.group(1).decode() if told else None

    def close(self) -> None:
        """Close the connection, and hang up the shell."""
        super().close()
        if self._pid is None:
            return
        # Whatever number a hostile shell told, it is one of its container's, and of its user's.
        argv = ["sh", "-c", _HANG_UP, self._pid]
        with contextlib.suppress(exceptions.NotFound, exceptions.Conflict):
            identity = self._engine.call("exec_create", self._name, argv, workdir="/")["Id"]
            self._engine.call("exec_start", identity, detach=True)


class Terminals:
    """Opens terminals."""

    def __init__(self, engine: client.Engine) -> None:
        self._engine = engine

    def of_workload(self, name: str) -> Terminal:
        """Open the terminal of a workload that has one; all who look at it share it.

        :raises NotFound, EngineError: there is no such container, or it does not run
        """
        terminal = Terminal(self._engine.call("open_terminal", name, _DETACH_KEYS))
        with contextlib.suppress(exceptions.EngineError):
            # Programs take a window of no size for one of any.
            self._engine.call("resize", name, height=_ROWS, width=_COLUMNS)
        return terminal

    def of_shell(self, name: str) -> Terminal:
        """Start a shell in a container, as the user of its workload and with its limits.

        :raises NotFound, Conflict, EngineError: there is no such container, or it does not run
        """
        identity = self._engine.call(
            "exec_create",
            name,
            ["sh", "-c", _SHELL],
            tty=True,
            stdin=True,
            # The image's own directory may lead out of the container (CVE-2024-21626).
            workdir="/",
            detach_keys=_DETACH_KEYS,
        )["Id"]
        connection = self._engine.call("open_exec", identity)
        # It runs when it has said something.
        shell = _Shell(self._engine, name, connection)
        with contextlib.suppress(exceptions.EngineError):
            # Unless it has ended.
            self._engine.call("exec_resize", identity, height=_ROWS, width=_COLUMNS)
        return shell

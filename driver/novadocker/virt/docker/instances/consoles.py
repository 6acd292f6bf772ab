# SPDX-License-Identifier: Apache-2.0
"""Consoles that one can type into: a port of this host for each instance, while somebody may come.

nova-serialproxy checks a user's token, asks this host whether the port is still that of the
instance's console, and connects to it. Whoever else reaches the port is not let in: each time that
Nova asks for a console one connection is, within seconds, and only from where the option
console_proxies says. A port lives as long as a token for it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from nova.console import serial
from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.engine import names
from novadocker.virt.docker.engine.terminals import Terminal, Terminals

LOG = logging.getLogger(__name__)

# The proxy connects when it has the answer to its question.
ADMITTED_S = 30.0
# Each has a terminal, of which the host has some thousands for all.
MOST_VIEWERS = 4
# A viewer that reads nothing holds up the workload whose terminal it looks at.
_SEND_S = 30
_CHUNK = 64 << 10

Opener = Callable[[], Terminal]


class Consoles:
    """Opens consoles of instances, and closes them.

    :param conf: Nova's options
    """

    def __init__(self, conf: Any, terminals: Terminals) -> None:
        self._conf = conf
        self._terminals = terminals
        self._lock = threading.Lock()
        self._ports: dict[str, _Port] = {}

    def open(self, uuid: str, of_workload: bool) -> tuple[str, int]:
        """Let one connection to the console of an instance in, within seconds.

        :param of_workload: whether it is the workload's own terminal; otherwise that of a shell
        :return: address and port; the same port for as long as tokens for it live
        """
        name = names.workload_name(uuid)
        terminals = self._terminals
        opener = terminals.of_workload if of_workload else terminals.of_shell
        address = str(self._conf.serial_console.proxyclient_address)
        with self._lock:
            port = self._ports.get(uuid)
            if port is None or not port.expect(lambda: opener(name), self._lifetime_s):
                sources = self._conf.docker.console_proxies
                port = _Port(uuid, address, [ipaddress.ip_network(source) for source in sources])
                port.expect(lambda: opener(name), self._lifetime_s)
                port.start()
                self._ports[uuid] = port
            return address, port.number

    @property
    def _lifetime_s(self) -> float:
        return max(float(self._conf.consoleauth.token_ttl), ADMITTED_S)

    def close(self, uuid: str) -> None:
        """Close the console of an instance, and end all who look at it. Idempotent."""
        with self._lock:
            port = self._ports.pop(uuid, None)
        if port is not None:
            port.close()

    def close_all(self) -> None:
        """Close all consoles."""
        for uuid in list(self._ports):
            self.close(uuid)


class _Port:
    """A port of this host, and those who look at an instance through it.

    :param sources: where connections may come from; anywhere where there are none
    """

    def __init__(self, uuid: str, address: str, sources: Sequence[Any]) -> None:
        self._uuid = uuid
        self._address = address
        self._sources = sources
        self._lock = threading.Lock()
        self._admitted_until: list[float] = []
        self._closes_at = 0.0
        self._closed = False
        self._opener: Opener | None = None
        self._viewers: set[socket.socket] = set()
        self.number: int = serial.acquire_port(address)
        try:
            self._socket = socket.create_server((address, self.number))
        except OSError:
            serial.release_port(address, self.number)
            raise

    def start(self) -> None:
        """Begin to accept connections."""
        name = f"novadocker-console-{self._uuid}"
        threading.Thread(target=self._accept, name=name, daemon=True).start()

    def expect(self, opener: Opener, lifetime_s: float) -> bool:
        """Let one connection in.

        :param opener: opens the terminal that it sees
        :param lifetime_s: seconds until the port is closed, unless another one is expected
        :return: False where the port is closed
        """
        now = time.monotonic()
        with self._lock:
            self._opener = opener
            self._admitted_until = [
                *(until for until in self._admitted_until if until > now),
                now + ADMITTED_S,
            ][-MOST_VIEWERS:]
            self._closes_at = max(self._closes_at, now + lifetime_s)
            return not self._closed

    def close(self) -> None:
        """Accept nothing more, and end all who look."""
        with self._lock:
            self._closed = True
            viewers = list(self._viewers)
        # Whoever waits for a connection wakes up.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for viewer in viewers:
            _hang_up(viewer)

    def _accept(self) -> None:
        try:
            while (left_s := self._left_s()) > 0:
                self._socket.settimeout(left_s)
                try:
                    viewer, peer = self._socket.accept()
                except TimeoutError:
                    continue
                except OSError as err:
                    if not self._closed:
                        LOG.error("The console of %s is closed: %s", self._uuid, err)
                    break
                self._take(viewer, peer[0])
        finally:
            with self._lock:
                self._closed = True
            self._socket.close()
            serial.release_port(self._address, self.number)

    def _left_s(self) -> float:
        """Return the seconds until the port is closed; it is, where there are none."""
        with self._lock:
            left_s = 0.0 if self._closed else self._closes_at - time.monotonic()
            self._closed = left_s <= 0
            return left_s

    def _take(self, viewer: socket.socket, peer: str) -> None:
        opener = self._admitted(viewer, peer)
        if opener is None:
            LOG.warning("%s is not let in to the console of %s", peer, self._uuid)
            viewer.close()
            return
        LOG.info("%s looks at the console of %s", peer, self._uuid)
        name = f"novadocker-viewer-{self._uuid}"
        threading.Thread(target=self._show, args=(viewer, opener), name=name, daemon=True).start()

    def _admitted(self, viewer: socket.socket, peer: str) -> Opener | None:
        now = time.monotonic()
        with self._lock:
            self._admitted_until = [until for until in self._admitted_until if until > now]
            if self._closed or not self._admitted_until or len(self._viewers) >= MOST_VIEWERS:
                return None
            if self._sources and not any(
                ipaddress.ip_address(peer) in source for source in self._sources
            ):
                return None
            self._admitted_until.pop(0)
            self._viewers.add(viewer)
            return self._opener

    def _show(self, viewer: socket.socket, opener: Opener) -> None:
        try:
            with contextlib.closing(viewer):
                _prepare(viewer)
                _relay(viewer, opener)
        except OSError as err:
            LOG.info("A console of %s has ended: %s", self._uuid, err)
        except exceptions.DriverError as err:
            LOG.warning("A shell may be left in %s: %s", self._uuid, err)
        finally:
            with self._lock:
                self._viewers.discard(viewer)


def _prepare(viewer: socket.socket) -> None:
    viewer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    viewer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Acknowledged by nobody, and read by nobody.
    viewer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SEND_S * 1000)


def _relay(viewer: socket.socket, opener: Opener) -> None:
    """Show a terminal to a viewer until one of them ends."""
    try:
        terminal = opener()
    except exceptions.DriverError as err:
        viewer.sendall(f"There is no console at the moment: {err}\r\n".encode())
        return

    def type_in() -> None:
        with contextlib.suppress(OSError):
            while data := viewer.recv(_CHUNK):
                terminal.write(data)
        terminal.end()

    typing = threading.Thread(target=type_in, name="novadocker-typing", daemon=True)
    typing.start()
    try:
        while data := terminal.read():
            viewer.sendall(data)
    finally:
        terminal.end()
        _hang_up(viewer)
        typing.join()
        terminal.close()


def _hang_up(viewer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        viewer.shutdown(socket.SHUT_RDWR)

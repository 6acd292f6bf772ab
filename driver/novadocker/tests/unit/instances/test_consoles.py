# SPDX-License-Identifier: Apache-2.0
"""Consoles on ports of this machine, with terminals in memory."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from novadocker import exceptions
from novadocker.tests import make
from novadocker.virt.docker.engine import terminals
from novadocker.virt.docker.instances import consoles, wishes

UUID = "44444444-2222-4333-8444-555555555555"


class FakeTerminal:
    """A terminal that answers in capitals."""

    def __init__(self) -> None:
        self.output: queue.Queue[bytes] = queue.Queue()
        self.closed = threading.Event()

    def read(self) -> bytes:
        return self.output.get()

    def write(self, data: bytes) -> None:
        self.output.put(data.upper())

    def end(self) -> None:
        self.output.put(b"")

    def close(self) -> None:
        self.closed.set()


class Opened:
    """Terminals that were opened."""

    def __init__(self) -> None:
        self.shells: list[FakeTerminal] = []
        self.failing: Exception | None = None
        self.asked: list[str] = []

    def of_shell(self, name: str) -> FakeTerminal:
        if self.failing is not None:
            raise self.failing
        self.asked.append(name)
        self.shells.append(FakeTerminal())
        return self.shells[-1]

    def of_workload(self, name: str) -> FakeTerminal:
        return self.of_shell(f"the workload's own in {name}")


@pytest.fixture
def opened() -> Opened:
    return Opened()


@pytest.fixture
def served(conf: Any, opened: Any) -> Iterator[consoles.Consoles]:
    made = consoles.Consoles(conf, opened)
    yield made
    made.close_all()


@contextlib.contextmanager
def viewing(where: tuple[str, int]) -> Iterator[socket.socket]:
    with contextlib.closing(socket.create_connection(where, timeout=10)) as viewer:
        yield viewer


def is_refused(where: tuple[str, int]) -> bool:
    """Return whether a connection is closed at once, or was never open."""
    try:
        with viewing(where) as viewer:
            return viewer.recv(100) == b""
    except ConnectionError:
        return True


def test_what_is_typed_is_answered_and_a_viewer_who_leaves_ends_the_terminal(
    served: Any, opened: Opened
) -> None:
    where = served.open(UUID, False)
    with viewing(where) as viewer:
        viewer.sendall(b"ls\n")
        assert viewer.recv(100) == b"LS\n"
    assert opened.shells[0].closed.wait(10)
    assert opened.asked == [f"nova-{UUID}"]


def test_a_terminal_that_ends_ends_the_connection(served: Any, opened: Opened) -> None:
    with viewing(served.open(UUID, True)) as viewer:
        viewer.sendall(b"exit\n")
        assert viewer.recv(100) == b"EXIT\n"
        opened.shells[0].end()
        assert viewer.recv(100) == b""
    assert opened.asked == [f"the workload's own in nova-{UUID}"]


def test_the_port_stays_and_each_question_lets_one_in(served: Any) -> None:
    where = served.open(UUID, False)
    assert served.open(UUID, False) == where
    with viewing(where) as first, viewing(where) as other:
        for viewer in (first, other):
            viewer.sendall(b"x")
            assert viewer.recv(100) == b"X"
        assert is_refused(where)
        assert served.open(UUID, False) == where
        with viewing(where) as third:
            third.sendall(b"y")
            assert third.recv(100) == b"Y"


def test_nobody_is_let_in_long_after_nova_asked(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consoles, "ADMITTED_S", -1.0)
    assert is_refused(served.open(UUID, False))


def test_only_the_operators_proxies_are_let_in(served: Any, option: Any, opened: Opened) -> None:
    option("console_proxies", ["192.0.2.0/24", "2001:db8::1"])
    assert is_refused(served.open(UUID, False))
    served.close(UUID)
    option("console_proxies", ["192.0.2.0/24", "127.0.0.1"])
    with viewing(served.open(UUID, False)) as viewer:
        viewer.sendall(b"x")
        assert viewer.recv(100) == b"X"
    assert len(opened.shells) == 1


def test_viewers_of_an_instance_are_few(served: Any) -> None:
    with contextlib.ExitStack() as viewers:
        for _ in range(consoles.MOST_VIEWERS):
            viewer = viewers.enter_context(viewing(served.open(UUID, False)))
            viewer.sendall(b"x")
            assert viewer.recv(100) == b"X"
        assert is_refused(served.open(UUID, False))


def test_a_console_that_is_closed_ends_its_viewers_and_its_port(
    served: Any, opened: Opened
) -> None:
    where = served.open(UUID, False)
    with viewing(where) as viewer:
        viewer.sendall(b"x")
        assert viewer.recv(100) == b"X"
        served.close(UUID)
        assert viewer.recv(100) == b""
    assert opened.shells[0].closed.wait(10)
    assert is_refused(where)
    served.close(UUID)


def test_a_port_is_closed_when_no_token_for_it_lives(
    served: Any, monkeypatch: pytest.MonkeyPatch, conf: Any
) -> None:
    monkeypatch.setattr(consoles, "ADMITTED_S", 0.2)
    conf.set_override("token_ttl", 0, group="consoleauth")
    # Those of other tests may still be about to end.
    others = set(threading.enumerate())
    try:
        where = served.open(UUID, False)
        new = set(threading.enumerate()) - others
        (accepting,) = [thread for thread in new if thread.name == f"novadocker-console-{UUID}"]
        accepting.join(10)
        assert is_refused(where)
        monkeypatch.setattr(consoles, "ADMITTED_S", 10)
        with viewing(served.open(UUID, False)) as viewer:
            viewer.sendall(b"x")
            assert viewer.recv(100) == b"X"
    finally:
        conf.clear_override("token_ttl", group="consoleauth")


def test_a_viewer_is_told_why_there_is_no_terminal(served: Any, opened: Opened) -> None:
    opened.failing = exceptions.Conflict("Container is paused", 409)
    with viewing(served.open(UUID, False)) as viewer:
        assert viewer.recv(100) == b"There is no console at the moment: Container is paused\r\n"
        assert viewer.recv(100) == b""


class Said:
    """A connection with the engine that says parts of a text."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)
        self.close = mock.Mock()

    def read(self) -> bytes:
        return self.parts.pop(0) if self.parts else b""


@pytest.mark.parametrize(
    ("parts", "shown", "pid"),
    [
        ((b"17\r\n# ",), b"# ", "17"),
        ((b"1", b"7\r", b"\n", b"# "), b"# ", "17"),
        # There is no shell, or it is a hostile one.
        ((b"exec: sh: not found\r\n",), b"exec: sh: not found\r\n", None),
        ((b"-1\r\n",), b"-1\r\n", None),
        ((b"9" * 100, b"\r\n"), b"9" * 100, None),
        ((), b"", None),
    ],
)
def test_a_shell_is_hung_up_by_the_number_that_it_told(
    parts: tuple[bytes, ...], shown: bytes, pid: str | None, engine: Any, spawn: Any
) -> None:
    instance = spawn(make.instance())
    engine.terminal = Said(*parts)
    shell = terminals.Terminals(engine).of_shell(f"nova-{instance.uuid}")
    assert shell.read() == shown
    started = len(engine.execs)
    shell.close()
    engine.terminal.close.assert_called_once_with()
    assert [asked["argv"][-1] for asked in engine.execs[started:]] == ([pid] if pid else [])


@pytest.mark.parametrize(
    ("specs", "image", "tty", "kind"),
    [
        ({}, {}, False, "shell"),
        ({}, {}, True, "workload"),
        ({"docker:console": "shell"}, {}, True, "shell"),
        ({"docker:console": "workload"}, {}, False, "shell"),
        ({}, {"image_docker:console": "none"}, True, "none"),
        ({"docker:console": "none"}, {"image_docker:console": "shell"}, True, "none"),
        ({"docker:console": "vnc"}, {}, True, "none"),
    ],
)
def test_flavor_and_image_say_which_console_there_is(
    specs: dict[str, str], image: dict[str, str], tty: bool, kind: str
) -> None:
    instance = make.instance(system_metadata=image)
    instance.flavor = make.flavor(extra_specs=specs)
    assert wishes.console(instance, tty) == kind

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from nova.virt import event as virtevent

from novadocker import exceptions
from novadocker.tests.fake_engine import Events, FakeEngine
from novadocker.virt.docker.engine import containers, events, isolation, names
from novadocker.virt.docker.host.facts import HostFacts

STOPPED, STARTED, PAUSED = (
    virtevent.EVENT_LIFECYCLE_STOPPED,
    virtevent.EVENT_LIFECYCLE_STARTED,
    virtevent.EVENT_LIFECYCLE_PAUSED,
)


class Queue:
    """A stream of events that goes on until it is closed or told to break."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._items: list[Any] = []

    def put(self, item: Any) -> None:
        with self._ready:
            self._items.append(item)
            self._ready.notify()

    def close(self) -> None:
        self.put(None)

    def __iter__(self) -> Iterator[Any]:
        while True:
            with self._ready:
                while not self._items:
                    self._ready.wait()
                item = self._items.pop(0)
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item


class Once(dict[str, Exception]):
    """Faults that are raised once."""

    def __getitem__(self, verb: str) -> Exception:
        return self.pop(verb)


def message(uuid: str, action: str) -> dict[str, Any]:
    attributes = {f"{names.LABEL}uuid": uuid, "name": names.workload_name(uuid)}
    return {"Action": action, "Actor": {"Attributes": attributes}}


class Listener:
    """Notes what it is told.

    :ivar busy: how often Nova is busy with an instance that is frozen
    :ivar restarted: who is started again
    """

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.seen: list[Any] = []
        self.ends: list[tuple[str, int]] = []
        self.busy = 0
        self.restarted: set[str] = set()

    def is_restarted(self, uuid: str) -> bool:
        return uuid in self.restarted

    def changed(self, uuid: str, transition: int) -> None:
        self.heard.append((uuid, transition))

    def ended(self, uuid: str) -> Any:
        before = len(self.heard)
        return lambda: self.ends.append((uuid, len(self.heard) - before))

    def thawed(self, uuid: str) -> bool:
        self.seen.append(uuid)
        return len(self.seen) > self.busy

    def engine_lost(self, reason: str) -> None:
        self.seen.append(reason)

    def engine_found(self, is_new: bool) -> None:
        self.seen.append(is_new)


@pytest.fixture
def engine() -> FakeEngine:
    fake = FakeEngine()
    fake.add_image("image:x")
    fake.live_events = Queue()
    return fake


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def heard(listener: Listener) -> list[tuple[str, int]]:
    return listener.heard


@pytest.fixture
def watcher(
    engine: Any, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> Iterator[events.Watcher]:
    monkeypatch.setattr(events, "RECONNECT_S", (0.01,))
    monkeypatch.setattr(events, "LOOK_AGAIN_S", (0.05,))
    workloads = containers.Containers(engine, HostFacts("host"), isolation.Isolation(()))
    started = events.Watcher(engine, "host", workloads, listener)
    yield started
    started.stop()


def wait(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def add(engine: FakeEngine, uuid: str, status: str) -> None:
    labels = {
        f"{names.LABEL}{key}": value
        for key, value in (("uuid", uuid), ("host", "host"), ("role", "workload"))
    }
    engine._create_container("image:x", name=f"nova-{uuid}", labels=labels)
    engine._set(engine._find(f"nova-{uuid}"), status)


def test_events_of_workloads_are_told(engine: Any, watcher: Any, heard: Any) -> None:
    watcher.start()
    for action in ("start", "pause", "unpause"):
        engine.live_events.put(message("one", action))
    wait(lambda: len(heard) == 3)
    assert heard == [("one", STARTED), ("one", PAUSED), ("one", virtevent.EVENT_LIFECYCLE_RESUMED)]


def test_a_death_is_told_again_when_nova_may_have_been_busy(
    engine: Any, watcher: Any, heard: Any
) -> None:
    add(engine, "one", "exited")
    watcher.start()
    engine.live_events.put(message("one", "die"))
    wait(lambda: len(heard) == 2)
    assert heard == [("one", STOPPED)] * 2
    # When the transition was told.
    assert watcher._listener.ends == [("one", 1)]


def test_a_death_before_a_start_is_told_once(engine: Any, watcher: Any, heard: Any) -> None:
    add(engine, "one", "running")
    watcher.start()
    engine.live_events.put(message("one", "die"))
    engine.live_events.put(message("one", "start"))
    wait(lambda: len(heard) == 2)
    time.sleep(0.1)
    assert heard == [("one", STOPPED), ("one", STARTED)]


def test_who_is_started_again_by_the_engine_has_not_ended(
    engine: Any, watcher: Any, heard: Any
) -> None:
    add(engine, "one", "restarting")
    watcher._listener.restarted.add("one")
    watcher.start()
    engine.live_events.put(message("one", "die"))
    engine.live_events.put(message("one", "start"))
    wait(lambda: heard)
    assert heard == [("one", STARTED)]
    assert not watcher._timers
    assert watcher._listener.ends == []


def test_a_repeat_for_one_that_runs_again_or_is_gone_is_none(
    engine: Any, watcher: Any, heard: Any
) -> None:
    add(engine, "one", "running")
    watcher._look("one", 1)
    watcher._look("gone", 1)
    assert heard == []
    assert not watcher._timers


def test_a_death_is_told_until_nova_is_not_busy_any_more(
    engine: Any, watcher: Any, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_AGAIN_S", (0.01, 0.02, 0.03))
    add(engine, "one", "exited")
    engine.failing = Once(inspect_container=exceptions.EngineUnreachable("away"))
    watcher.start()
    engine.live_events.put(message("one", "die"))
    wait(lambda: len(heard) == 3)
    time.sleep(0.1)
    assert not engine.failing
    assert heard == [("one", STOPPED)] * 3


def test_who_is_gone_is_forgotten(engine: Any, watcher: Any, heard: Any) -> None:
    add(engine, "one", "exited")
    watcher.start()
    for action in ("die", "destroy", "start"):
        engine.live_events.put(message("one" if action != "start" else "two", action))
    wait(lambda: len(heard) == 2)
    assert set(watcher._known) == {"two"}
    assert not watcher._timers


def test_containers_that_were_put_aside_are_not_told_of(
    engine: Any, watcher: Any, heard: Any
) -> None:
    aside = message("one", "die")
    aside["Actor"]["Attributes"]["name"] = names.resized_name("one")
    watcher.start()
    engine.live_events.put(aside)
    engine.live_events.put(message("two", "start"))
    wait(lambda: heard)
    assert heard == [("two", STARTED)]


def test_who_was_left_frozen_is_looked_at_until_nova_is_not_busy_with_it(
    engine: Any, watcher: Any, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_AGAIN_S", (0.01, 0.01, 0.01, 0.01))
    listener.busy = 3
    add(engine, "one", "running")
    watcher.start()
    wait(lambda: watcher._known)
    engine._set(engine._find("nova-one"), "paused")
    engine.live_events.put(exceptions.EngineUnreachable("the engine died as it committed"))
    wait(lambda: listener.seen.count("one") == 2)
    time.sleep(0.1)
    # Not again, once it is told.
    assert listener.seen.count("one") == 2


def test_an_engine_that_is_away_is_told_once_and_so_is_its_return(
    engine: Any, watcher: Any, listener: Any
) -> None:
    watcher.start()
    wait(lambda: listener.seen == [False])
    engine.failing["version"] = exceptions.EngineUnreachable("refused")
    before = len(engine.calls)
    engine.live_events.put(exceptions.EngineUnreachable("broken off"))
    wait(lambda: engine.calls[before:].count("version") > 2 * events.LOST_AFTER)
    assert listener.seen == [False, "refused"]
    engine.failing.clear()
    wait(lambda: listener.seen == [False, "refused", False])


def test_an_engine_that_is_merely_restarted_is_not_away(
    engine: Any, watcher: Any, listener: Any
) -> None:
    watcher.start()
    for number in range(1, 8):
        wait(lambda: listener.seen == [False] * number)  # noqa: B023 - it is waited for here
        engine.live_events.put(exceptions.EngineUnreachable("broken off"))


def test_an_upgraded_engine_is_met_anew(
    engine: Any, watcher: Any, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.start()
    wait(lambda: listener.seen == [False])
    assert engine.forgotten == 0
    monkeypatch.setattr(engine, "_version", lambda: {"Version": "29.0.0", "ApiVersion": "1.52"})
    engine.live_events.put(exceptions.EngineUnreachable("broken off"))
    wait(lambda: listener.seen == [False, True])
    assert engine.forgotten == 1


def test_what_happened_while_nobody_listened_is_told(engine: Any, watcher: Any, heard: Any) -> None:
    add(engine, "one", "running")
    add(engine, "two", "running")
    watcher.start()
    wait(lambda: watcher._known)
    engine._set(engine._find("nova-one"), "exited")
    engine.live_events.put(exceptions.EngineUnreachable("the engine was restarted"))
    wait(lambda: heard)
    assert heard == [("one", STOPPED)]


def test_nothing_is_told_of_what_was_there_at_the_start(
    engine: Any, watcher: Any, heard: Any
) -> None:
    add(engine, "one", "exited")
    watcher.start()
    wait(lambda: watcher._known is not None)
    assert heard == []


def test_a_listener_that_fails_does_not_end_it(engine: Any, watcher: Any, heard: Any) -> None:
    def changed(uuid: str, transition: int) -> None:
        heard.append(uuid)
        raise ValueError(uuid)

    watcher._listener.changed = changed
    watcher.start()
    engine.live_events.put(message("one", "start"))
    engine.live_events.put({"Action": "start", "Actor": {"Attributes": {"name": "other"}}})
    engine.live_events.put(ValueError("a stream that makes no sense"))
    engine.live_events.put(message("two", "start"))
    wait(lambda: len(heard) == 2)


def test_stop_closes_the_stream(engine: Any, watcher: Any) -> None:
    engine.live_events = Events([message("one", "die")])
    watcher.start()
    wait(lambda: watcher._timers)
    watcher.stop()
    wait(lambda: not watcher._thread.is_alive())
    assert engine.live_events.closed

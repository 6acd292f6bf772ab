# SPDX-License-Identifier: Apache-2.0
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from nova.virt import event as virtevent

from novadocker import exceptions
from novadocker.tests.fake_engine import Events, FakeEngine
from novadocker.virt.docker.engine import containers, events, isolation
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


def message(uuid: str, action: str) -> dict[str, Any]:
    return {"Action": action, "Actor": {"Attributes": {f"{containers.LABEL}uuid": uuid}}}


@pytest.fixture
def engine() -> FakeEngine:
    fake = FakeEngine()
    fake.add_image("image:x")
    fake.live_events = Queue()
    return fake


@pytest.fixture
def heard() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def watcher(engine: Any, heard: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[events.Watcher]:
    monkeypatch.setattr(events, "RECONNECT_S", (0.01,))
    monkeypatch.setattr(events, "REPEAT_S", 0.05)
    workloads = containers.Containers(engine, HostFacts("host"), isolation.Isolation(()))
    found = events.Watcher(
        engine, "host", workloads, lambda uuid, transition: heard.append((uuid, transition))
    )
    yield found
    found.stop()


def wait(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def add(engine: FakeEngine, uuid: str, status: str) -> None:
    labels = {
        f"{containers.LABEL}{key}": value
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


def test_a_death_before_a_start_is_told_once(engine: Any, watcher: Any, heard: Any) -> None:
    add(engine, "one", "running")
    watcher.start()
    engine.live_events.put(message("one", "die"))
    engine.live_events.put(message("one", "start"))
    wait(lambda: len(heard) == 2)
    time.sleep(0.1)
    assert heard == [("one", STOPPED), ("one", STARTED)]


def test_a_repeat_for_one_that_runs_again_or_is_gone_is_none(
    engine: Any, watcher: Any, heard: Any
) -> None:
    add(engine, "one", "running")
    watcher._repeat("one")
    watcher._repeat("gone")
    assert heard == []


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
    def emit(uuid: str, transition: int) -> None:
        heard.append(uuid)
        raise ValueError(uuid)

    watcher._emit = emit
    watcher.start()
    engine.live_events.put(message("one", "start"))
    engine.live_events.put({"Action": "start", "Actor": {"Attributes": {}}})
    engine.live_events.put(ValueError("a stream that makes no sense"))
    engine.live_events.put(message("two", "start"))
    wait(lambda: len(heard) == 2)


def test_stop_closes_the_stream(engine: Any, watcher: Any) -> None:
    engine.live_events = Events([message("one", "die")])
    watcher.start()
    wait(lambda: watcher._repeats)
    watcher.stop()
    wait(lambda: not watcher._thread.is_alive())
    assert engine.live_events.closed

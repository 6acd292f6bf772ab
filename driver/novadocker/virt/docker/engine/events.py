# SPDX-License-Identifier: Apache-2.0
"""The engine's events become Nova's, so that the end of a container is noticed at once.

Without events Nova compares states every ten minutes (``sync_power_state_interval``). Whoever
listens learns as well that the engine is away, is back, and is another one than before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from nova.virt import event as virtevent
from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.engine import client, containers, names

LOG = logging.getLogger(__name__)

TRANSITIONS = {
    "start": virtevent.EVENT_LIFECYCLE_STARTED,
    "unpause": virtevent.EVENT_LIFECYCLE_RESUMED,
    "pause": virtevent.EVENT_LIFECYCLE_PAUSED,
    "die": virtevent.EVENT_LIFECYCLE_STOPPED,
}
_BY_STATE = {
    containers.State.RUNNING: virtevent.EVENT_LIFECYCLE_STARTED,
    containers.State.PAUSED: virtevent.EVENT_LIFECYCLE_PAUSED,
    containers.State.STOPPED: virtevent.EVENT_LIFECYCLE_STOPPED,
}
RECONNECT_S = (0.5, 1, 2, 5, 10, 30)
# Failures in a row after which the engine is away, and not merely restarted.
LOST_AFTER = 4
# Nova ignores events while it works on an instance: what it may have missed is looked at again,
# until its own comparison of states is due.
LOOK_AGAIN_S = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)


class Listener(Protocol):
    """Who is told what happens to the engine and its containers; its faults are only logged."""

    def changed(self, uuid: str, transition: int) -> None:
        """Take one of Nova's transitions of an instance."""

    def is_restarted(self, uuid: str) -> bool:
        """Return whether the engine is about to start a workload again that has ended."""

    def ended(self, uuid: str) -> Callable[[], None] | None:
        """Take note that a workload has ended, before it is told as a transition.

        :return: what is to be done when it was told
        """

    def thawed(self, uuid: str) -> bool:
        """Unfreeze an instance that nobody wants frozen.

        :return: False where that cannot be told yet
        """

    def engine_lost(self, reason: str) -> None:
        """Take note that the engine does not answer."""

    def engine_found(self, is_new: bool) -> None:
        """Take note that the engine answers.

        :param is_new: whether it is of another version than before
        """


class Watcher:
    """A thread that follows the engine's events about this host's workloads."""

    def __init__(
        self,
        engine: client.Engine,
        host: str,
        workloads: containers.Containers,
        listener: Listener,
    ) -> None:
        self._engine = engine
        self._host = host
        self._workloads = workloads
        self._listener = listener
        self._stopped = threading.Event()
        self._stream: Any = None
        self._known: dict[str, containers.State] | None = None
        self._timers: dict[str, threading.Timer] = {}
        self._failures = 0
        self._version: tuple[str, str] | None = None
        self._thread = threading.Thread(target=self._run, name="novadocker-events", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, as soon as the engine sends anything or closes the connection."""
        self._stopped.set()
        for timer in list(self._timers.values()):
            timer.cancel()
        stream = self._stream
        if stream is not None:
            stream.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except exceptions.EngineError as err:
                if self._stopped.is_set():
                    return
                LOG.warning("Docker's events are not heard at the moment: %s", err)
                self._failures += 1
                if self._failures == LOST_AFTER:
                    self._tell(self._listener.engine_lost, str(err))
            except Exception:
                LOG.exception("Docker's events could not be followed")
            self._stopped.wait(RECONNECT_S[min(self._failures, len(RECONNECT_S) - 1)])

    def _follow(self) -> None:
        is_new = self._meet()
        filters = {
            "type": "container",
            "event": [*TRANSITIONS, "destroy"],
            "label": [
                f"{names.LABEL}host={self._host}",
                f"{names.LABEL}role={names.Role.WORKLOAD.value}",
            ],
        }
        self._stream = self._engine.call("events", decode=True, filters=filters, patient=True)
        # Changes from before the stream was open; later ones come through it.
        self._catch_up()
        self._failures = 0
        self._tell(self._listener.engine_found, is_new)
        for message in self._stream:
            if self._stopped.is_set():
                return
            attributes = message["Actor"]["Attributes"]
            uuid = attributes.get(f"{names.LABEL}uuid")
            # Containers that were put aside by a resize or a rescue have other names.
            if uuid and attributes.get("name") == names.workload_name(uuid):
                self._take(uuid, message["Action"])

    def _meet(self) -> bool:
        """Return whether the engine is of another version than before.

        The answer to ``events`` would not tell: the SDK takes a refused version for an event.
        """
        answer = self._engine.call("version")
        version = (answer["Version"], answer["ApiVersion"])
        is_new = self._version not in (None, version)
        if is_new:
            LOG.warning("Docker Engine was replaced: it is %s now, with API %s", *version)
            self._engine.forget()
        self._version = version
        return is_new

    def _catch_up(self) -> None:
        states = self._workloads.states_by_uuid()
        for uuid, state in states.items():
            if self._known is not None and self._known.get(uuid) is not state:
                self._send(uuid, _BY_STATE[state])
            if state is containers.State.PAUSED:
                # Perhaps by a commit that the engine did not live to end.
                self._look_again(uuid)
        self._known = states

    def _take(self, uuid: str, action: str) -> None:
        known = self._known if self._known is not None else {}
        pending = self._timers.pop(uuid, None)
        if pending is not None:
            pending.cancel()
        if action == "destroy":
            known.pop(uuid, None)
            return
        if action == "die" and self._tell(self._listener.is_restarted, uuid):
            # For Nova it has not ended.
            return
        known[uuid] = {
            "pause": containers.State.PAUSED,
            "die": containers.State.STOPPED,
        }.get(action, containers.State.RUNNING)
        then = None
        if action == "die":
            self._look_again(uuid)
            # By the transition Nova begins to stop the instance, as if somebody had asked for it.
            then = self._tell(self._listener.ended, uuid)
        self._send(uuid, TRANSITIONS[action])
        if then is not None:
            self._tell(then)

    def _look_again(self, uuid: str, times: int = 0) -> None:
        """Look at an instance again in a while.

        :param times: how often it was looked at
        """
        if times >= len(LOOK_AGAIN_S) or self._stopped.is_set():
            return
        timer = threading.Timer(LOOK_AGAIN_S[times], self._look, (uuid, times + 1))
        timer.daemon = True
        self._timers[uuid] = timer
        timer.start()

    def _look(self, uuid: str, times: int) -> None:
        self._timers.pop(uuid, None)
        try:
            state = self._workloads.state(names.workload_name(uuid))
        except exceptions.NotFound:
            return
        except exceptions.EngineError as err:
            LOG.debug("Instance %s is not seen at the moment: %s", uuid, err)
            self._look_again(uuid, times)
            return
        if state is containers.State.STOPPED:
            self._send(uuid, virtevent.EVENT_LIFECYCLE_STOPPED)
            self._look_again(uuid, times)
        elif state is containers.State.PAUSED and not self._tell(self._listener.thawed, uuid):
            self._look_again(uuid, times)

    def _send(self, uuid: str, transition: int) -> None:
        self._tell(self._listener.changed, uuid, transition)

    def _tell(self, listen: Callable[..., Any], *what: Any) -> Any:
        try:
            return listen(*what)
        except Exception:
            LOG.exception("Nova could not take what happened to Docker: %s", what)
            return None

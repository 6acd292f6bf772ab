# SPDX-License-Identifier: Apache-2.0
"""The engine's events become Nova's, so that the end of a container is noticed at once.

Without events Nova compares states every ten minutes (``sync_power_state_interval``).
"""

import threading
from collections.abc import Callable
from typing import Any

from nova.virt import event as virtevent
from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.engine import client, containers

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
# Nova ignores events while it works on an instance: the end of a container is reported again, in
# case it came while the instance was built.
REPEAT_S = 5.0


class Watcher:
    """A thread that follows the engine's events about this host's workloads.

    :param emit: is called with an instance's UUID and one of Nova's transitions
    """

    def __init__(
        self,
        engine: client.Engine,
        host: str,
        workloads: containers.Containers,
        emit: Callable[[str, int], None],
    ) -> None:
        self._engine = engine
        self._host = host
        self._workloads = workloads
        self._emit = emit
        self._stopped = threading.Event()
        self._stream: Any = None
        self._known: dict[str, containers.State] | None = None
        self._repeats: dict[str, threading.Timer] = {}
        self._thread = threading.Thread(target=self._run, name="novadocker-events", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, as soon as the engine sends anything or closes the connection."""
        self._stopped.set()
        for timer in list(self._repeats.values()):
            timer.cancel()
        stream = self._stream
        if stream is not None:
            stream.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                self._follow()
                failures = 0
            except exceptions.EngineError as err:
                if self._stopped.is_set():
                    return
                LOG.warning("Docker's events are not heard at the moment: %s", err)
            except Exception:
                LOG.exception("Docker's events could not be followed")
            self._stopped.wait(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])
            failures += 1

    def _follow(self) -> None:
        filters = {
            "type": "container",
            "event": list(TRANSITIONS),
            "label": [
                f"{containers.LABEL}host={self._host}",
                f"{containers.LABEL}role={containers.Role.WORKLOAD.value}",
            ],
        }
        self._stream = self._engine.call("events", decode=True, filters=filters, patient=True)
        # Changes from before the stream was open; later ones come through it.
        self._catch_up()
        for message in self._stream:
            if self._stopped.is_set():
                return
            uuid = message["Actor"]["Attributes"].get(f"{containers.LABEL}uuid")
            if uuid:
                self._tell(uuid, message["Action"])

    def _catch_up(self) -> None:
        states = self._workloads.states_by_uuid()
        if self._known is not None:
            for uuid, state in states.items():
                if self._known.get(uuid) is not state:
                    self._send(uuid, _BY_STATE[state])
        self._known = states

    def _tell(self, uuid: str, action: str) -> None:
        if self._known is not None:
            self._known[uuid] = {
                "pause": containers.State.PAUSED,
                "die": containers.State.STOPPED,
            }.get(action, containers.State.RUNNING)
        pending = self._repeats.pop(uuid, None)
        if pending is not None:
            pending.cancel()
        if action == "die":
            timer = threading.Timer(REPEAT_S, self._repeat, (uuid,))
            timer.daemon = True
            self._repeats[uuid] = timer
            timer.start()
        self._send(uuid, TRANSITIONS[action])

    def _repeat(self, uuid: str) -> None:
        self._repeats.pop(uuid, None)
        try:
            state = self._workloads.state(containers.workload_name(uuid))
        except exceptions.EngineError:
            return
        if state is containers.State.STOPPED:
            self._send(uuid, virtevent.EVENT_LIFECYCLE_STOPPED)

    def _send(self, uuid: str, transition: int) -> None:
        try:
            self._emit(uuid, transition)
        except Exception:
            LOG.exception("Nova could not take an event of instance %s", uuid)

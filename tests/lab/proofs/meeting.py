# SPDX-License-Identifier: Apache-2.0
"""A run that meets faults while it goes on, each in its phase."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from novadocker_client.connection import MISTRAL, Cloud
from novadocker_client.errors import ClientError, asking
from novadocker_client.runs import ENDED, Run
from tests.lab.proofs.faults import Cast, Fault

LOOK_S = 0.5
RUN_TIMEOUT_S = 1800.0


class Phases:
    """The tasks that a run itself has come to, looked at while it goes on."""

    def __init__(self, cloud: Cloud, run_id: str) -> None:
        self._cloud, self._run_id = cloud, run_id
        self._states: dict[str, str] = {}
        self._changed = threading.Condition()
        self.over = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A context in which the run is looked at."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            with self._changed:
                self._changed.notify_all()

    def _watch(self) -> None:
        while not self.over.wait(LOOK_S):
            try:
                with asking(MISTRAL, "show tasks"):
                    tasks = self._cloud.mistral.tasks.list(self._run_id, fields=["name", "state"])
            except ClientError:
                # It is a service that the fault has taken away.
                continue
            with self._changed:
                self._states = {str(task.name): str(task.state) for task in tasks}
                self._changed.notify_all()

    def await_begun(self, name: str) -> list[str]:
        """Wait until the run has come to a task, or has ended.

        :return: the tasks that are under way then
        """
        with self._changed:
            self._changed.wait_for(lambda: name in self._states or self.over.is_set())
            return [task for task, state in self._states.items() if state not in ENDED]


def meet(cast: Cast, begin: Callable[[], str], faults: Sequence[Fault]) -> tuple[Run, list[str]]:
    """Have a run meet faults; return it when it has ended and all of them are healed.

    :param begin: begins it, and returns its id
    :return: the run, and the names of the faults that it has met
    """
    before = [fault for fault in faults if not fault.phase]
    met: list[str] = []
    try:
        for fault in before:
            _tell(fault, "before it began")
            fault.inject(cast, "")
            met.append(fault.name)
        ended = _meet_under_way(cast, begin(), [f for f in faults if f.phase], met)
    finally:
        for fault in before:
            fault.heal(cast, "")
    return ended, met


def _meet_under_way(cast: Cast, run_id: str, faults: Sequence[Fault], met: list[str]) -> Run:
    phases = Phases(Cloud(cast.cloud), run_id)

    def put_in(lane: str) -> None:
        for fault in faults:
            if fault.lane != lane:
                continue
            under_way = phases.await_begun(fault.phase)
            if phases.over.is_set() or (fault.within and fault.phase not in under_way):
                _tell(fault, "not met: it was over")
                continue
            _tell(fault, f"in {', '.join(under_way) or fault.phase}")
            try:
                fault.inject(cast, run_id)
                met.append(fault.name)
                phases.over.wait(fault.lasts_s)
            finally:
                fault.heal(cast, run_id)

    lanes = {fault.lane for fault in faults}
    with ThreadPoolExecutor(len(lanes) or 1) as pool:
        with phases.watched():
            work = [pool.submit(put_in, lane) for lane in lanes]
            ended = cast.runs.wait(run_id, timeout_s=RUN_TIMEOUT_S)
        for lane in work:
            lane.result()
    return ended


def _tell(fault: Fault, when: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')}  {fault.name}: {when}", flush=True)

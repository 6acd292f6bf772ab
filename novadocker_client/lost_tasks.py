# SPDX-License-Identifier: Apache-2.0
"""Tasks that Mistral has made and never begun, as its engine died in between.

The message that begins a task is sent when the task is in the database, and an engine that is
killed before sends none. Mistral looks for tasks that did not go on, but not for those
(``mistral.engine.workflow_handler._check_and_fix_integrity`` asks for ``RUNNING`` alone): their run
would stand still for ever. A run that is paused and continued begins them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from novadocker_client.connection import MISTRAL, Cloud
from novadocker_client.errors import ClientError, Unavailable, asking
from novadocker_client.progress import Task

LOG = logging.getLogger(__name__)

NOT_BEGUN = "IDLE"
# Mistral begins a task within a second, and on a busy cloud within some.
LOST_S = 60.0


class LostTasks:
    """What is known of a run's tasks that have not begun.

    :param cloud: the services
    :param run_id: the run
    """

    def __init__(self, cloud: Cloud, run_id: str) -> None:
        self._cloud, self._run_id = cloud, run_id
        self._since: dict[str, float] = {}
        self._paused = False
        # What was told of: it is tried at each look.
        self._refused: set[str] = set()

    def go_on(self, state: str, tasks: Iterable[Task]) -> None:
        """Begin tasks that were lost, as far as the user may change the run.

        :param state: the run's, as Mistral tells it; one that somebody else has paused stays so
        :param tasks: those of the run as they are now
        """
        if self._paused:
            # Mistral may have taken the pause, and has not taken what was to end it.
            self._change("RUNNING")
        elif state == "RUNNING":
            self._begin_lost(tasks)

    def _begin_lost(self, tasks: Iterable[Task]) -> None:
        now = time.monotonic()
        idle = {task.id: task.name for task in tasks if task.state == NOT_BEGUN}
        self._since = {task_id: self._since.get(task_id, now) for task_id in idle}
        if not idle or now - min(self._since.values()) < LOST_S:
            return
        self._since.clear()
        names = ", ".join(sorted(set(idle.values())))
        LOG.warning(
            "Mistral has lost tasks of the run %s, and is asked for them: %s", self._run_id, names
        )
        # Whether it was taken is not known where there is no answer.
        self._paused = True
        try:
            if self._change("PAUSED"):
                self._change("RUNNING")
        except BaseException:
            # Who stops looking leaves the run running.
            self._change("RUNNING")
            raise

    def _change(self, state: str) -> bool:
        """Bring the run to a state; return whether Mistral has."""
        try:
            with asking(MISTRAL, f"bring the run {self._run_id} to {state}"):
                self._cloud.mistral.executions.update(self._run_id, state)
        except Unavailable as err:
            LOG.warning("%s It is tried again.", err)
            return False
        except ClientError as err:
            # One that is paused by this has to be continued; what is refused once may be taken.
            self._paused = state == "RUNNING"
            if state not in self._refused:
                LOG.warning(
                    "The run stands still until its owner continues it, by `openstack workflow "
                    "execution update -s PAUSED %s` and then the same with RUNNING: %s",
                    self._run_id,
                    err,
                )
            self._refused.add(state)
            return False
        self._paused = state == "PAUSED"
        return True

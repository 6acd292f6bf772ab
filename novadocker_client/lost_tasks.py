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
from novadocker_client.errors import ClientError, asking
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

    def go_on(self, tasks: Iterable[Task]) -> bool:
        """Begin tasks that were lost, as far as the user may change the run.

        :param tasks: those of the run as they are now
        :return: whether Mistral was asked to
        """
        now = time.monotonic()
        idle = {task.id: task.name for task in tasks if task.state == NOT_BEGUN}
        self._since = {task_id: self._since.get(task_id, now) for task_id in idle}
        if not idle or now - min(self._since.values()) < LOST_S:
            return False
        self._since.clear()
        names = ", ".join(sorted(set(idle.values())))
        LOG.warning(
            "Mistral has lost tasks of the run %s, and begins them: %s", self._run_id, names
        )
        try:
            self._continue()
        except ClientError as err:
            LOG.warning("The run stands still until somebody pauses and continues it: %s", err)
            return False
        return True

    def _continue(self) -> None:
        executions = self._cloud.mistral.executions
        with asking(MISTRAL, f"continue the run {self._run_id}"):
            try:
                executions.update(self._run_id, "PAUSED")
            finally:
                executions.update(self._run_id, "RUNNING")

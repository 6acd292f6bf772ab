# SPDX-License-Identifier: Apache-2.0
"""The action that moves instances off hosts that are out of service."""

from __future__ import annotations

import logging
import time
from typing import Any

from novadocker_actions.actions.base import ChangingAction, Fault, action
from novadocker_actions.actions.nova import give_back, is_repair, pauses
from novadocker_actions.cloud import migrations
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError
from novadocker_actions.plan import rows
from novadocker_actions.plan.rows import SKIPPED, HostRow

LOG = logging.getLogger(__name__)

# How long one drain stays; workflows repeat it.
DRAIN_WAIT_S = 20
# How long migrations that are under way are seen to their end when the time for them is over.
LAST_S = 600
_REMEDY = "when it is VERIFY_RESIZE, confirm it (`openstack server resize confirm`)"


@action
class Drain(ChangingAction):
    """Move instances off the hosts of a batch by cold migration, a few at a time.

    The hosts are out of service, so none comes to them. A host of which one instance cannot be
    moved, or not in time, is given back and left as it is; who has left it by then has left it, and
    what is on its way is confirmed when it has arrived.

    :param rows: hosts that were taken out of service
    :param converting: whether hosts become Docker hypervisors, or cease to be
    :param until: when the time for it is over, in seconds since the epoch; 0 at first
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]
    converting: bool = True
    until: int = 0

    task = "drain"

    def failed(self, fault: Fault) -> Any:
        """Return the hosts, those that were well until now as unknown."""
        return {**super().failed(fault), "draining": 0, "until": self.until}

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts, on how many of them it goes on, and until when it may."""
        host_rows = rows.read(self.rows)
        until = self.until or round(time.time() + self.settings["drain_timeout_s"])
        waits = pauses(DRAIN_WAIT_S)
        while True:
            left = [row for row in host_rows if self._is_left(cloud, row)]
            now = time.time()
            for row in left if now >= until else []:
                row.skip(self.task, "it was not drained in time")
            self._begin_more(cloud, left)
            left = [row for row in left if row.ok or (row.moving and now < until + LAST_S)]
            pause_s = next(waits, None) if left else None
            if pause_s is None:
                break
            time.sleep(pause_s)
        for row in host_rows:
            if row.moving and row not in left:
                row.add_reason(f"{', '.join(row.moving)} under way: {_REMEDY}")
                row.moving = []
        give_back(cloud, [row for row in host_rows if row.state == SKIPPED])
        return {**rows.batch(host_rows), "draining": len(left), "until": until}

    def _is_left(self, cloud: Cloud, row: HostRow) -> bool:
        """Return whether there is more to be done about a host, after a look at what moves."""
        if row.ok and (not row.to_switch or is_repair(row, self.converting)):
            return False
        try:
            for server_id in list(row.moving):
                over, fault = migrations.ended(cloud, server_id, row.host)
                if over:
                    row.moving.remove(server_id)
                if fault:
                    row.skip(self.task, f"it cannot be drained: {fault}")
            if not row.ok:
                return bool(row.moving)
            if not row.moving and not migrations.living(cloud, row.host):
                # An executor that was lost may have begun more than its host tells.
                row.moving = migrations.unconfirmed(cloud, row.host)
                return bool(row.moving)
        except CloudError as err:
            row.lose(self.task, str(err))
            return False
        return True

    def _begin_more(self, cloud: Cloud, left: list[HostRow]) -> None:
        """Begin as many migrations as there may be at once."""
        free = self.settings["drain_at_once"] - sum(len(row.moving) for row in left)
        for row in left:
            try:
                for server in migrations.living(cloud, row.host) if row.ok and free > 0 else []:
                    if free <= 0 or server["id"] in row.moving or not migrations.is_at_rest(server):
                        continue
                    fault = migrations.fault_of(server) or migrations.start(cloud, server["id"])
                    if fault:
                        row.skip(self.task, f"it cannot be drained: {fault}")
                        break
                    row.moving.append(server["id"])
                    free -= 1
            except CloudError as err:
                row.lose(self.task, str(err))

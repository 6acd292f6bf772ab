# SPDX-License-Identifier: Apache-2.0
"""Actions on compute hosts through Nova: out of service, verified, set apart, preloaded, back."""

from __future__ import annotations

import logging
import time
from typing import Any

from novadocker_actions.actions.base import NovadockerAction, PlainAction, action
from novadocker_actions.cloud import aggregates, mailbox, nova, occupancy
from novadocker_actions.cloud.clients import Cloud, Service
from novadocker_actions.errors import CloudError
from novadocker_actions.plan import hosts, order, report, rows
from novadocker_actions.plan.rows import FAILED, SKIPPED, HostRow

LOG = logging.getLogger(__name__)

#: How long one look at Nova stays; workflows repeat it.
VERIFY_WAIT_S = 20
#: How long a decision of the scheduler may take to show as a claim in Placement.
QUIET_S = 2.0
#: How long Nova may be away when hosts are put back into service.
ENABLE_PATIENCE_S = 300
_POLL_S = 1.0


@action
class DisableCompute(NovadockerAction):
    """Take the hosts that are going to change out of service, telling why.

    :param rows: hosts
    :param run_id: execution that does it
    :param settings: the workflow's
    """

    rows: list[dict[str, Any]]
    run_id: str
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows, with who was taken out of service by this run."""
        host_rows = rows.read(self.rows)
        by_host = {item["host"]: item for item in nova.services(cloud.compute)}
        for row in host_rows:
            if not (row.ok and row.needs):
                continue
            if row.host not in by_host:
                row.fail("disable_compute", "Nova has no compute service for it any more")
                continue
            try:
                nova.disable(cloud.compute, row, self.run_id, by_host[row.host])
            except CloudError as err:
                row.fail("disable_compute", str(err))
        return {"rows": rows.write(host_rows)}


@action
class RecheckInstances(NovadockerAction):
    """Give back the hosts that are occupied now that they are out of service.

    Instances were counted when the plan was made; until its batch came, a host was in service. The
    containers of a host that is a Docker hypervisor already live through its repair.

    A build that was on the way gets some time to end: ``pending`` tells that it is worth to ask
    again, from the same rows.

    :param rows: hosts that were taken out of service
    :param run_id: execution that does it
    :param settings: the workflow's
    :param converting: whether hosts become Docker hypervisors, or cease to be
    """

    rows: list[dict[str, Any]]
    run_id: str
    settings: dict[str, Any]
    converting: bool = True

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows, those of occupied hosts as skipped."""
        host_rows = rows.read(self.rows)
        looked = [row for row in host_rows if row.ok and row.needs]
        asked = {row.host for row in looked if not self._is_repair(row)}
        self._keep_out_of_service(cloud, looked)
        looked = [row for row in looked if row.ok]
        if asked:
            # The scheduler may be about to claim for a request that saw the host in service.
            time.sleep(QUIET_S)
        until = time.monotonic() + VERIFY_WAIT_S
        while True:
            living, faults = self._look(cloud, looked)
            settling = [h for h in asked & set(living) if _settling(living[h])]
            pending = len(settling) + len(faults)
            if not pending or time.monotonic() + _POLL_S > until:
                break
            time.sleep(_POLL_S)
        for row in looked:
            if row.host in faults:
                row.fail("recheck_instances", f"who lives on it cannot be told: {faults[row.host]}")
            elif self._is_repair(row):
                order.note_instances(row, len(living[row.host]))
            elif living[row.host]:
                row.skip("recheck_instances", occupancy.told(living[row.host]))
        if not pending:
            self._give_back(cloud, [row for row in looked if row.state == SKIPPED])
        return {
            "rows": rows.write(host_rows),
            "pending": pending,
            "ok": sum(1 for row in host_rows if row.ok),
        }

    def _is_repair(self, row: HostRow) -> bool:
        return self.converting and row.hypervisor_type == hosts.DOCKER

    def _keep_out_of_service(self, cloud: Cloud, looked: list[HostRow]) -> None:
        # An executor that was lost here may have given some of them back already.
        by_host = {item["host"]: item for item in nova.services(cloud.compute)}
        for row in looked:
            if row.host not in by_host:
                row.fail("recheck_instances", "Nova has no compute service for it any more")
                continue
            try:
                if not nova.is_disabled(by_host[row.host]):
                    nova.disable(cloud.compute, row, self.run_id, by_host[row.host])
            except CloudError as err:
                row.fail("recheck_instances", str(err))

    @staticmethod
    def _look(
        cloud: Cloud, looked: list[HostRow]
    ) -> tuple[dict[str, list[occupancy.Occupant]], dict[str, CloudError]]:
        living: dict[str, list[occupancy.Occupant]] = {}
        faults: dict[str, CloudError] = {}
        hypervisors = nova.by_host(cloud.compute) if looked else {}

        def ask(row: HostRow) -> None:
            try:
                living[row.host] = occupancy.occupants(
                    cloud, row.host, hypervisors.get(row.host, [])
                )
            except CloudError as err:
                faults[row.host] = err

        mailbox.on_each(looked, ask)
        return living, faults

    def _give_back(self, cloud: Cloud, occupied: list[HostRow]) -> None:
        mine = [row for row in occupied if row.parked]
        by_host = {item["host"]: item for item in nova.services(cloud.compute)} if mine else {}
        for row in mine:
            try:
                nova.enable(cloud.compute, row, by_host[row.host])
            except CloudError as err:
                # It stays marked as taken out by this run, which tries it again at the batch's end.
                LOG.warning("%s is occupied and could not be enabled yet: %s", row.host, err)


def _settling(living: list[occupancy.Occupant]) -> bool:
    return bool(living) and all(occupant.settling for occupant in living)


@action
class EnableCompute(NovadockerAction):
    """Put hosts back into service: those that this run took out of it, and what is in order.

    A host that is as wanted is enabled whichever run of ours disabled it, whether or not it needed
    anything. One that failed and could not be put back as it was stays out, with the reason, and
    one that its operator took out of service stays out with his.

    :param rows: hosts
    :param run_id: execution that did it
    :param settings: the workflow's
    """

    rows: list[dict[str, Any]]
    run_id: str
    settings: dict[str, Any]

    @property
    def patience_s(self) -> float:
        """How long it bears services that are away: hosts are not to stay disabled for good."""
        return ENABLE_PATIENCE_S

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows."""
        host_rows = rows.read(self.rows)
        by_host = {item["host"]: item for item in nova.services(cloud.compute)}
        for row in host_rows:
            if row.host not in by_host:
                continue
            try:
                self._settle(cloud, row, by_host[row.host])
            except CloudError as err:
                row.fail("enable_compute", "it is in order, but its compute service is disabled")
                row.add_reason(f"its compute service could not be changed: {err}")
        return {"rows": rows.finished(host_rows)}

    def _settle(self, cloud: Cloud, row: HostRow, current: dict[str, Any]) -> None:
        if row.stuck or self._half_changed(row):
            nova.explain_disabled(cloud.compute, row, self.run_id, current)
        elif row.ok or row.parked:
            by_this_run = row.parked
            enabled = nova.enable(cloud.compute, row, current)
            row.changed |= enabled and not by_this_run
        elif nova.is_disabled(current):
            row.add_reason(f"its compute service stays disabled: {current['disabled_reason']}")

    @staticmethod
    def _half_changed(row: HostRow) -> bool:
        # One without needs was not taken out of service, and just its aggregate may have changed.
        changed = bool(row.done or (row.changed and row.needs))
        return row.state == FAILED and changed and not row.rolled_back


@action
class VerifyCompute(NovadockerAction):
    """See that Nova shows the hosts up, and as Docker hypervisors or not.

    :param rows: hosts
    :param docker: whether they are to be Docker hypervisors
    :param settings: the workflow's
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]
    docker: bool = True

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows, those that are not as wanted as failed, and how many these are."""
        host_rows = rows.read(self.rows)
        until = time.monotonic() + VERIFY_WAIT_S
        while True:
            looked = [row for row in host_rows if self._concerns(row)]
            waiting = nova.unsettled(cloud.compute, looked, docker=self.docker) if looked else {}
            if not waiting or time.monotonic() + _POLL_S > until:
                break
            time.sleep(_POLL_S)
        for row in looked:
            if row.host in waiting:
                row.fail("verify_compute", f"after the change {waiting[row.host]}")
        return {
            "rows": rows.write(host_rows),
            "pending": len(waiting),
            "ok": sum(1 for row in host_rows if row.ok),
        }

    def _concerns(self, row: HostRow) -> bool:
        # A host of which nothing was undone is what it was, a Docker hypervisor or not.
        return row.ok and (self.docker or row.changed)


@action
class Isolate(NovadockerAction):
    """Make the hosts members of the Docker hypervisors' aggregate, or end their membership.

    :param rows: hosts
    :param aggregate: name
    :param member: whether they are to be members
    :param settings: the workflow's
    """

    rows: list[dict[str, Any]]
    aggregate: str
    settings: dict[str, Any]
    member: bool = True

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows."""
        host_rows = rows.read(self.rows)
        wanted = [row for row in host_rows if row.ok]
        if not wanted:
            return {"rows": rows.write(host_rows), "ok": 0}
        nova = cloud.compute
        if self.member:
            aggregate: dict[str, Any] | None = aggregates.ensure(nova, self.aggregate)
        else:
            aggregate = aggregates.find(nova, self.aggregate)
        for row in wanted if aggregate else []:
            try:
                self._place(nova, aggregate or {}, row)
            except CloudError as err:
                row.fail("isolate", str(err))
        return {"rows": rows.write(host_rows), "ok": sum(1 for row in host_rows if row.ok)}

    def _place(self, nova: Service, aggregate: dict[str, Any], row: HostRow) -> None:
        if self.member:
            row.changed |= aggregates.add(nova, aggregate, row.host)
        else:
            row.changed |= aggregates.remove(nova, aggregate, row.host)


@action
class PreloadImages(NovadockerAction):
    """Have Nova fetch images onto the hosts of the aggregate.

    :param aggregate: name
    :param image_ids: Glance images
    :param settings: the workflow's
    """

    aggregate: str
    image_ids: list[str]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return what was asked of Nova."""
        aggregate = aggregates.ensure(cloud.compute, self.aggregate)
        aggregates.precache(cloud.compute, aggregate, self.image_ids)
        return {"asked": self.image_ids}


@action
class FindDockerHosts(NovadockerAction):
    """Find the hypervisors of type docker that are left; drop the aggregate when there are none.

    :param aggregate: name
    :param settings: the workflow's
    """

    aggregate: str
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts, and whether the aggregate was removed."""
        left = nova.docker_hosts(cloud.compute)
        removed = not left and aggregates.remove_if_empty(cloud.compute, self.aggregate)
        return {"hosts": left, "aggregate_removed": removed}


@action
class GiveUp(PlainAction):
    """Turn an error of a task into the failure of the hosts that it was about.

    :param rows: hosts
    :param errors: failed tasks: name and error
    :param rolling_back: whether the task was to put hosts back; then they are left as they are
    """

    rows: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    rolling_back: bool = False

    def compute(self) -> dict[str, Any]:
        """Return the rows."""
        host_rows = rows.read(self.rows)
        last = self.errors[-1] if self.errors else {}
        text = report.error_text(last.get("error"))
        step = str(last.get("name") or "unknown")
        for row in host_rows:
            if row.pending is not None:
                rows.give_up(row, f"{step} failed: {text}")
            if self.rolling_back and row.to_roll_back:
                row.stuck = True
                row.add_reason(f"it could not be put back: {text}")
            elif row.ok:
                row.fail(step, text)
        return {
            "rows": rows.write(host_rows),
            "to_roll_back": sum(1 for row in host_rows if row.to_roll_back),
        }

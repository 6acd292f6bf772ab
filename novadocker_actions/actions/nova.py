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
from novadocker_actions.plan.rows import FAILED, SKIPPED, HostRun

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
        found = rows.read(self.rows)
        by_host = {item["host"]: item for item in nova.services(cloud.compute)}
        for run in found:
            if not (run.ok and run.needs):
                continue
            if run.host not in by_host:
                run.fail("disable_compute", "Nova has no compute service for it any more")
                continue
            try:
                nova.disable(cloud.compute, run, self.run_id, by_host[run.host])
            except CloudError as fault:
                run.fail("disable_compute", str(fault))
        return {"rows": rows.write(found)}


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
    :param wait_s: how long to stay at most
    """

    rows: list[dict[str, Any]]
    run_id: str
    settings: dict[str, Any]
    converting: bool = True
    wait_s: int = VERIFY_WAIT_S

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows, those of occupied hosts as skipped."""
        found = rows.read(self.rows)
        looked = [run for run in found if run.ok and run.needs]
        asked = {run.host for run in looked if not self._is_repair(run)}
        self._keep_out_of_service(cloud, looked)
        looked = [run for run in looked if run.ok]
        if asked:
            # The scheduler may be about to claim for a request that saw the host in service.
            time.sleep(QUIET_S)
        until = time.monotonic() + min(self.wait_s, VERIFY_WAIT_S)
        while True:
            living, faults = self._look(cloud, looked)
            settling = [h for h in asked & set(living) if _settling(living[h])]
            pending = len(settling) + len(faults)
            if not pending or time.monotonic() + _POLL_S > until:
                break
            time.sleep(_POLL_S)
        for run in looked:
            if run.host in faults:
                run.fail("recheck_instances", f"who lives on it cannot be told: {faults[run.host]}")
            elif self._is_repair(run):
                order.note_instances(run, len(living[run.host]))
            elif living[run.host]:
                run.skip("recheck_instances", occupancy.told(living[run.host]))
        if not pending:
            self._give_back(cloud, [run for run in looked if run.state == SKIPPED])
        return {
            "rows": rows.write(found),
            "pending": pending,
            "ok": sum(1 for run in found if run.ok),
        }

    def _is_repair(self, run: HostRun) -> bool:
        return self.converting and run.hypervisor_type == hosts.DOCKER

    def _keep_out_of_service(self, cloud: Cloud, looked: list[HostRun]) -> None:
        # An executor that was lost here may have given some of them back already.
        by_host = {item["host"]: item for item in nova.services(cloud.compute)}
        for run in looked:
            if run.host not in by_host:
                run.fail("recheck_instances", "Nova has no compute service for it any more")
                continue
            try:
                if not nova.is_disabled(by_host[run.host]):
                    nova.disable(cloud.compute, run, self.run_id, by_host[run.host])
            except CloudError as fault:
                run.fail("recheck_instances", str(fault))

    @staticmethod
    def _look(
        cloud: Cloud, looked: list[HostRun]
    ) -> tuple[dict[str, list[occupancy.Occupant]], dict[str, CloudError]]:
        living: dict[str, list[occupancy.Occupant]] = {}
        faults: dict[str, CloudError] = {}
        hypervisors = nova.by_host(cloud.compute) if looked else {}

        def ask(run: HostRun) -> None:
            try:
                living[run.host] = occupancy.occupants(
                    cloud, run.host, hypervisors.get(run.host, [])
                )
            except CloudError as fault:
                faults[run.host] = fault

        mailbox.on_each(looked, ask)
        return living, faults

    def _give_back(self, cloud: Cloud, occupied: list[HostRun]) -> None:
        mine = [run for run in occupied if run.parked]
        by_host = {item["host"]: item for item in nova.services(cloud.compute)} if mine else {}
        for run in mine:
            try:
                nova.enable(cloud.compute, run, by_host[run.host])
            except CloudError as fault:
                # It stays marked as taken out by this run, which tries it again at the batch's end.
                LOG.warning("%s is occupied and could not be enabled yet: %s", run.host, fault)


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
        found = rows.read(self.rows)
        by_host = {item["host"]: item for item in nova.services(cloud.compute)}
        for run in found:
            if run.host not in by_host:
                continue
            try:
                self._settle(cloud, run, by_host[run.host])
            except CloudError as fault:
                run.fail("enable_compute", "it is in order, but its compute service is disabled")
                run.add_reason(f"its compute service could not be changed: {fault}")
        return {"rows": rows.finished(found)}

    def _settle(self, cloud: Cloud, run: HostRun, current: dict[str, Any]) -> None:
        if run.stuck or (run.state == FAILED and run.done):
            nova.explain_disabled(cloud.compute, run, self.run_id, current)
        elif run.ok or run.parked:
            by_this_run = run.parked
            enabled = nova.enable(cloud.compute, run, current)
            run.changed |= enabled and not by_this_run
        elif nova.is_disabled(current):
            run.add_reason(f"its compute service stays disabled: {current['disabled_reason']}")


@action
class VerifyCompute(NovadockerAction):
    """See that Nova shows the hosts up, and as Docker hypervisors or not.

    :param rows: hosts
    :param docker: whether they are to be Docker hypervisors
    :param wait_s: how long to stay at most
    :param settings: the workflow's
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]
    docker: bool = True
    wait_s: int = VERIFY_WAIT_S

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows, those that are not as wanted as failed, and how many these are."""
        found = rows.read(self.rows)
        until = time.monotonic() + min(self.wait_s, VERIFY_WAIT_S)
        while True:
            looked = [run for run in found if self._concerns(run)]
            waiting = nova.unsettled(cloud.compute, looked, docker=self.docker) if looked else {}
            if not waiting or time.monotonic() + _POLL_S > until:
                break
            time.sleep(_POLL_S)
        for run in looked:
            if run.host in waiting:
                run.fail("verify_compute", f"after the change {waiting[run.host]}")
        return {
            "rows": rows.write(found),
            "pending": len(waiting),
            "ok": sum(1 for run in found if run.ok),
        }

    def _concerns(self, run: HostRun) -> bool:
        # A host of which nothing was undone is what it was, a Docker hypervisor or not.
        return run.ok and (self.docker or run.changed)


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
        found = rows.read(self.rows)
        wanted = [run for run in found if run.ok]
        if not wanted:
            return {"rows": rows.write(found), "ok": 0}
        nova = cloud.compute
        if self.member:
            aggregate: dict[str, Any] | None = aggregates.ensure(nova, self.aggregate)
        else:
            aggregate = aggregates.find(nova, self.aggregate)
        for run in wanted if aggregate else []:
            try:
                self._place(nova, aggregate or {}, run)
            except CloudError as fault:
                run.fail("isolate", str(fault))
        return {"rows": rows.write(found), "ok": sum(1 for run in found if run.ok)}

    def _place(self, nova: Service, aggregate: dict[str, Any], run: HostRun) -> None:
        if self.member:
            run.changed |= aggregates.add(nova, aggregate, run.host)
        else:
            run.changed |= aggregates.remove(nova, aggregate, run.host)


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
        found = rows.read(self.rows)
        last = self.errors[-1] if self.errors else {}
        text = report.error_text(last.get("error"))
        step = str(last.get("name") or "unknown")
        for run in found:
            if run.pending is not None:
                rows.give_up(run, f"{step} failed: {text}")
            if self.rolling_back and run.to_roll_back:
                run.stuck = True
                run.add_reason(f"it could not be put back: {text}")
            elif run.ok:
                run.fail(step, text)
        return {
            "rows": rows.write(found),
            "to_roll_back": sum(1 for run in found if run.to_roll_back),
        }

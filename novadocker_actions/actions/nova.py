# SPDX-License-Identifier: Apache-2.0
"""Actions on compute hosts through Nova: out of service, verified, set apart, preloaded, back."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from novadocker_actions.actions import base
from novadocker_actions.actions.base import ChangingAction, NovadockerAction, action
from novadocker_actions.cloud import aggregates, mailbox, nova, occupancy, runs, traits
from novadocker_actions.cloud.clients import Cloud, Service
from novadocker_actions.errors import CloudError
from novadocker_actions.plan import hosts, order, rows
from novadocker_actions.plan.rows import FAILED, SKIPPED, UNKNOWN, HostRow

LOG = logging.getLogger(__name__)

# A workflow that nothing keeps other runs from: it changes no host.
_PRELOADING = "preload_images"
# How long Nova may take to show a host as wanted after its restart.
VERIFY_WAIT_S = 120
# How long builds and migrations that are under way may take to end.
SETTLE_WAIT_S = 120
# How long a decision of the scheduler may take to show as a claim in Placement.
QUIET_S = 2.0
# The pauses between looks at Nova grow from one to the other.
FIRST_POLL_S, LONGEST_POLL_S = 0.5, 10.0


def pauses(wait_s: float) -> Iterator[float]:
    """Yield the growing pauses between looks, until the time is over.

    :param wait_s: how long to look, from now on
    """
    until, pause_s = time.monotonic() + wait_s, FIRST_POLL_S
    while time.monotonic() + pause_s < until:
        yield pause_s
        pause_s = min(pause_s * 1.5, LONGEST_POLL_S)


@action
class DisableCompute(ChangingAction):
    """Take the hosts out of service that are going to be disturbed, telling why.

    What a run that was lost has left out of service becomes this run's, which puts it back into
    service at its end.

    :param rows: hosts
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]

    task = "disable_compute"

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts, with who was taken out of service by this run."""
        host_rows = rows.read(self.rows)
        _take_out(cloud, host_rows, self.settings["run_id"], self.task)
        return rows.batch(host_rows)


def services_of(cloud: Cloud, host_rows: Sequence[HostRow], task: str) -> dict[str, dict[str, Any]]:
    """Return the compute services by host; a cell of hosts that does not answer is waited for.

    A host of which none is told by then fails, where there is none, or is lost.

    :param host_rows: the hosts
    :param task: that asks
    """
    waits = pauses(base.LONG_PATIENCE_S)
    while True:
        by_host, faults = nova.services_of(cloud.compute, [row.host for row in host_rows])
        pause_s = next(waits, None) if nova.SILENT in faults.values() else None
        if pause_s is None:
            break
        time.sleep(pause_s)
    for row in host_rows:
        fault = faults.get(row.host)
        if fault == nova.SILENT:
            row.lose(task, fault)
        elif fault:
            row.fail(task, fault)
    return by_host


def _take_out(cloud: Cloud, host_rows: list[HostRow], run_id: str, task: str) -> None:
    by_host = services_of(cloud, [row for row in host_rows if row.to_switch], task)
    active: dict[str, bool] = {}
    for row in host_rows:
        if not row.to_switch:
            continue
        other = nova.parked_by(by_host[row.host])
        if other and other != run_id:
            if other not in active:
                active[other] = runs.is_active(cloud.workflow, other)
            if active[other]:
                row.skip(task, f"run {other}, which is active, has taken it out of service")
                continue
        try:
            nova.disable(cloud.compute, row, run_id, by_host[row.host])
        except CloudError as err:
            row.lose(task, str(err))


@action
class RecheckInstances(ChangingAction):
    """Give back the hosts that are occupied now that they are out of service.

    Instances were counted when the plan was made; until its batch came, a host was in service. The
    containers of a host that is a Docker hypervisor already live through its repair.
    A build that was on the way gets some time to end.

    :param rows: hosts that were taken out of service
    :param settings: the workflow's
    :param converting: whether hosts become Docker hypervisors, or cease to be
    """

    rows: Any
    settings: dict[str, Any]
    converting: bool = True

    task = "recheck_instances"

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts, those that are occupied as skipped."""
        host_rows = rows.read(self.rows)
        # An executor that was lost here may have given some of them back already.
        _take_out(cloud, host_rows, self.settings["run_id"], self.task)
        looked = [row for row in host_rows if row.to_switch]
        docker = {row.host for row in looked if row.hypervisor_type == hosts.DOCKER}
        asked = {row.host for row in looked} - (docker if self.converting else set())
        if asked:
            # The scheduler may be about to claim for a request that saw the host in service.
            time.sleep(QUIET_S)
        waits = pauses(SETTLE_WAIT_S)
        while True:
            living, faults = who_lives(cloud, looked)
            waiting = bool(faults) or any(_settling(living[h]) for h in asked & set(living))
            pause_s = next(waits, None) if waiting else None
            if pause_s is None:
                break
            time.sleep(pause_s)
        for row in looked:
            row.instances = len(living.get(row.host, ()))
            if row.host in faults:
                row.lose("recheck_instances", f"who lives on it cannot be told: {faults[row.host]}")
            elif is_repair(row, self.converting):
                order.note_instances(row, row.instances)
            elif living[row.host]:
                row.skip("recheck_instances", occupancy.told(living[row.host]))
        give_back(cloud, [row for row in looked if row.state == SKIPPED])
        return rows.batch(host_rows)


def who_lives(
    cloud: Cloud, looked: list[HostRow]
) -> tuple[dict[str, list[occupancy.Occupant]], dict[str, str]]:
    """Return who lives on each host, and of which hosts that cannot be told, and why."""
    living: dict[str, list[occupancy.Occupant]] = {}
    faults: dict[str, str] = {}
    hypervisors = nova.by_host(cloud.compute) if looked else {}

    def ask(row: HostRow) -> None:
        if row.host not in hypervisors:
            # Builds that have only a claim, and what can still be restored, are known by it.
            faults[row.host] = "Nova lists no hypervisor of it"
            return
        try:
            living[row.host] = occupancy.occupants(cloud, row.host, hypervisors[row.host])
        except CloudError as err:
            faults[row.host] = str(err)

    mailbox.on_each(looked, ask)
    return living, faults


def is_repair(row: HostRow, converting: bool) -> bool:
    """Return whether a host stays, or is again, a Docker hypervisor: its containers live through.

    :param row: the host
    :param converting: whether hosts become Docker hypervisors, or cease to be
    """
    return converting and order.has_containers(row)


def give_back(cloud: Cloud, occupied: list[HostRow]) -> None:
    """Put hosts into service again that are left as they are."""
    mine = [row for row in occupied if row.parked]
    if not mine:
        return
    by_host, faults = nova.services_of(cloud.compute, [row.host for row in mine])
    for row in mine:
        # It stays marked as taken out by this run, which tries it again at the batch's end.
        try:
            if row.host in by_host:
                nova.enable(cloud.compute, row, by_host[row.host])
        except CloudError as err:
            faults[row.host] = str(err)
    for host, fault in faults.items():
        LOG.warning("%s is occupied and could not be enabled yet: %s", host, fault)


def _settling(living: list[occupancy.Occupant]) -> bool:
    return bool(living) and all(occupant.settling for occupant in living)


@action
class EnableCompute(ChangingAction):
    """Put hosts back into service: those that this run took out of it, and what is in order.

    A host that is as wanted is enabled whichever run of ours disabled it, whether or not it needed
    anything. One that failed and could not be put back as it was stays out, with the reason, and
    one that its operator took out of service stays out with his. One of which nothing is known
    stays as this run took it out: the next run takes it up.

    :param rows: hosts
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]

    task = "enable_compute"

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts."""
        host_rows = rows.read(self.rows)
        by_host = services_of(cloud, host_rows, self.task)
        self._remove_traits(cloud, [row for row in host_rows if self._has_other_driver(row)])
        for row in host_rows:
            if row.host not in by_host:
                if row.parked:
                    row.add_reason("it is left out of service; the next run takes it up")
                continue
            try:
                self._settle(cloud, row, by_host[row.host])
            except CloudError as err:
                row.fail("enable_compute", "it is in order, but its compute service is disabled")
                row.add_reason(f"its compute service could not be changed: {err}")
        return rows.batch(host_rows)

    def _has_other_driver(self, row: HostRow) -> bool:
        """Return whether a host has another driver than ours again."""
        if self.settings.get("workflow") == "undeploy":
            return row.ok
        return row.rolled_back and row.hypervisor_type != hosts.DOCKER

    @staticmethod
    def _remove_traits(cloud: Cloud, host_rows: list[HostRow]) -> None:
        shown = nova.by_host(cloud.compute, with_servers=False) if host_rows else {}
        for row in host_rows:
            try:
                for item in shown.get(row.host, ()):
                    row.changed |= traits.remove(cloud, item)
            except CloudError as err:
                row.add_reason(
                    f"Placement still shows it as a Docker hypervisor, so containers may be sent "
                    f"to it: {err}"
                )

    def _settle(self, cloud: Cloud, row: HostRow, current: dict[str, Any]) -> None:
        if row.state == UNKNOWN and (row.stuck or row.done):
            # One that was lost while it was staged has never been taken out of service.
            left = "it is left out of service; " if nova.is_disabled(current) else ""
            row.add_reason(f"{left}the next run takes it up")
        elif self._left_half_way(row) and (row.parked or nova.is_disabled(current)):
            nova.explain_disabled(cloud.compute, row, self.settings["run_id"], current)
        elif row.ok or row.parked:
            by_this_run = row.parked
            enabled = nova.enable(cloud.compute, row, current)
            row.changed |= enabled and not by_this_run
        elif nova.is_disabled(current):
            row.add_reason(f"its compute service stays disabled: {current['disabled_reason']}")

    @staticmethod
    def _left_half_way(row: HostRow) -> bool:
        # One without needs was not taken out of service, and just its aggregate may have changed.
        changed = bool(row.done or (row.changed and row.needs))
        return row.stuck or (row.state == FAILED and changed and not row.rolled_back)


def await_shown(cloud: Cloud, looked: Sequence[HostRow], *, docker: bool | None) -> dict[str, str]:
    """Wait until Nova shows hosts up; return those that it does not in time, with what it shows.

    :param looked: the hosts
    :param docker: whether they are to be Docker hypervisors, or just not; None for either
    """
    waits, awaited = pauses(VERIFY_WAIT_S), nova.AwaitedHypervisors(cloud.compute)
    while True:
        waiting = nova.unsettled(awaited, looked, docker=docker) if looked else {}
        pause_s = next(waits, None) if waiting else None
        if pause_s is None:
            return waiting
        time.sleep(pause_s)


@action
class VerifyCompute(ChangingAction):
    """See that Nova shows the hosts up, and as Docker hypervisors or not.

    :param rows: hosts
    :param docker: whether they are to be Docker hypervisors
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]
    docker: bool = True

    task = "verify_compute"

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts, those that are not as wanted in time as failed."""
        host_rows = rows.read(self.rows)
        looked = [row for row in host_rows if self._concerns(row)]
        waiting = await_shown(cloud, looked, docker=self.docker)
        for row in looked:
            if row.host in waiting:
                row.fail("verify_compute", f"after the change {waiting[row.host]}")
        return rows.batch(host_rows)

    def _concerns(self, row: HostRow) -> bool:
        # A host of which nothing was undone is what it was, a Docker hypervisor or not.
        return row.ok and (self.docker or row.changed)


@action
class Isolate(ChangingAction):
    """Make the hosts members of the Docker hypervisors' aggregate, or end their membership.

    :param rows: hosts
    :param member: whether they are to be members
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]
    member: bool = True

    task = "isolate"

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts."""
        host_rows = rows.read(self.rows)
        self._see_that_they_stayed(cloud, [row for row in host_rows if row.ok])
        wanted = [row for row in host_rows if row.ok]
        # Docker hypervisors that are upgraded are where they belong.
        if not wanted or self.settings.get("upgrade"):
            return rows.batch(host_rows)
        service, name = cloud.compute, self.settings["aggregate"]
        if self.member:
            aggregate: dict[str, Any] | None = aggregates.ensure(service, name)
        else:
            aggregate = aggregates.find(service, name)
        for row in wanted if aggregate else []:
            try:
                self._place(service, aggregate or {}, row)
            except CloudError as err:
                row.fail("isolate", str(err))
        return rows.batch(host_rows)

    def _see_that_they_stayed(self, cloud: Cloud, host_rows: list[HostRow]) -> None:
        """Fail hosts that were Docker hypervisors, and were undeployed while images came."""
        if not host_rows or self.settings["workflow"] != _PRELOADING:
            return
        there = set(nova.docker_hosts(cloud.compute))
        for row in host_rows:
            if row.host not in there:
                row.fail("isolate", "it is no Docker hypervisor any more")

    def _place(self, service: Service, aggregate: dict[str, Any], row: HostRow) -> None:
        if self.member:
            row.changed |= aggregates.add(service, aggregate, row.host)
        else:
            row.changed |= aggregates.remove(service, aggregate, row.host)


@action
class PreloadImages(NovadockerAction):
    """Have Nova fetch images onto the hosts of the aggregate; it does not wait for them.

    :param image_ids: Glance images
    :param settings: the workflow's
    """

    image_ids: list[str]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return what was asked of Nova, and why that was not possible.

        Images that are late are no reason to keep a host out of service: that is but told.
        """
        try:
            aggregate = aggregates.ensure(cloud.compute, self.settings["aggregate"])
            aggregates.precache(cloud.compute, aggregate, self.image_ids)
        except CloudError as err:
            LOG.warning("Nova could not be asked to fetch images: %s", err)
            return {"asked": [], "reason": str(err)}
        return {"asked": self.image_ids, "reason": ""}


@action
class FindDockerHosts(NovadockerAction):
    """Find the hypervisors of type docker that are left; drop the aggregate when there are none.

    :param settings: the workflow's
    :param stopped: why the run has not come to all batches, "" when it has
    """

    settings: dict[str, Any]
    stopped: str

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts, and whether images and controllers are to follow."""
        left = nova.docker_hosts(cloud.compute)
        busy = [run["id"] for run in runs.others(cloud.workflow, self.settings["run_id"])]
        removed = (
            not left
            and not busy
            and aggregates.give_back(cloud.compute, self.settings["aggregate"])
        )
        return {
            "hosts": len(left),
            "aggregate_removed": removed,
            "images": self.settings["remove_images"] and not self.stopped and not busy,
            # What another run needs while it makes its first Docker hypervisor stays.
            "controllers": self.settings["controllers"] == "auto" and not left and not busy,
            "notes": [f"controllers were kept: run {busy[0]} is under way"] if busy else [],
        }

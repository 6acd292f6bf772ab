# SPDX-License-Identifier: Apache-2.0
"""Actions that take up what runs have left that were cancelled, failed or vanished."""

from __future__ import annotations

import functools
import logging
import time
from typing import Any

from novadocker_actions import recipes
from novadocker_actions.actions import nova as nova_actions
from novadocker_actions.actions.base import ChangingAction, Fault, NovadockerAction, action
from novadocker_actions.actions.steps import RollBack, job, push_to_all
from novadocker_actions.cloud import aggregates, glance, nova, runs, traits, trusts
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError
from novadocker_actions.plan import hosts, leftovers, order, rows
from novadocker_actions.plan.rows import SKIPPED, HostRow

LOG = logging.getLogger(__name__)

# A host that failed there has not been looked at.
_ASKING = ("describe_host", recipes.PACKAGE)


@action
class FindLeft(NovadockerAction):
    """Find what lost runs have left on described hosts.

    :param rows: hosts with the facts of describe_host
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts, with what is to be asked of them or taken back."""
        host_rows = rows.read(self.rows)
        if runs.is_asked_to_stop(cloud.workflow, self.settings["run_id"]):
            for row in host_rows:
                row.skip("", leftovers.NOT_STARTED)
        seen = _seen(cloud, self.settings["aggregate"])
        fate = functools.cache(functools.partial(runs.fate, cloud.workflow))
        for row in host_rows:
            if row.ok and row.role == "compute" and row.host not in seen:
                row.skip(leftovers.TASK, "Nova does not tell of it now, so it was not looked at")
            if row.ok:
                leftovers.find(row, seen.get(row.host, leftovers.Seen()), fate)
            row.facts = {}
        return rows.batch(host_rows)


def _seen(cloud: Cloud, aggregate: str) -> dict[str, leftovers.Seen]:
    # The lost run may have been given another one than this.
    ours = aggregates.for_docker(cloud.compute, aggregate)
    members = {host for item in ours for host in item["hosts"]}
    shown = nova.by_host(cloud.compute)
    seen = {}
    for service in nova.services(cloud.compute):
        of_host = shown.get(service["host"], [])
        seen[service["host"]] = leftovers.Seen(
            of_host[0]["hypervisor_type"] if of_host else "",
            sum(len(item.get("servers") or []) for item in of_host),
            nova.left_out_by(service),
            service["host"] in members,
        )
    return seen


@action
class CheckLeft(NovadockerAction):
    """Ask hosts that may be whole by the checks of their steps, with the settings of the lost run.

    :param rows: hosts, from find_left
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts with what is pending."""
        host_rows = rows.read(self.rows)
        # A run that is gone cannot tell what it was to make of hosts.
        settings_of = functools.cache(functools.partial(runs.settings_of, cloud.workflow))
        jobs = []
        for row in host_rows:
            if row.ok and row.unknown:
                steps = [*row.unknown, *(["verify_host"] if row.role == "compute" else [])]
                own = self._own(cloud) if "configure_glance" in steps else None
                made_by = settings_of(row.left_by) if row.left_by else {}
                jobs.append(job(row, steps, {**self.settings, **made_by}, own))
        timeout_s, run_id = self.settings["step_timeout_s"], self.settings["run_id"]
        push_to_all(cloud, jobs, mode="check", timeout_s=timeout_s, run_id=run_id)
        return rows.batch(host_rows)

    @staticmethod
    def _own(cloud: Cloud) -> dict[str, dict[str, Any]]:
        made = recipes.settings_of("configure_glance", "glance", {})
        return {"configure_glance": {**made, "api_accepts": glance.accepts_docker(cloud.image)}}


@action
class TakeBack(RollBack):
    """Push to hosts that are not whole what takes back all that the lost run did there.

    :param rows: hosts, from check_left
    :param settings: the workflow's
    """

    task = "take_back"

    def failed(self, fault: Fault) -> dict[str, Any]:
        """Return the hosts; what could not be put back is left as it is."""
        host_rows = _judged(self.rows)
        for row in host_rows:
            if row.to_roll_back:
                row.stuck = True
                row.add_reason(f"it could not be put back: {fault}")
        return rows.batch(host_rows)

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts with what is pending."""
        host_rows = _judged(self.rows)
        self._keep_controllers(cloud, [row for row in host_rows if row.role != "compute"])
        self._ask_again(cloud, [row for row in host_rows if row.role == "compute"])
        return self.put_back(cloud, host_rows)

    def _aggregates(self, cloud: Cloud) -> list[dict[str, Any]]:
        """Return that of the lost run, whichever that was given."""
        return aggregates.for_docker(cloud.compute, self.settings["aggregate"])

    def _keep_controllers(self, cloud: Cloud, controllers: list[HostRow]) -> None:
        """Leave controllers as they are that Docker hypervisors or other runs need."""
        broken = [row for row in controllers if row.to_roll_back]
        if not broken:
            return
        busy = runs.others(cloud.workflow, self.settings["run_id"])
        needed_by = f"run {busy[0]['id']} is under way" if busy else ""
        if nova.docker_hosts(cloud.compute):
            needed_by = "there are Docker hypervisors"
        for row in broken if needed_by else []:
            row.stuck = True
            row.add_reason(f"it was not put back, as {needed_by}: deploy again")

    def _ask_again(self, cloud: Cloud, computes: list[HostRow]) -> None:
        """Take hosts out of service that are to be disturbed, and see who lives there by then.

        One that its operator has put into service may have got containers since it was looked at.
        """
        asked = [
            row
            for row in computes
            if row.to_roll_back and not row.mended and any(map(row.is_disturbed_by, row.done))
        ]
        services = nova_actions.services_of(cloud, asked, self.task)
        for row in asked:
            row.stuck |= row.host not in services
        asked = [row for row in asked if not row.stuck]
        run_id = self.settings["run_id"]
        # Those as well that this took out of it before its executor was lost.
        served = [
            row
            for row in asked
            if not nova.is_disabled(services[row.host])
            or nova.parked_by(services[row.host]) == run_id
        ]
        for row in served:
            nova.disable(cloud.compute, row, run_id, services[row.host])
        if served:
            # The scheduler may be about to claim for a request that saw the host in service.
            time.sleep(nova_actions.QUIET_S)
        living, faults = nova_actions.who_lives(cloud, asked)
        for row in asked:
            if row.host in faults:
                row.stuck = True
                row.add_reason(f"who lives on it cannot be told: {faults[row.host]}")
            else:
                order.note_instances(row, len(living[row.host]))
        nova_actions.give_back(cloud, [row for row in served if row.mended])


def _judged(packed: Any) -> list[HostRow]:
    host_rows = rows.read(packed)
    for row in host_rows:
        leftovers.judge(row)
        row.needs, row.unknown = [], []
    return host_rows


@action
class PutRight(ChangingAction):
    """Put hosts that are whole, or were put back, into service and where they belong.

    One that is neither stays out of service, with the reason; so does one that its operator took
    out, with his.

    :param rows: hosts, from take_back
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]

    task = "put_right"

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts."""
        host_rows = rows.read(self.rows)
        for row in host_rows:
            leftovers.settle(row)
        moved = [row for row in host_rows if row.ok and (row.parked or row.changed)]
        computes = [row for row in moved if row.role == "compute"]
        waiting = nova_actions.await_shown(cloud, computes, docker=None)
        for row in computes:
            if row.host in waiting:
                row.fail("verify_compute", f"afterwards {waiting[row.host]}")
                row.stuck = True
        of_compute = [row for row in host_rows if row.role == "compute"]
        left = [row for row in of_compute if row.left_by or not row.ok]
        awaited = [row for row in left if row.state != SKIPPED]
        services = nova_actions.services_of(cloud, awaited, self.task)
        shown = nova.by_host(cloud.compute, with_servers=False)
        ours = aggregates.for_docker(cloud.compute, self.settings["aggregate"])
        for row in left:
            if row.host not in services:
                continue
            try:
                if row.ok and row.left_by:
                    self._place(cloud, row, shown.get(row.host, []), ours)
                self._settle(cloud, row, services[row.host])
            except CloudError as err:
                row.fail(self.task, f"it could not be put right: {err}")
        return rows.batch(host_rows)

    def _place(
        self,
        cloud: Cloud,
        row: HostRow,
        shown: list[dict[str, Any]],
        ours: list[dict[str, Any]],
    ) -> None:
        if shown and shown[0]["hypervisor_type"] == hosts.DOCKER:
            if not any(row.host in item["hosts"] for item in ours):
                aggregate = aggregates.ensure(cloud.compute, self.settings["aggregate"])
                row.changed |= aggregates.add(cloud.compute, aggregate, row.host)
            return
        for item in ours:
            row.changed |= aggregates.remove(cloud.compute, item, row.host)
        for item in shown if row.changed or row.parked else []:
            row.changed |= traits.remove(cloud, item)

    def _settle(self, cloud: Cloud, row: HostRow, service: dict[str, Any]) -> None:
        if row.ok:
            if row.left_by and nova.enable(cloud.compute, row, service):
                row.changed = True
                row.add_reason(f"put into service: run {row.left_by} had left it out")
        elif (row.state == SKIPPED or row.step in _ASKING) and nova.is_disabled(service):
            row.add_reason(f"its compute service stays disabled: {service['disabled_reason']}")
        elif nova.is_disabled(service):
            nova.explain_disabled(cloud.compute, row, self.settings["run_id"], service)


@action
class Sweep(NovadockerAction):
    """End what lost runs have left beside hosts: trusts, records of images, an empty aggregate.

    Their pages are deleted when the report is written, as by every run.

    :param settings: the workflow's
    """

    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return ``notes`` of what was ended."""
        notes = []
        ended = trusts.sweep(cloud)
        if ended:
            notes.append(f"{len(ended)} trusts of runs that have ended were ended")
        if not runs.others(cloud.workflow, self.settings["run_id"], runs.UPLOADING):
            removed = glance.remove_queued(cloud.image, cloud.project_id)
            if removed:
                notes.append(f"{removed} images that were never uploaded were removed from Glance")
        name = self.settings["aggregate"]
        busy = runs.others(cloud.workflow, self.settings["run_id"])
        unused = not busy and not nova.docker_hosts(cloud.compute)
        if unused and aggregates.give_back(cloud.compute, name):
            notes.append(f"the aggregate {name} had no host and was removed")
        return {"notes": notes}

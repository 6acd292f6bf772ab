# SPDX-License-Identifier: Apache-2.0
"""Actions at the end of a batch and of a run: the gate, the audit and the report."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from keystoneauth1.exceptions import ClientException

from novadocker_actions import driver_wheel
from novadocker_actions.actions.base import PATIENCE_S, Fault, NovadockerAction, action
from novadocker_actions.cloud import aggregates, clients, ended, glance, nova, pages, runs, trusts
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError, NovadockerError, PageLost
from novadocker_actions.plan import findings, gate, holds, report, rows, sentence
from novadocker_actions.plan.rows import HostRow

LOG = logging.getLogger(__name__)


@action
class Gate(NovadockerAction):
    """Decide before the first batch and after each whether the run goes on, or waits before that.

    :param failures: how many hosts of all batches failed until now
    :param left: how many batches would come next
    :param max_failed: how many hosts may fail, as the plan tells it: a number
    :param settings: the workflow's, with until when batches are begun and the run may wait
    :param ended: how many batches have ended
    :param changing: how many hosts the next batch changes
    :param held: how the waiting before the next batch has ended, None where there was none yet
    """

    failures: int
    left: int
    max_failed: int
    settings: dict[str, Any]
    ended: int = 0
    changing: int = 0
    held: dict[str, Any] | None = None

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return ``go_on``, ``hold``, what is waited for first, and ``stopped``, why it ends."""
        now, until, batch = time.time(), self.settings["until"], self.ended + 1
        hold = holds.before(batch, self.left, self.changing, self.settings, now)
        held = self.held if self.held and self.held["batch"] == batch else None
        unapproved = hold is not None and held is not None and not held["approved"]
        decision = gate.decide(
            self.failures,
            self.max_failed,
            self.left,
            timeout_s=self.settings["run_timeout_s"],
            late=until is not None and now >= until,
            asked=self.left > 0 and runs.is_asked_to_stop(cloud.workflow, self.settings["run_id"]),
            unapproved=unapproved and holds.kind_before(batch, self.settings) == holds.APPROVAL,
            tired=unapproved and now >= self.settings["hold_until"],
        )
        waits = decision.go_on and hold is not None and held is None
        return {
            "go_on": decision.go_on and not waits,
            "hold": asdict(hold) if hold and waits else None,
            "stopped": decision.reason,
        }


@action
class LookAtHold(NovadockerAction):
    """Look whether a run that waits between two batches is to go on with its gate.

    :param hold: what it waits for, from the gate
    :param settings: of the workflow's the run's id and its trust
    """

    hold: dict[str, Any]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return ``again_s`` until the next look, 0 for none, and whether it is ``approved``."""
        run_id, hold = self.settings["run_id"], holds.Hold(**self.hold)
        approved = runs.is_approved(cloud.workflow, run_id, hold.batch)
        if approved or runs.is_asked_to_stop(cloud.workflow, run_id):
            return {"again_s": 0, "approved": approved}
        return self._not_approved()

    def failed(self, fault: Fault) -> Any:
        """Return when to look again: a service that is away for a while ends no waiting."""
        LOG.warning("Whether a run is to go on could not be looked at: %s", fault)
        return self._not_approved()

    def _not_approved(self) -> dict[str, Any]:
        return {"again_s": holds.Hold(**self.hold).look_s(time.time()), "approved": False}


@action
class Audit(NovadockerAction):
    """Compare with what Nova and Glance show; changes nothing.

    :param plan: the plan of a verify run
    :param batches: its compute hosts
    :param settings: the workflow's
    """

    plan: dict[str, Any]
    batches: list[dict[str, Any]]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the compute hosts with their faults, images, and remarks."""
        batches = [_rows_of(cloud, [batch["rows"]]) for batch in self.batches]
        computes = [row for batch in batches for row in batch]
        waiting = nova.unsettled(nova.AwaitedHypervisors(cloud.compute), computes, docker=True)
        aggregate = aggregates.find(cloud.compute, self.settings["aggregate"]) or {"hosts": []}
        services, faults = nova.services_of(cloud.compute, [row.host for row in computes])
        disabled = {
            host: item.get("disabled_reason") or "nobody said why"
            for host, item in services.items()
            if nova.is_disabled(item)
        }
        for row in computes:
            if row.host in waiting:
                row.fail("verify_compute", waiting[row.host])
            elif row.host not in aggregate["hosts"]:
                row.fail("isolate", f"it is not in the aggregate {self.settings['aggregate']}")
            elif row.host in faults:
                row.fail("enable_compute", faults[row.host])
            elif row.host in disabled:
                row.fail("enable_compute", f"its compute service is disabled: {disabled[row.host]}")
        notes = []
        if aggregate["hosts"] and not aggregates.is_isolated(aggregate):
            notes.append(f"the aggregate {self.settings['aggregate']} has lost its trait")
        if not glance.accepts_docker(cloud.image):
            notes.append("Glance does not accept docker images")
        shown = []
        for wanted in self.plan["images"]:
            image = glance.published(
                cloud.image, cloud.project_id, wanted["reference"], wanted["digest"]
            )
            shown.append({**wanted, "id": image["id"] if image else "", "ok": bool(image)})
            if not image:
                notes.append(
                    f"image {wanted['reference']} is not in Glance among those that this project "
                    "published"
                )
        kept = pages.keep(
            cloud.workflow, self.settings["run_id"], [rows.write(batch) for batch in batches]
        )
        return {"batches": [{"rows": page} for page in kept], "images": shown, "notes": notes}


def _rows_of(cloud: Cloud | None, named: Iterable[Any]) -> list[HostRow]:
    host_rows = []
    for page in named:
        if cloud is not None:
            host_rows += rows.read(pages.read(cloud.workflow, page))
        elif not isinstance(page, dict):
            host_rows += rows.read(page)
    return host_rows


class Report(NovadockerAction):
    """Put together what a run did: state, totals, a row a host, and one sentence with a URL.

    :param plan: from the plan action, {} when it did not come to that
    :param batches: compute hosts as they were planned, of those that the run has not come to
    :param done: compute hosts of the batches that have ended, of those that were put back too
    :param lost: what names the rows of batches whose workflow was lost
    :param controllers: rows of the controller group
    :param images: published images
    :param stopped: the gate's reason
    :param errors: failed tasks: name and error
    :param settings: the workflow's, {} when they were refused
    :param notes: remarks
    :param findings: what a precheck has found of services
    """

    def __init__(
        self,
        plan: dict[str, Any],
        batches: list[dict[str, Any]] | None = None,
        done: list[dict[str, Any]] | None = None,
        lost: list[Any] | None = None,
        controllers: list[dict[str, Any]] | None = None,
        images: list[dict[str, Any]] | None = None,
        stopped: str = "",
        errors: list[dict[str, Any]] | None = None,
        settings: dict[str, Any] | None = None,
        notes: list[str] | None = None,
        findings: list[str] | None = None,
    ) -> None:
        self.plan = plan
        self.batches = batches or []
        self.done = done or []
        self.lost = lost or []
        self.controllers = controllers or []
        self.images = images or []
        self.stopped = stopped
        self.errors = errors or []
        self.settings = settings or {}
        self.notes = notes or []
        self.findings = findings or []

    def run(self, context: Any) -> Any:
        """Run the action, if need be without the cloud: a report there must be."""
        self._workflow = str(context.execution.workflow_name).partition(".")[2]
        self._run_id = str(context.execution.workflow_execution_id)
        try:
            cloud = clients.connect(context, self.settings.get("trust_id", ""), PATIENCE_S)
        except (NovadockerError, ClientException) as err:
            LOG.warning("The report is made without the cloud: %s", err)
            return self._report(None, f"execution {self._run_id}")
        return self.act(cloud)

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return ``message``, ``url``, ``report``, and whether the run is to end in error."""
        url = self.settings.get("report_url") or self._url(cloud)
        try:
            result = self._report(cloud, url)
        except (CloudError, PageLost) as err:
            LOG.warning("The report is made without the hosts' pages: %s", err)
            self.notes = [*self.notes, f"not all hosts could be read: {err}"]
            result = self._report(None, url)
        accepted = bool(self.settings)
        own = ended.keep(cloud.workflow, self._run_id, result, accepted=accepted)
        pages.sweep(cloud.workflow, self._run_id, own)
        # The run's own last: what comes after it may be asked for by that one alone.
        for name in trusts.SETTINGS:
            if self.settings.get(name):
                cloud.revoke(self.settings[name])
        trusts.sweep(cloud)
        return result

    def _report(self, cloud: Cloud | None, url: str) -> dict[str, Any]:
        facts = self._facts(cloud)
        made = report.build(facts)
        text = sentence.message(facts, made, url)
        bad = made["state"] in report.BAD
        if len(json.dumps(made)) > report.WHOLE_CHARS:
            made = report.beginning(made, self._written(cloud, made) if cloud else [])
        return {"message": text, "url": url, "report": made, "bad": bad}

    def _written(self, cloud: Cloud, made: dict[str, Any]) -> list[dict[str, str]]:
        return [
            pages.write(cloud.workflow, pages.TOLD, self._run_id, part)
            for part in report.parts(made)
        ]

    def _facts(self, cloud: Cloud | None) -> report.Facts:
        finished = _rows_of(cloud, (batch["rows"] for batch in self.done))
        for row in _rows_of(cloud, self.lost):
            row.lose("unknown", "its batch's sub-workflow was lost: see the execution's tasks")
            finished.append(row)
        known = {row.host for row in finished}
        left = _rows_of(cloud, (batch["rows"] for batch in self.batches))
        planned = [row for row in left if row.host not in known]
        rest = _rows_of(cloud, self.plan.get("rest", []))
        unselected = self.plan.get("unselected", [])
        if cloud is not None:
            unselected = pages.read(cloud.workflow, unselected)
        planning = self._workflow in ("plan", "precheck")
        return report.Facts(
            workflow=self._workflow,
            controllers=rows.read(self.controllers or self._planned_controllers(planning)),
            computes=[*finished, *planned, *rest],
            not_started=() if planning else [row.host for row in planned],
            unselected=unselected if isinstance(unselected, list) else [],
            images=self.images or (self.plan.get("images", []) if planning else []),
            stopped=self.stopped,
            errors=self.errors,
            rule=self.plan.get("rule", ""),
            plan_digest=self.plan.get("digest", ""),
            max_failed=self.plan.get("max_failed", 0),
            notes=self.notes,
            remarks=self.plan.get("remarks", []),
            findings=[*findings.of_no_host(self.findings), *self.plan.get("findings", [])],
            phase=self.settings.get("phase", ""),
            driver=driver_wheel.version() if self.settings.get("upgrade") else "",
        )

    def _planned_controllers(self, planning: bool) -> list[dict[str, Any]]:
        wanted = planning or self._workflow == "verify"
        controllers: list[dict[str, Any]] = self.plan.get("controllers", []) if wanted else []
        return controllers

    def _url(self, cloud: Cloud) -> str:
        try:
            page = report.page(cloud.dashboard_url(), self._run_id)
            return page or f"{cloud.workflow_url}/executions/{self._run_id}"
        except (NovadockerError, ClientException):
            return f"execution {self._run_id}"

# SPDX-License-Identifier: Apache-2.0
"""Actions of a run's first part: all that is looked at and refused before anything changes."""

from __future__ import annotations

import logging
import time
from typing import Any

from mistral_lib import actions

from novadocker_actions import host_steps, recipes
from novadocker_actions.actions.base import NovadockerAction, action
from novadocker_actions.cloud import glance, inventory, nova, pages, runs
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError, NovadockerError, Refused, Stopped
from novadocker_actions.plan import (
    claims,
    deployers,
    findings,
    holds,
    hosts,
    inputs,
    isolation,
    order,
    references,
    report,
    rows,
    selection,
)
from novadocker_actions.plan.rows import FAILED, HostRow

LOG = logging.getLogger(__name__)

_COMPUTE, _PRECHECK = "compute", "precheck"
_LOCK_WAIT_S = 20
# Workflows that convert hosts, or show how they would.
_CONVERTING = ("deploy", "plan")
# Workflows that publish images.
_PUBLISHING = ("deploy", "preload_images")


@action
class Begin(NovadockerAction):
    """Check a workflow's inputs, and let Mistral's service user go on for the caller.

    From here on a run outlives its executors: so this is short, and asks Keystone alone.

    :param inputs: the workflow's inputs by name
    """

    inputs: dict[str, Any]

    def run(self, context: Any) -> Any:
        """Run the action; bad inputs are refused before anything is asked."""
        try:
            workflow = str(context.execution.workflow_name).partition(".")[2]
            self._checked = checked(workflow, self.inputs)
        except Refused as err:
            return actions.Result(error=err.to_dict())
        return super().run(context)

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the settings: all fields in one form, the run's id and the trust that it has."""
        # Names of hosts are many, and who selects them takes them from the inputs.
        made = {name: value for name, value in self._checked.items() if name not in inputs.NAMING}
        made["run_id"] = cloud.execution_id
        timeout_s = made["run_timeout_s"]
        made["until"] = round(time.time() + timeout_s) if timeout_s else None
        made["hold_until"] = round(time.time() + holds.LONGEST_S)
        if made["workflow"] in _PUBLISHING and made.get("images"):
            made["upload_trust_id"] = cloud.delegate(glance.UPLOAD_ROLE)
        return {**made, "trust_id": cloud.delegate()}


def checked(workflow: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return a workflow's settings: what every step takes as well, and the workflow's name.

    :param workflow: name without the workbook's
    :param given: its inputs by name
    :raises Refused: on the first input that does not fit
    """
    inputs.require_bearable(given)
    settings = {**inputs.validate(workflow, given), "workflow": workflow}
    for role in (_COMPUTE, "controller,glance"):
        for step in recipes.for_role(role):
            host_steps.check_settings(step, recipes.settings_of(step, role, settings))
    return settings


@action
class SelectHosts(NovadockerAction):
    """Choose the compute hosts, and find the controllers.

    :param inputs: the workflow's inputs by name, with those that name hosts
    :param settings: a workflow's settings
    """

    inputs: dict[str, Any]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return pages of all hosts, the controllers' rows, and what was not selected."""
        service = cloud.compute
        records = hosts.merge(
            nova.services(service),
            list(nova.hypervisors(service)),
            service.get("/os-aggregates")["aggregates"],
            inventory.all_hosts(cloud.orchestration),
        )
        workflow = self.settings["workflow"]
        recovering, prechecking = workflow == "recover", workflow == _PRECHECK
        named = inputs.validate(self.settings["workflow"], self.inputs)
        of_kind = {"recover": selection.select_enrolled, _PRECHECK: selection.select_to_be}
        select = of_kind.get(workflow, selection.select)
        if self.settings["preload"]:
            chosen = select(records, selection.Query.from_settings(named))
        else:
            chosen = selection.Selection([], "no host, as images are only published")
        selection.require_plan(chosen, workflow, self.settings.get("plan_digest"))
        controllers = [r for r in records if r.enrolled and {"controller", "glance"} & {*r.roles}]
        if prechecking:
            selection.require_bearable(chosen.hosts, controllers)
            return self._told(cloud, records, chosen, controllers)
        selection.require_mailboxes(chosen.hosts, records)
        selection.require_bearable(chosen.hosts, controllers)
        for role in () if recovering else ("controller", "glance"):
            if not any(role in record.roles for record in controllers):
                raise Refused(
                    "controllers",
                    f"no enrolled host has the role {role}.",
                    "Enrol one: `novadocker-enroll add --pool controllers "
                    "--role controller,glance HOST`.",
                )
        selection.require_keys([*chosen.hosts, *controllers])
        return self._told(cloud, records, chosen, controllers)

    def _told(
        self,
        cloud: Cloud,
        records: list[hosts.Host],
        chosen: selection.Selection,
        controllers: list[hosts.Host],
    ) -> dict[str, Any]:
        names = {record.name for record in chosen.hosts}
        all_controllers = [
            _row_of(record, ",".join(r for r in record.roles if r != _COMPUTE))
            for record in controllers
        ]
        computes = [_row_of(record, _COMPUTE) for record in chosen.hosts]
        apart: list[HostRow] = []
        if self.settings["workflow"] == _PRECHECK:
            known = {r.name: r for r in (*chosen.hosts, *controllers)}
            all_rows = [*computes, *all_controllers]
            apart = [row for row in all_rows if not findings.in_reach(row, known[row.host])]
            computes = [row for row in computes if row not in apart]
            all_controllers = [row for row in all_controllers if row not in apart]
        controller_rows, compute_rows = rows.write(all_controllers), rows.write(computes)
        run_id = self.settings["run_id"]
        unselected = [r.name for r in records if r.service_id and r.name not in names]
        return {
            "pages": pages.keep(
                cloud.workflow, run_id, order.by_host([*compute_rows, *controller_rows])
            ),
            "controllers": controller_rows,
            "apart": pages.keep(cloud.workflow, run_id, order.by_host(rows.write(apart))),
            "names": claims.carried(names),
            "unselected": pages.keep(cloud.workflow, run_id, [unselected])[0],
            "rule": rows.shorten(chosen.rule),
            "notes": _out_of_reach(records) if self.settings["workflow"] == "recover" else [],
        }


def _out_of_reach(records: list[hosts.Host]) -> list[str]:
    """Return what is told of hosts that a run has left out of service, and no step can reach."""
    left = [r.name for r in records if not r.enrolled and nova.is_our_reason(r.disabled_reason)]
    if not left:
        return []
    return [f"left out of service by a run, and not enrolled any more: {report.names(left)}"]


def _cut(items: list[Any]) -> list[list[Any]]:
    """Return items as lists of as many as a batch has at most."""
    size = order.LARGEST_BATCH
    return [items[start : start + size] for start in range(0, len(items), size)]


def _read(cloud: Cloud, named: list[Any]) -> list[HostRow]:
    """Return the hosts of pages."""
    return [HostRow.from_dict(row) for page in named for row in pages.read(cloud.workflow, page)]


def _row_of(record: hosts.Host, role: str) -> HostRow:
    return HostRow(
        host=record.name,
        role=role,
        deployment_id=record.deployment_id,
        node=record.node if role == _COMPUTE and record.node != record.name else "",
        hypervisor_type=record.hypervisor_type if role == _COMPUTE else "",
        instances=record.instances if role == _COMPUTE else 0,
    )


@action
class FindNeeds(NovadockerAction):
    """Judge the hosts' descriptions: refuse what cannot work, note which steps each host needs.

    :param pages: of all hosts, described
    :param settings: the workflow's
    """

    pages: list[Any]
    settings: dict[str, Any]

    @property
    def _workflow(self) -> str:
        return str(self.settings["workflow"])

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return pages of the hosts, without their descriptions."""
        host_rows = _read(cloud, self.pages)
        computes = [row for row in host_rows if row.role == _COMPUTE]
        node_ids = nova.node_ids(cloud.compute)
        for row in host_rows:
            row.containers = order.containers_of(row.facts)
        if self._workflow == _PRECHECK:
            for row in host_rows:
                order.note_occupied(row)
                if row.ok:
                    order.note_unfit(row, node_ids.get(row.host, ()))
        else:
            order.require_answers(host_rows)
            order.require_identity(host_rows, node_ids)
            order.require_nova(computes)
        phase = self.settings.get("phase")
        if phase == "switch" and self._workflow in _CONVERTING:
            order.require_staged(computes)
        exporting = next((r.host for r in host_rows if "controller" in r.role.split(",")), "")
        for row in host_rows:
            if row.ok:
                self._note_needs(row, exporting)
            row.scheduler = isolation.of_scheduler(row.facts)
            row.deployer = str((row.facts.get("nova") or {}).get("deployer") or "")
            row.facts = {}
        # Who lives on a host is not disturbed by what is staged there.
        if self._workflow not in ("verify", _PRECHECK) and phase != "stage":
            order.spare_occupied(
                computes, self.settings["drain"], converting=self._workflow != "undeploy"
            )
        if self._workflow == "preload_images":
            _require_docker(computes)
        cut = order.by_host(rows.write(host_rows))
        return {"pages": pages.keep(cloud.workflow, self.settings["run_id"], cut)}

    def _note_needs(self, row: HostRow, exporting: str) -> None:
        steps = recipes.for_role(row.role)
        if self.settings.get("upgrade"):
            steps = [step for step in steps if step in recipes.UPGRADING]
        if self._workflow == "undeploy":
            order.needs_to_undo(row, steps)
            return
        if row.role != _COMPUTE and row.host != exporting:
            # One controller exports the images: the others need no engine.
            steps = [step for step in steps if step != "install_docker"]
        if self._workflow == "verify":
            row.unknown = steps
        elif self._workflow != "preload_images":
            order.needs_from_facts(row, steps)
        if self.settings.get("phase") == "switch" and row.role == _COMPUTE:
            # What is staged there is asked whether it is whole, and is left alone where it is.
            row.needs = [step for step in row.needs if step in recipes.DISTURBING]


def _require_docker(computes: list[HostRow]) -> None:
    others = [row.host for row in computes if row.hypervisor_type != hosts.DOCKER]
    if others:
        raise Refused(
            "hosts",
            f"{', '.join(others[:20])} are not Docker hypervisors.",
            "Convert them with novadocker.deploy, or leave them out with exclude.",
        )


@action
class RequireImages(NovadockerAction):
    """Refuse images that the registry does not have; return the digests of the others.

    :param rows: the controller that asked the registry
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> list[dict[str, str]]:
        """Return ``reference`` and ``digest`` of each image; in a precheck what is wrong."""
        try:
            return self._required(cloud)
        except Refused as err:
            if self.settings["workflow"] != _PRECHECK:
                raise
            return [{"reference": "", "digest": "", "reason": rows.shorten(err)}]

    def _required(self, cloud: Cloud) -> list[dict[str, str]]:
        asked = rows.read(self.rows)
        if not asked:
            # Nobody is enrolled yet who could ask.
            return []
        row = asked[0]
        answers = row.facts
        if row.state == FAILED and not any(name in answers for name in self.settings["images"]):
            raise Refused(
                "images",
                f"{row.host} could not ask the registry: {row.reason}.",
                "See the log on that controller.",
            )
        digests = references.require_found(answers, self.settings["images"])
        url = glance.address(cloud.image)
        fault = (answers.get(url) or {}).get("reason")
        if fault and self.settings["workflow"] in (*_PUBLISHING, "plan", _PRECHECK):
            raise Refused(
                "controllers",
                f"{row.host} cannot upload to Glance at {url}: {fault}.",
                "Let that host reach it; where its certificate is not trusted, add the authority "
                "to the host's trusted ones (update-ca-certificates, update-ca-trust).",
            )
        return [{"reference": name, "digest": digest} for name, digest in digests.items()]


@action
class Plan(NovadockerAction):
    """Put what is to be done in order, and give it a digest.

    :param pages: of all hosts with what they need
    :param selected: what select_hosts returned
    :param images: references and digests
    :param settings: the workflow's
    """

    pages: list[Any]
    selected: dict[str, Any]
    images: list[dict[str, str]]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the batches of computes, and the plan: all else that is known of the run."""
        host_rows = _read(cloud, self.pages)
        listed: list[dict[str, Any]] = []
        if self.settings["workflow"] == _PRECHECK:
            host_rows += _read(cloud, self.selected["apart"])
            listed = [*findings.on_the_whole(host_rows, self.images), *findings.of_hosts(host_rows)]
        computes = [row for row in host_rows if row.role == _COMPUTE]
        if self.settings["workflow"] not in ("verify", _PRECHECK):
            order.require_answers(host_rows)
        if self.settings["workflow"] in _CONVERTING:
            for row in computes:
                order.restart_with_driver(row)
        controllers = [row for row in host_rows if row.role != _COMPUTE]
        digest = order.digest(controllers, computes, self.settings)
        order.require_digest(self.settings["plan_digest"], digest)
        if runs.is_asked_to_stop(cloud.workflow, self.settings["run_id"]):
            raise Stopped
        changing = [row for row in computes if row.needs and row.ok]
        settled = [row for row in computes if not row.needs and row.ok]
        sizes = self.settings["batch_size"], self.settings["batch_sizes"]
        cut = order.batches(len(changing), *sizes)
        holds.require_bearable(len(cut), self.settings)
        batches = [[changing[index] for index in batch] for batch in cut] + _cut(settled)
        rest = _cut(rows.write(row for row in computes if not row.ok))
        run_id = self.settings["run_id"]
        plan = {
            "controllers": rows.write(controllers),
            "rest": pages.keep(cloud.workflow, run_id, rest),
            "unselected": self.selected["unselected"],
            "rule": self.selected["rule"],
            "images": [image for image in self.images if "reason" not in image],
            "findings": listed,
            "digest": digest,
            "remarks": self._remarks(cloud, host_rows),
            "max_failed": int(order.share(self.settings["max_failed"], len(changing))),
        }
        kept = pages.keep(cloud.workflow, run_id, [rows.write(batch) for batch in batches])
        return {
            "plan": plan,
            "batches": [
                {"rows": page, **rows.counts(batch)}
                for page, batch in zip(kept, batches, strict=True)
            ],
        }

    def _remarks(self, cloud: Cloud, host_rows: list[HostRow]) -> list[str]:
        if self.settings["workflow"] not in ("deploy", "plan", "verify", _PRECHECK):
            return []
        of_hosts = [*deployers.remarks(host_rows), *findings.unreached(host_rows)]
        try:
            untied = glance.untied(cloud.image)
        except CloudError as err:
            unknown = f"Glance did not tell its images: {err}"
            return [*isolation.remarks(host_rows, []), *of_hosts, unknown]
        return [*isolation.remarks(host_rows, untied), *of_hosts]


@action
class Lock(NovadockerAction):
    """Refuse to change hosts that an active run is about which comes before this one.

    :param pages: of this run's hosts
    :param settings: the workflow's
    """

    pages: list[Any]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the runs that were looked at.

        :raises NovadockerError: while it is not known of a run whether it comes before this one, or
            which hosts it is about
        """
        until = time.monotonic() + _LOCK_WAIT_S
        named = _read(cloud, self.pages)
        self._names = {row.host for row in named if row.role == _COMPUTE}
        while True:
            others = list(runs.ahead(cloud.workflow, self.settings["run_id"]))
            unsaid = [run["id"] for run, comes in others if not comes or self._unsaid(cloud, run)]
            if not unsaid:
                return {"looked_at": [run["id"] for run, _ in others]}
            if time.monotonic() > until:
                raise NovadockerError(
                    f"Run {unsaid[0]} began before or with this one and has not yet said which "
                    "hosts it has. "
                    "Wait for it, or end it: `openstack workflow execution update -s CANCELLED`."
                )
            time.sleep(1)

    def _unsaid(self, cloud: Cloud, other: dict[str, Any]) -> bool:
        theirs = runs.hosts_of(cloud.workflow, other["id"])
        if theirs is None:
            return True
        shared = claims.shared(self._names, theirs)
        if shared:
            raise Refused(
                "hosts",
                f"{', '.join(shared[:20])} are being changed by {other['workflow_name']} "
                f"{other['id']}.",
                "Wait for it to end, or leave these hosts out with exclude.",
            )
        return False

# SPDX-License-Identifier: Apache-2.0
"""Actions that push host steps to a batch of hosts, and the one that collects their outcomes."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from novadocker_actions import host_steps, step_settings
from novadocker_actions.actions.base import NovadockerAction, action
from novadocker_actions.cloud import aggregates, mailbox
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.errors import CloudError, HostBusy
from novadocker_actions.plan import hosts, rows
from novadocker_actions.plan.rows import HostRow

#: How long a push waits for another run's step to end; then the host failed.
BUSY_WAIT_S = 90
#: The longest that verify_host waits for images.
IMAGE_WAIT_S = 3600
#: How long one collect stays; workflows repeat it.
COLLECT_WAIT_S = 20
#: As long as a look lasts, so that looks which fail take as much of the time as others.
COLLECT_PATIENCE_S = 20

#: A host, a step for it and the step's settings.
Job = tuple[HostRow, str, dict[str, Any]]


def converting(row: HostRow, step: str, settings: dict[str, Any]) -> Job:
    """Return a converting step as a host is to be given it.

    :param settings: the workflow's
    """
    return row, step, step_settings.for_step(step, row.role, settings)


def push_to_all(
    cloud: Cloud, jobs: list[Job], *, mode: str, timeout_s: int, run_id: str = ""
) -> None:
    """Push steps into mailboxes; a task that runs again after a lost executor pushes them once.

    :param cloud: the cloud
    :param jobs: at most one a host
    :param mode: ``apply``, ``check``, ``undo`` or ``roll_back``
    :param timeout_s: limit on the host
    :param run_id: the run that changes the hosts, and can be rolled back
    """
    by_host = {row.host: (row, step, settings) for row, step, settings in jobs}
    for step, settings in {step: settings for _, step, settings in jobs}.items():
        host_steps.check_settings(step, settings)

    def push(row: HostRow) -> None:
        _, step, settings = by_host[row.host]
        push_id = mailbox.key(cloud.task_id, row.host, step, mode)
        until = time.monotonic() + BUSY_WAIT_S
        while True:
            try:
                mailbox.push(
                    cloud.orchestration,
                    row,
                    step,
                    settings,
                    mode=mode,
                    timeout_s=timeout_s,
                    push_id=push_id,
                    run_id=run_id,
                )
                return
            except HostBusy as fault:
                if time.monotonic() > until:
                    rows.not_pushed(row, step, str(fault), mode)
                    return
            time.sleep(1)

    mailbox.on_each([row for row, _, _ in jobs], push)


def pushed(found: list[HostRow]) -> dict[str, Any]:
    """Return a push's result: the rows, and at how many hosts a step is under way."""
    return {"rows": rows.write(found), "pending": sum(1 for row in found if row.pending)}


@action
class ConvertingStep(NovadockerAction):
    """Push one converting step to the hosts that need it.

    :param rows: hosts
    :param settings: the workflow's
    :param mode: ``apply``, or ``undo``
    """

    step: ClassVar[str] = ""

    rows: list[dict[str, Any]]
    settings: dict[str, Any]
    mode: str = "apply"

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows with what is pending."""
        found = rows.read(self.rows)
        jobs = [
            converting(row, self.step, self.settings)
            for row in found
            if row.ok and self.step in row.needs
        ]
        push_to_all(
            cloud,
            jobs,
            mode=self.mode,
            timeout_s=self.settings["step_timeout_s"],
            run_id=self.settings.get("run_id", ""),
        )
        return pushed(found)


class InstallDocker(ConvertingStep):
    """Push install_docker: the Docker Engine, its settings, and who may use it."""

    step = "install_docker"


class InstallDriver(ConvertingStep):
    """Push install_driver: nova-docker into Nova's own Python environment."""

    step = "install_driver"


class ConfigureCompute(ConvertingStep):
    """Push configure_compute: drop-in configuration, and a restart where it changed."""

    step = "configure_compute"


class ConfigureGlance(ConvertingStep):
    """Push configure_glance: the container format docker, where it is missing."""

    step = "configure_glance"


@action
class DescribeHosts(NovadockerAction):
    """Push describe_host to all hosts.

    :param rows: hosts
    :param settings: the workflow's
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows with what is pending."""
        found = rows.read(self.rows)
        jobs: list[Job] = [(row, "describe_host", {}) for row in found]
        push_to_all(cloud, jobs, mode="check", timeout_s=self.settings["agent_timeout_s"])
        return pushed(found)


@action
class CheckImages(NovadockerAction):
    """Push check_images to one controller: it asks the registries for the images.

    :param rows: controllers; the first one does it
    :param settings: the workflow's
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the row of the controller that asks."""
        found = [row for row in rows.read(self.rows) if "controller" in row.role.split(",")][:1]
        jobs = [(row, "check_images", {"images": self.settings["images"]}) for row in found]
        timeout_s = self.settings["agent_timeout_s"] + 60
        push_to_all(cloud, jobs, mode="check", timeout_s=timeout_s)
        return pushed(found)


@action
class CheckSteps(NovadockerAction):
    """Push, in check mode, the next step of which a host does not know whether it needs it.

    :param rows: hosts
    :param settings: the workflow's
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows with what is pending, and whether more is to be asked afterwards."""
        found = rows.read(self.rows)
        jobs = [
            converting(row, row.unknown.pop(0), self.settings)
            for row in found
            if row.ok and row.unknown
        ]
        push_to_all(cloud, jobs, mode="check", timeout_s=self.settings["step_timeout_s"])
        return {**pushed(found), "unknown": any(row.ok and row.unknown for row in found)}


@action
class RollBack(NovadockerAction):
    """Push, to each host that failed, that the last step that changed it takes that back.

    The host goes back to how this run found it, which may be a Docker hypervisor that an earlier
    run made. One that has instances and had lost a part of what makes it one is left as it is.

    :param rows: hosts
    :param settings: the workflow's
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows with what is pending, and whether more is to be undone afterwards."""
        found = rows.read(self.rows)
        rows.leave_mended(found)
        self._leave_aggregate(cloud, found)
        jobs = [converting(row, row.done.pop(), self.settings) for row in found if row.to_roll_back]
        push_to_all(
            cloud,
            jobs,
            mode="roll_back",
            timeout_s=self.settings["step_timeout_s"],
            run_id=self.settings["run_id"],
        )
        return pushed(found)

    def _leave_aggregate(self, cloud: Cloud, found: list[HostRow]) -> None:
        leaving = [row for row in found if row.to_roll_back and not self._stays_docker(row)]
        aggregate = aggregates.find(cloud.compute, self.settings["aggregate"]) if leaving else None
        for row in leaving if aggregate else []:
            try:
                aggregates.remove(cloud.compute, aggregate or {}, row.host)
            except CloudError as fault:
                row.add_reason(f"it is still in the aggregate: {fault}")

    @staticmethod
    def _stays_docker(row: HostRow) -> bool:
        return row.role != "compute" or row.hypervisor_type == hosts.DOCKER


@action
class VerifyHost(NovadockerAction):
    """Push verify_host: the engine answers user nova, the driver loads, images are there.

    :param rows: hosts
    :param settings: the workflow's
    :param image_ids: Glance images that the host is to hold
    :param required: whether a host without them has failed; else they are late, and that is told
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]
    image_ids: list[str] | None = None
    required: bool = True

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows with what is pending."""
        found = rows.read(self.rows)
        timeout_s = self.settings["step_timeout_s"]
        settings = {
            "images": self.image_ids or [],
            "wait_s": min(timeout_s - 15, IMAGE_WAIT_S) if self.image_ids else 0,
        }
        jobs = [(row, "verify_host", settings) for row in found if row.ok]
        push_to_all(cloud, jobs, mode="check", timeout_s=timeout_s)
        for row in found:
            if row.pending is not None:
                row.pending.remark = not self.required
        return pushed(found)


@action
class Collect(NovadockerAction):
    """Collect the outcomes of what was pushed: look for a while, say how many are still pending.

    :param rows: hosts with pending steps
    :param settings: the workflow's
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]

    @property
    def patience_s(self) -> float:
        """How long it bears services that are away; workflows repeat it."""
        return COLLECT_PATIENCE_S

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the rows, how many are pending, ok, and to be rolled back."""
        found = rows.read(self.rows)
        pending = mailbox.look_at_all(cloud.orchestration, found, COLLECT_WAIT_S)
        return {
            "rows": rows.write(found),
            "pending": pending,
            "ok": sum(1 for row in found if row.ok),
            "to_roll_back": sum(1 for row in found if row.to_roll_back),
            "unknown": any(row.ok and row.unknown for row in found),
        }

# SPDX-License-Identifier: Apache-2.0
"""Actions that push recipes to a batch of hosts, and the one that collects their outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from novadocker_actions import host_package, host_steps, recipes
from novadocker_actions.actions.base import ChangingAction, Fault, NovadockerAction, action
from novadocker_actions.cloud import aggregates, glance, mailbox, operators, progress, runs
from novadocker_actions.cloud.clients import Cloud
from novadocker_actions.cloud.host_keys import HostKeys
from novadocker_actions.errors import CloudError, HostBusy
from novadocker_actions.plan import hosts, rows
from novadocker_actions.plan.rows import HostRow

# How long a push waits for a host that belongs to another run; then the host failed.
BUSY_WAIT_S = 90
# How long another run that only looks at a host has to collect what came of it.
COLLECTED_S = 30
# The longest that verify_host waits for images.
IMAGE_WAIT_S = 3600
# How long a host may take to install its package of steps.
PACKAGE_S = 60
# How long one collect stays; workflows repeat it.
COLLECT_WAIT_S = 20

# How long it is believed that another run is active.
_ACTIVITY_S = 5

# A host, and the steps with their settings that it is to run.
Job = tuple[HostRow, list[tuple[str, dict[str, Any]]]]


def job(
    row: HostRow,
    steps: Sequence[str],
    settings: dict[str, Any],
    own: Mapping[str, dict[str, Any]] | None = None,
) -> Job:
    """Return a recipe as a host is to be given it.

    :param steps: names of steps
    :param settings: the workflow's
    :param own: settings of a step that are not made from the workflow's
    """
    given = own or {}
    return row, [
        (name, given.get(name) or recipes.settings_of(name, row.role, settings, node=row.node))
        for name in steps
    ]


def push_to_all(
    cloud: Cloud, jobs: list[Job], *, mode: str, timeout_s: int, run_id: str, own_id: str = ""
) -> None:
    """Push recipes into mailboxes; a task that runs again after a lost executor pushes them once.

    A host that is asked for two of its roles gets one message, of which each role takes its own.

    :param cloud: the cloud
    :param jobs: at most one a host and role
    :param mode: ``apply``, ``check``, ``undo`` or ``roll_back``
    :param timeout_s: limit on the host, for all steps of its recipe
    :param run_id: the run that the hosts belong to by that, and that can be rolled back
    :param own_id: the run that pushes, where that is another: it does not wait for itself
    :raises Refused: when the caller is no operator, or settings do not fit a step
    """
    if jobs:
        operators.require(cloud)
    by_host, is_active = _by_host(jobs), _activity(cloud, own_id or run_id)

    def push(row: HostRow) -> None:
        steps = by_host[row.host]
        names = [name for name, _ in steps]
        push_id = mailbox.key(cloud.task_id, row.host, mode, *names)
        patience = _Patience(is_active)
        while True:
            try:
                mailbox.push(
                    cloud.orchestration,
                    row,
                    steps,
                    mode=mode,
                    timeout_s=timeout_s,
                    push_id=push_id,
                    run_id=run_id,
                    is_active=patience.is_active,
                )
                return
            except HostBusy as err:
                if not patience.bears(err):
                    rows.not_pushed(row, names, str(err), mode)
                    return
            except CloudError as err:
                if mode == "check":
                    raise
                rows.perhaps_pushed(row, names, str(err), mode)
                return
            time.sleep(1)

    mailbox.on_each([row for row, _ in jobs], push)


class _Patience:
    """How long a push waits for other runs.

    :param is_active: whether a run is under way
    """

    def __init__(self, is_active: Callable[[str], bool]) -> None:
        self._known, self.is_active = is_active, is_active
        self._until = time.monotonic() + BUSY_WAIT_S
        self._collected_at: float | None = None

    def bears(self, busy: HostBusy) -> bool:
        """Return whether to try again, when a host was found busy."""
        now = time.monotonic()
        if busy.uncollected:
            # From when its outcome was there, however long that took to come.
            self._collected_at = self._collected_at or now + COLLECTED_S
            if now > self._collected_at:
                self.is_active = _has_collected
            return True
        self._collected_at, self.is_active = None, self._known
        return now <= self._until


def _by_host(jobs: list[Job]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    by_host: dict[str, dict[str, dict[str, Any]]] = {}
    for row, given in jobs:
        steps = by_host.setdefault(row.host, {})
        for name, settings in given:
            host_steps.check_settings(name, settings)
            # The first is the compute host's, which includes what a controller is given.
            steps.setdefault(name, settings)
    return {host: list(steps.items()) for host, steps in by_host.items()}


def _activity(cloud: Cloud, own_id: str) -> Callable[[str], bool]:
    activity: dict[str, tuple[float, bool]] = {}

    def is_active(other: str) -> bool:
        if other == own_id:
            return False
        asked_at, active = activity.get(other, (0.0, False))
        if time.monotonic() > asked_at + _ACTIVITY_S:
            active = runs.is_active(cloud.workflow, other)
            activity[other] = (time.monotonic(), active)
        return active

    return is_active


def _has_collected(_run_id: str) -> bool:
    return False


@action
class PushRecipe(ChangingAction):
    """Push a recipe to hosts: of the named steps those that each host needs, in this order.

    A step that only looks is for every host; one that converts, for those that need it. In mode
    ``apply`` a host where nothing is left to apply runs the looking steps in mode ``check``.

    :param rows: hosts
    :param settings: the workflow's
    :param steps: names of host steps, in the order in which hosts run them
    :param mode: ``apply``, ``check`` or ``undo``
    :param timeout_s: limit for all steps together, null for step_timeout_s
    :param in_service: whether hosts are in service: then what would disturb that is left out
    :param image_ids: Glance images that verify_host looks for
    :param remark: whether a step that fails is but a remark
    """

    rows: Any
    settings: dict[str, Any]
    steps: list[str]
    mode: str = "apply"
    timeout_s: int | None = None
    in_service: bool = False
    image_ids: list[str] | None = None
    remark: bool = False

    task = "push"

    def failed(self, fault: Fault) -> Any:
        """Return an error where hosts are but looked at; else the hosts, as unknown."""
        if self.mode == "check":
            return NovadockerAction.failed(self, fault)
        if self.remark:
            return rows.batch(_remarked(rows.read(self.rows), fault))
        return super().failed(fault)

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts with what is pending."""
        host_rows = rows.read(self.rows)
        if self.remark and not self.image_ids:
            return rows.batch(host_rows)
        timeout_s = self.timeout_s or self.settings["step_timeout_s"]
        own = {"verify_host": self._image_settings(timeout_s)} if self.image_ids else {}
        if "configure_glance" in self.steps and self.mode != "undo":
            own["configure_glance"] = self._glance_settings(cloud, host_rows)
        wanted = [(row, self._steps_of(row)) for row in host_rows if row.ok]
        for mode in ("apply", "check", "undo"):
            jobs = [
                job(row, steps, self.settings, own)
                for row, steps in wanted
                if steps and self._mode_of(steps) == mode
            ]
            run_id = self.settings["run_id"]
            push_to_all(cloud, jobs, mode=mode, timeout_s=timeout_s, run_id=run_id)
        for row in host_rows:
            if row.pending is not None:
                row.pending.remark = self.remark
        return rows.batch(host_rows)

    def _steps_of(self, row: HostRow) -> list[str]:
        steps = [name for name in self.steps if self._is_for(row, name)]
        if self.mode == "check":
            row.unknown = [name for name in row.unknown if name not in steps]
        return steps

    def _is_for(self, row: HostRow, name: str) -> bool:
        if name not in recipes.CONVERTING:
            return True
        if self.mode == "check":
            return name in row.unknown
        if self.in_service and row.is_disturbed_by(name):
            return False
        return name in row.needs and name not in row.done

    def _mode_of(self, steps: Sequence[str]) -> str:
        return self.mode if recipes.CONVERTING & set(steps) else "check"

    def _glance_settings(self, cloud: Cloud, host_rows: list[HostRow]) -> dict[str, Any]:
        made = recipes.settings_of("configure_glance", "glance", self.settings)
        if any("glance" in row.role.split(",") for row in host_rows):
            made["api_accepts"] = glance.accepts_docker(cloud.image)
        return made

    def _image_settings(self, timeout_s: int) -> dict[str, Any]:
        wait_s = min(timeout_s - 15, IMAGE_WAIT_S)
        # What is but a remark comes after the host itself was verified.
        return {"images": self.image_ids, "wait_s": wait_s, "driver": not self.remark}


def _remarked(host_rows: list[HostRow], fault: Exception) -> list[HostRow]:
    for row in host_rows:
        if row.ok:
            row.pending = None
            row.add_reason(f"whether images are there is not known: {fault}")
    return host_rows


@action
class BringPackage(NovadockerAction):
    """Push the package of host steps to hosts that have another: it is put beside that one.

    Such a host has refused a message, and names no other reason. Messages ask for a package by its
    digest, so executors of two releases may use a host in turns.

    :param rows: hosts
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts with what is pending."""
        host_rows = rows.read(self.rows)
        lacking = [row for row in host_rows if row.package == rows.OTHER]
        for row in lacking:
            row.package, row.state, row.step, row.reason = rows.BROUGHT, rows.OK, "", ""
        own = {recipes.PACKAGE: host_package.settings()} if lacking else None
        jobs = [job(row, [recipes.PACKAGE], self.settings, own) for row in lacking]
        timeout_s = self.settings["agent_timeout_s"] + PACKAGE_S
        run_id = self.settings["run_id"]
        push_to_all(cloud, jobs, mode="apply", timeout_s=timeout_s, run_id=run_id)
        return rows.batch(host_rows)


@action
class CheckImages(NovadockerAction):
    """Push check_images to one controller: it asks the registries for the images, and for Glance.

    :param rows: controllers; the first one does it
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the controller that asks."""
        host_rows = [row for row in rows.read(self.rows) if "controller" in row.role.split(",")][:1]
        place = {"glance_url": glance.address(cloud.image), "glance_authority": cloud.authority}
        asked = recipes.settings_of("check_images", "controller", self.settings)
        own = {"check_images": {**asked, **place}}
        jobs = [job(row, ["check_images"], self.settings, own) for row in host_rows]
        timeout_s = self.settings["agent_timeout_s"] + 60
        run_id = self.settings["run_id"]
        push_to_all(cloud, jobs, mode="check", timeout_s=timeout_s, run_id=run_id)
        return rows.batch(host_rows)


@action
class RollBack(ChangingAction):
    """Push to each host that is not to become what was wanted what takes back all that it ran.

    The host goes back to how this run found it, which may be a Docker hypervisor that an earlier
    run made. One that has instances and had lost a part of what makes it one is left as it is.

    :param rows: hosts
    :param settings: the workflow's
    :param not_started: whether hosts that are well are put back, as their batch does not begin
    """

    rows: Any
    settings: dict[str, Any]
    not_started: bool = False

    task = "roll_back"

    def failed(self, fault: Fault) -> Any:
        """Return the hosts; what could not be put back is left as it is."""
        host_rows = rows.read(self.rows)
        for row in self._not_wanted(host_rows):
            row.stuck = True
            row.add_reason(f"it could not be put back: {fault}")
        return rows.batch(host_rows)

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts with what is pending."""
        return self.put_back(cloud, rows.read(self.rows))

    def put_back(self, cloud: Cloud, host_rows: list[HostRow]) -> dict[str, Any]:
        """Have hosts take back what this run has done, or the one that was lost there."""
        rows.leave_mended(self._not_wanted(host_rows))
        self._leave_aggregate(cloud, host_rows)
        left = [row for row in host_rows if row.to_roll_back]
        timeout_s, own = self.settings["step_timeout_s"], str(self.settings["run_id"])
        for run_id in dict.fromkeys(row.left_by or own for row in left):
            of_run = [row for row in left if (row.left_by or own) == run_id]
            jobs = [job(row, list(reversed(row.done)), self.settings) for row in of_run]
            push_to_all(
                cloud, jobs, mode="roll_back", timeout_s=timeout_s, run_id=run_id, own_id=own
            )
        return rows.batch(host_rows)

    def _not_wanted(self, host_rows: list[HostRow]) -> list[HostRow]:
        for row in host_rows if self.not_started else []:
            if row.ok:
                row.skip("", "not started")
        return [row for row in host_rows if row.to_roll_back]

    def _leave_aggregate(self, cloud: Cloud, host_rows: list[HostRow]) -> None:
        leaving = [row for row in host_rows if row.to_roll_back and not self._stays_docker(row)]
        for aggregate in self._aggregates(cloud) if leaving else []:
            for row in leaving:
                try:
                    aggregates.remove(cloud.compute, aggregate, row.host)
                except CloudError as err:
                    row.add_reason(f"it is still in the aggregate: {err}")

    def _aggregates(self, cloud: Cloud) -> list[dict[str, Any]]:
        """Return the aggregates that hosts are to leave."""
        aggregate = aggregates.find(cloud.compute, self.settings["aggregate"])
        return [aggregate] if aggregate else []

    @staticmethod
    def _stays_docker(row: HostRow) -> bool:
        return row.role != "compute" or row.hypervisor_type == hosts.DOCKER


@action
class Collect(ChangingAction):
    """Collect the outcomes of what was pushed: look for a while, say how many are still pending.

    :param rows: hosts with pending recipes
    :param settings: the workflow's
    """

    rows: Any
    settings: dict[str, Any]

    task = "collect"

    def failed(self, fault: Fault) -> Any:
        """Return an error where hosts are but looked at; else the hosts, as unknown."""
        host_rows = rows.read(self.rows)
        pending = [row.pending for row in host_rows if row.pending]
        if all(item.remark for item in pending):
            return rows.batch(_remarked(host_rows, fault))
        if all(item.mode == "check" for item in pending):
            return NovadockerAction.failed(self, fault)
        return super().failed(fault)

    def act(self, cloud: Cloud) -> dict[str, Any]:
        """Return the hosts, with their outcomes as far as they have come."""
        host_rows = rows.read(self.rows)
        heat = cloud.orchestration
        keys = HostKeys(heat)
        if mailbox.look_at_all(heat, host_rows, COLLECT_WAIT_S, keys):
            progress.note(heat, host_rows, keys)
        return rows.batch(host_rows)

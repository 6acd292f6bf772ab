# SPDX-License-Identifier: Apache-2.0
"""What nova-compute does about the engine's events."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from nova import context as nova_context
from nova import exception, objects
from nova.compute import vm_states
from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance
from novadocker.virt.docker.engine import containers, names
from novadocker.virt.docker.face import reports, service
from novadocker.virt.docker.parts import Parts

LOG = logging.getLogger(__name__)

# Exit codes above it are numbers of signals.
_SIGNALLED = 128


def is_to_run(instance: Instance) -> bool:
    """Return whether Nova has an instance as running, and does nothing with it."""
    return bool(instance.vm_state == vm_states.ACTIVE and instance.task_state is None)


class Listening:
    """Listens to the engine: Nova learns what instances do, and whether the host can be used.

    :param virtapi: Nova's way back into nova-compute
    :param emit: takes one of Nova's transitions of an instance
    :param prepare: prepares an engine, and learns what it can do
    """

    def __init__(
        self,
        parts: Parts,
        virtapi: Any,
        emit: Callable[[str, int], None],
        prepare: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._virtapi = virtapi
        self._emit = emit
        self._prepare = prepare

    def changed(self, uuid: str, transition: int) -> None:
        """Tell Nova of a transition of an instance."""
        self._emit(uuid, transition)

    def is_restarted(self, uuid: str) -> bool:
        """Return whether the engine is about to start a workload again that has ended."""
        try:
            state = self._parts.workloads.inspect(names.workload_name(uuid))["State"]
        except exceptions.NotFound:
            return False
        return bool(state["Status"] == containers.RESTARTING)

    def ended(self, uuid: str) -> Callable[[], None] | None:
        """Return what tells the user why a workload has ended that was to run."""
        try:
            state = self._parts.workloads.inspect(names.workload_name(uuid))["State"]
            if containers.state_of(state["Status"]) is not containers.State.STOPPED:
                return None
            context = nova_context.get_admin_context()
            instance = objects.Instance.get_by_uuid(context, uuid)
        except (exceptions.NotFound, exception.InstanceNotFound):
            return None
        if instance.host != self._parts.facts.name or not is_to_run(instance):
            return None
        reason = _why_it_ended(state, instance)
        LOG.info("The workload has ended: %s", reason, instance=instance)
        where = (context, instance, self._parts.facts.name)
        return lambda: reports.ended(*where, reason, _has_failed(state))

    def thawed(self, uuid: str) -> bool:
        """Unfreeze an instance that a dead engine has left frozen.

        :return: False while Nova does something with it
        """
        context = nova_context.get_admin_context()
        try:
            instance = objects.Instance.get_by_uuid(context, uuid)
        except exception.InstanceNotFound:
            return True
        if instance.host != self._parts.facts.name:
            return True
        if is_to_run(instance):
            LOG.warning("Unfreezing what a commit has left frozen", instance=instance)
            self._parts.instances.thaw(instance)
            return True
        return instance.task_state is None

    def engine_lost(self, reason: str) -> None:
        """Take the host out of scheduling."""
        service.disable(self._virtapi, self._parts.facts.name, reason)

    def engine_found(self, is_new: bool) -> None:
        """Put the host back into scheduling, unless a new engine cannot do what options ask for.

        :param is_new: whether the engine is of another version than before
        """
        if is_new:
            try:
                self._prepare()
            except exceptions.DriverError as err:
                LOG.error("The new engine cannot be used: %s", err)
                service.disable(self._virtapi, self._parts.facts.name, str(err))
                return
        service.enable(self._virtapi, self._parts.facts.name)


def _has_failed(state: Mapping[str, Any]) -> bool:
    return bool(state.get("OOMKilled") or state.get("ExitCode"))


def _why_it_ended(state: Mapping[str, Any], instance: Instance) -> str:
    """Return why a workload has ended, for its user.

    :param state: the engine's ``State`` of its container
    """
    code = int(state.get("ExitCode") or 0)
    if state.get("OOMKilled"):
        return f"it took more memory than the {instance.flavor.memory_mb} MiB of its flavor"
    # As a shell tells it.
    if code > _SIGNALLED and code - _SIGNALLED in set(signal.Signals):
        return f"it was ended by {signal.Signals(code - _SIGNALLED).name}"
    return f"it has ended with exit code {code}"

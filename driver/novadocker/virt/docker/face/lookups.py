# SPDX-License-Identifier: Apache-2.0
"""Methods of a compute driver that read the state of instances."""

from __future__ import annotations

from typing import Any

from nova.compute import power_state
from nova.virt import hardware
from oslo_utils import units

from novadocker import conf
from novadocker.types import Context, Instance
from novadocker.virt.docker.engine import containers, names
from novadocker.virt.docker.face import faults
from novadocker.virt.docker.instances import diagnostics
from novadocker.virt.docker.parts import Parts

CONF = conf.load()

MAX_CONSOLE_BYTES = 100 * units.Ki
_POWER_STATES = {
    containers.State.RUNNING: power_state.RUNNING,
    containers.State.PAUSED: power_state.PAUSED,
    containers.State.STOPPED: power_state.SHUTDOWN,
}


class Lookups:
    """Lists instances, and reads their states, logs and counters."""

    parts: Parts

    def list_instances(self) -> list[str]:
        """Return the names of this host's instances; other containers are ignored."""
        return list(self.parts.workloads.names_by_uuid().values())

    def list_instance_uuids(self) -> list[str]:
        """Return the UUIDs of this host's instances."""
        return list(self.parts.workloads.names_by_uuid())

    def get_num_instances(self) -> int:
        """Return the number of this host's instances."""
        return len(self.parts.workloads.names_by_uuid())

    def instance_exists(self, instance: Instance) -> bool:
        """Return whether an instance has a container here."""
        return self.parts.workloads.exists(names.workload_name(instance.uuid))

    def get_info(self, instance: Instance, use_cache: bool = True) -> hardware.InstanceInfo:
        """Return the power state of an instance."""
        with faults.translated(instance):
            details = self.parts.workloads.inspect(names.workload_name(instance.uuid))
        state = containers.state_of(details["State"]["Status"])
        return hardware.InstanceInfo(state=_POWER_STATES[state], internal_id=details["Id"])

    def get_console_output(self, context: Context, instance: Instance) -> str:
        """Return the end of the workload's output."""
        with faults.translated(instance):
            output = self.parts.workloads.log_tail(
                names.workload_name(instance.uuid),
                CONF.docker.console_lines,
                MAX_CONSOLE_BYTES,
            )
        return output.decode("utf-8", "replace")

    def get_diagnostics(self, instance: Instance) -> dict[str, Any]:
        """Return the counters of an instance, in the form before microversion 2.48."""
        with faults.translated(instance):
            return diagnostics.flat(self._counters(instance))

    def get_instance_diagnostics(self, instance: Instance) -> Any:
        """Return the counters of an instance."""
        with faults.translated(instance):
            return diagnostics.versioned(self._counters(instance), instance)

    def _counters(self, instance: Instance) -> diagnostics.Counters:
        name = names.workload_name(instance.uuid)
        namespace = self.parts.sandboxes.namespace(names.sandbox_name(instance.uuid))
        details = self.parts.workloads.inspect(name)
        return diagnostics.Counters(
            details,
            self.parts.instances.is_outdated(instance, details),
            self.parts.workloads.stats(name),
            self.parts.wiring.devices(namespace.path if namespace else None),
        )

# SPDX-License-Identifier: Apache-2.0
"""What an instance's container is made of, by the options, its flavor and Nova's choices for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from oslo_log import log as logging

from novadocker.types import Flavor, Instance
from novadocker.virt.docker.engine import isolation, names, restarts
from novadocker.virt.docker.engine.workload import Workload
from novadocker.virt.docker.host.cpus import Cpus
from novadocker.virt.docker.host.devices import Devices, Given
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.instances import assigned, pinning, wishes
from novadocker.virt.docker.instances.contents import Content

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Options that apply to every instance.

    :param stop_timeout_cap_s: most seconds that a stop waits for a workload to end by itself
    """

    tty: bool
    init: bool
    stop_timeout_cap_s: int

    @classmethod
    def from_section(cls, section: Any) -> Settings:
        """Return the options of the section [docker]."""
        return cls(tty=section.tty, init=section.init, stop_timeout_cap_s=section.stop_timeout_cap)


class Specification:
    """Specifies the containers of instances."""

    def __init__(self, facts: HostFacts, settings: Settings, devices: Devices) -> None:
        self._facts = facts
        self._settings = settings
        self._devices = devices

    def workload(self, instance: Instance, content: Content, name: str | None = None) -> Workload:
        """Return what the workload's container of an instance is made of.

        :param name: name of the container; by default that of the instance's workload
        :raises HostUnfit: the host does not have what Nova has chosen for it
        """
        given = self.given(instance)
        return Workload(
            name=name or names.workload_name(instance.uuid),
            sandbox=names.sandbox_name(instance.uuid),
            image=content.image,
            labels=names.labels(
                instance,
                self._facts.name,
                names.Role.WORKLOAD,
                content.image_id,
                content.own_environment,
                given.label,
            ),
            command=content.command,
            environment={**content.environment, **given.variables},
            tty=self._settings.tty or isolation.wants_terminal(instance.flavor),
            init=self._settings.init,
            entry_point=content.entry_point,
            health_check=content.health_check,
            cpus=self.cpus(instance),
            devices=given,
        )

    def cpus(self, instance: Instance) -> Cpus:
        """Return the processors that an instance runs on.

        :raises HostUnfit: the host has none for it
        """
        return pinning.of(instance, self._facts.processors)

    def given(self, instance: Instance) -> Given:
        """Return the devices of an instance.

        :raises HostUnfit: the host has one of them no more
        """
        return self._devices.given(assigned.names(instance), self._facts.has_cdi)

    def restart(self, instance: Instance) -> Mapping[str, Any]:
        """Return the policy by which the engine restarts an instance.

        It would give it whatever is at the paths of its devices by then: so it starts none itself
        to which it does not give them by their names.
        """
        wanted = wishes.restart(instance)
        if wanted != restarts.NO and assigned.names(instance) and not self._facts.has_cdi:
            LOG.info("It has devices: the engine does not restart it by itself", instance=instance)
            return restarts.NO
        return wanted

    def disk_gb(self, flavor: Flavor) -> int | None:
        """Return the size of the root disk of a flavor; None where there is no limit."""
        return int(flavor.root_gb) if self._facts.disk_quota else None

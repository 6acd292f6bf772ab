# SPDX-License-Identifier: Apache-2.0
"""Methods of a compute driver about consoles that one can type into."""

from __future__ import annotations

from nova import exception
from nova.console import type as console_type
from oslo_log import log as logging

from novadocker import conf
from novadocker.types import Context, Instance
from novadocker.virt.docker.engine import containers, names
from novadocker.virt.docker.face import faults
from novadocker.virt.docker.instances import wishes
from novadocker.virt.docker.parts import Parts

LOG = logging.getLogger(__name__)
CONF = conf.load()


class Consoles:
    """Opens consoles."""

    parts: Parts

    def get_serial_console(
        self, context: Context, instance: Instance
    ) -> console_type.ConsoleSerial:
        """Return where nova-serialproxy finds the console of an instance.

        Nova asks when a user does, and once more for each connection, just before it is made.
        """
        if not CONF.serial_console.enabled:
            raise exception.ConsoleTypeUnavailable(console_type="serial")
        with faults.translated(instance):
            details = self.parts.workloads.inspect(names.workload_name(instance.uuid))
        kind = wishes.console(instance, bool(details["Config"].get("Tty")))
        if kind == "none":
            raise exception.ConsoleTypeUnavailable(console_type="serial")
        if containers.state_of(details["State"]["Status"]) is not containers.State.RUNNING:
            raise exception.InstanceNotReady(instance_id=instance.uuid)
        try:
            host, port = self.parts.consoles.open(instance.uuid, kind == "workload")
        except OSError as err:
            LOG.error(
                "No console on [serial_console]proxyclient_address %s: %s",
                CONF.serial_console.proxyclient_address,
                err,
                instance=instance,
            )
            raise exception.ConsoleTypeUnavailable(console_type="serial") from err
        return console_type.ConsoleSerial(host=host, port=port)

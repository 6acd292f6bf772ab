# SPDX-License-Identifier: Apache-2.0
"""Methods of a compute driver about ports."""

from __future__ import annotations

import contextlib

from nova import exception
from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Context, ImageMeta, Instance, NetworkInfo, Vif
from novadocker.virt.docker.engine import names
from novadocker.virt.docker.face import faults, listening
from novadocker.virt.docker.instances import pinning
from novadocker.virt.docker.network import tags
from novadocker.virt.docker.parts import Parts

LOG = logging.getLogger(__name__)


class Ports:
    """Plugs, attaches and detaches ports of instances."""

    parts: Parts

    def plug_vifs(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Wire the ports of an instance; Nova calls it for each one when it starts."""
        with faults.translated(instance, faults.PLUGGING):
            if listening.is_to_run(instance):
                # A commit that was cut short has left it frozen, and no user.
                self.parts.instances.thaw(instance)
            self.parts.networks.plug(instance, network_info or [])
            self._bind(instance)
            self.parts.instances.tell_outdated(instance)

    def _bind(self, instance: Instance) -> None:
        """Have an instance run on the processors that options say by now: others have the rest."""
        with contextlib.suppress(exceptions.NotFound):
            self.parts.workloads.bind(
                names.workload_name(instance.uuid),
                pinning.of(instance, self.parts.facts.processors),
            )

    def unplug_vifs(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Unplug the ports of an instance."""
        with faults.translated(instance, faults.UNPLUGGING):
            self.parts.networks.unplug(instance, network_info or [])

    def attach_interface(
        self, context: Context, instance: Instance, image_meta: ImageMeta, vif: Vif
    ) -> None:
        """Wire one more port."""
        try:
            self.parts.networks.attach(instance, vif)
            instance.device_metadata = tags.of_interfaces(context, instance)
            instance.save()
        except BaseException as err:
            # Nova does not remember the port: nobody else would unplug it.
            LOG.error("Port %s is not attached: %s", vif["id"], err, instance=instance)
            self.parts.networks.unplug_dead(instance, [vif])
            if not isinstance(err, Exception):
                raise
            raise exception.InterfaceAttachFailed(instance_uuid=instance.uuid) from err

    def detach_interface(self, context: Context, instance: Instance, vif: Vif) -> None:
        """Unplug one port."""
        with faults.translated(instance, faults.DETACHING_PORT):
            self.parts.networks.unplug(instance, [vif])
        # It may have had the default gateway, which is another port's now.
        left = [port for port in instance.get_network_info() or [] if port["id"] != vif["id"]]
        try:
            self.parts.networks.plug(instance, left)
        except exceptions.DriverError as err:
            LOG.error("The other ports may have no gateway: %s", err, instance=instance)

    def inject_network_info(self, instance: Instance, nw_info: NetworkInfo) -> None:
        """Give an instance the addresses, routes and gateways that its ports have by now."""
        with faults.translated(instance):
            self.parts.networks.plug(instance, nw_info or [])

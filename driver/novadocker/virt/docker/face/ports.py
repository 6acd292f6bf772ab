# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the arguments are those of Nova
"""Methods of a compute driver about ports: Nova's arguments and exceptions."""

from typing import Any

from nova import exception
from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.instances import life
from novadocker.virt.docker.network import tags

LOG = logging.getLogger(__name__)


class Interfaces:
    """Plugs, attaches and detaches ports of instances."""

    @property
    def _instances(self) -> life.Instances:
        raise NotImplementedError

    def plug_vifs(self, instance: Any, network_info: Any) -> None:
        """Wire the ports of an instance; Nova calls it for each one when it starts."""
        try:
            self._instances.plug(instance, network_info or [])
        except exceptions.DriverError as err:
            # The one exception that does not keep nova-compute from starting.
            raise exception.VirtualInterfacePlugException(str(err)) from err

    def unplug_vifs(self, instance: Any, network_info: Any) -> None:
        """Take away the ports of an instance."""
        try:
            self._instances.unplug(instance, network_info or [])
        except exceptions.DriverError as err:
            raise exception.VirtualInterfaceUnplugException(reason=str(err)) from err

    def attach_interface(self, context: Any, instance: Any, image_meta: Any, vif: Any) -> None:
        """Wire one more port."""
        try:
            self._instances.attach(instance, vif)
            instance.device_metadata = tags.of_interfaces(context, instance)
            instance.save()
        except BaseException as err:
            # Nova forgets the port.
            LOG.error("Port %s is not attached: %s", vif["id"], err, instance=instance)
            self._instances.unplug_dead(instance, [vif])
            if not isinstance(err, Exception):
                raise
            raise exception.InterfaceAttachFailed(instance_uuid=instance.uuid) from err

    def detach_interface(self, context: Any, instance: Any, vif: Any) -> None:
        """Take one port away."""
        try:
            self._instances.unplug(instance, [vif])
        except exceptions.DriverError as err:
            LOG.error("%s", err, instance=instance)
            raise exception.InterfaceDetachFailed(instance_uuid=instance.uuid) from err

# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the arguments are those of Nova
"""Methods of a compute driver for instances that their users cannot get into."""

from typing import Any

from nova import exception
from oslo_log import log as logging

from novadocker import conf, exceptions
from novadocker.virt.docker.engine import containers
from novadocker.virt.docker.face import faults, reports, volumes
from novadocker.virt.docker.instances import contents, guest, rescues

LOG = logging.getLogger(__name__)
CONF = conf.load()


class Rescuing(volumes.Attachments):
    """Rescues instances, and gives them passwords."""

    _host: str
    _workloads: containers.Containers
    _contents: contents.Contents

    @property
    def _rescues(self) -> rescues.Rescues:
        raise NotImplementedError

    def rescue(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        image_meta: Any,
        rescue_password: str,
        block_device_info: Any,
        share_info: Any = None,
    ) -> None:
        """Run another image in the place of an instance, with its files below /mnt/rescue."""
        with (
            faults.translated(instance),
            self._mounted(instance, block_device_info),
            self._set_aside(instance),
        ):
            if not (
                image_meta.obj_attr_is_set("id")
                and self._rescued_by(context, instance, image_meta, network_info or [])
            ):
                content = self._contents.of_own_rescue(instance)
                self._rescues.begin(instance, content, network_info or [])
        self._inject_password(instance, rescue_password)

    def _rescued_by(self, context: Any, instance: Any, image_meta: Any, network_info: Any) -> bool:
        """Rescue an instance by an image, if that is possible.

        Nova would put the instance into ERROR, whatever the fault.
        """
        try:
            content = self._contents.of_rescue(context, instance, image_meta)
            self._rescues.begin(instance, content, network_info)
        except Exception as err:  # noqa: BLE001 - told to the user
            LOG.warning(
                "Image %s does not rescue, the instance's own one is taken: %s",
                image_meta.id,
                err,
                instance=instance,
            )
            fault = exception.ImageUnacceptable(
                image_id=image_meta.id,
                reason=f"the server is rescued by its own image. {err}",
            )
            fault.__cause__ = err
            reports.tell(context, instance, self._host, "compute_rescue_by_image", fault)
            return False
        return True

    def unrescue(self, context: Any, instance: Any) -> None:
        """Run an instance again, with what was mended in it."""
        with faults.translated(instance), self._mounted(instance, self._known(instance)):
            self._rescues.end(instance, instance.get_network_info() or [])

    def set_admin_password(self, instance: Any, new_pass: str) -> None:
        """Set root's password, where the image has what that takes."""
        argv, environment = guest.password_command(new_pass)
        with faults.translated(instance):
            code = self._workloads.run(containers.workload_name(instance.uuid), argv, environment)
        if code != 0:
            LOG.warning("chpasswd ended with %d", code, instance=instance)
            raise exception.SetAdminPasswdNotSupported()

    def _inject_password(self, instance: Any, password: str | None) -> None:
        """Set root's password where that is switched on; an image need not be able to."""
        if not password or not CONF.docker.inject_password:
            return
        try:
            self.set_admin_password(instance, password)
        except (exceptions.DriverError, exception.NovaException) as err:
            LOG.warning("The password is not set: %s", err, instance=instance)

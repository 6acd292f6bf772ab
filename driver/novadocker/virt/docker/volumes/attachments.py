# SPDX-License-Identifier: Apache-2.0
"""Volumes and the container that is to see them: in place before it starts, out of its way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance
from novadocker.virt.docker.engine import names
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.volumes.mounted import Attached, Volumes

LOG = logging.getLogger(__name__)


class Attachments:
    """Keeps the volumes of instances in place while something is done with their containers."""

    def __init__(self, volumes: Volumes, workloads: Containers) -> None:
        self._volumes = volumes
        self._workloads = workloads

    def attach(self, instance: Instance, attached: list[Attached]) -> None:
        """Attach volumes to an instance, which may run.

        :raises VolumeError: one cannot be attached; those that were attached before stay
        """
        with self.mounted(instance, attached):
            pass

    @contextlib.contextmanager
    def mounted(self, instance: Instance, attached: list[Attached]) -> Iterator[None]:
        """Attach volumes to an instance, which is started inside.

        When what is done inside fails, those that were attached here are detached again.

        :raises VolumeError: one cannot be attached, or the container does not see it
        """
        new: list[Attached] = []
        try:
            for info, device_name in attached:
                if self._volumes.attach(instance.uuid, info, device_name):
                    new.append((info, device_name))
            yield
            if attached:
                self._verify_seen(instance)
        except BaseException:
            for info, device_name in new:
                try:
                    self._volumes.detach(instance.uuid, info, device_name)
                except exceptions.VolumeError as err:
                    LOG.error("%s stays attached: %s", device_name, err, instance=instance)
            raise

    @contextlib.contextmanager
    def aside(self, instance: Instance) -> Iterator[None]:
        """Stop an instance that has volumes, and unmount them while something is done inside."""
        if self._volumes.any(instance.uuid):
            self._workloads.stop(names.workload_name(instance.uuid), 0)
        with self._volumes.aside(instance.uuid):
            yield

    def _verify_seen(self, instance: Instance) -> None:
        """Verify that a running container sees its volumes, not just the host.

        :raises VolumeError: it does not
        """
        try:
            pid = self._workloads.pid(names.workload_name(instance.uuid))
        except exceptions.NotFound:
            return
        unseen = self._volumes.unseen(instance.uuid, pid) if pid else []
        if unseen:
            raise exceptions.VolumeError(
                f"{', '.join(unseen)}: mounted on the host, but not seen in the container. It was "
                "made before [docker]volume_file_systems was set (a hard reboot makes it "
                "anew), its runtime does not take mounts while it runs, or the Docker Engine has "
                "other mounts than nova-compute"
            )

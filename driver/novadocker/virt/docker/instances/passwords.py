# SPDX-License-Identifier: Apache-2.0
"""Root's password in a running instance."""

from __future__ import annotations

from typing import Any

from oslo_log import log as logging

from novadocker import exceptions
from novadocker.types import Instance
from novadocker.virt.docker.engine import names
from novadocker.virt.docker.engine.containers import Containers
from novadocker.virt.docker.instances import guest

LOG = logging.getLogger(__name__)


class Passwords:
    """Sets root's password, where the image has what that takes.

    :param section: the options in [docker]
    """

    def __init__(self, section: Any, workloads: Containers) -> None:
        self._section = section
        self._workloads = workloads

    def set(self, instance: Instance, password: str) -> None:
        """Set root's password.

        :raises NotFound: there is no such instance
        :raises PasswordNotSet: the image has no working chpasswd
        """
        argv, environment = guest.password_command(password)
        code = self._workloads.run(names.workload_name(instance.uuid), argv, environment)
        if code != 0:
            LOG.warning("chpasswd ended with %d", code, instance=instance)
            raise exceptions.PasswordNotSet(f"chpasswd ended with {code}")

    def inject(self, instance: Instance, password: str | None) -> None:
        """Set root's password where the option says so; that an image cannot is only logged."""
        if not password or not self._section.inject_password:
            return
        try:
            self.set(instance, password)
        except exceptions.DriverError as err:
            LOG.warning("The password is not set: %s", err, instance=instance)

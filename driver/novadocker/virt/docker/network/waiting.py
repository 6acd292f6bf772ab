# SPDX-License-Identifier: Apache-2.0
"""Waiting for ports to be wired, as reported by Neutron, or sooner by OVN on the host.

Nova's VirtualInterfaceCreateException is raised here, below the face: Nova itself calls the
callback and passes its exception on, and to Nova a port that Neutron does not wire is another fault
than one that cannot be plugged (NetworkError).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from nova import exception
from oslo_log import log as logging

from novadocker import compat, conf
from novadocker.types import Instance, NetworkInfo
from novadocker.virt.docker.network import ovn, wiring

LOG = logging.getLogger(__name__)
CONF = conf.load()

# A context manager that waits for Neutron's events when it is left.
PortsWait = Callable[[], contextlib.AbstractContextManager[None]]


class Waiting:
    """Waits for ports, as long as Nova's options say.

    :param virtapi: Nova's way back into nova-compute
    :param switch: the host's Open vSwitch; by default, the one that os-vif talks to
    """

    def __init__(self, virtapi: Any, switch: ovn.Switch | None = None) -> None:
        self._virtapi = virtapi
        self._known_switch = switch

    @property
    def _switch(self) -> ovn.Switch:
        if self._known_switch is None:
            # Not before: os-vif registers its options when it is initialised.
            self._known_switch = ovn.Switch(CONF.os_vif_ovs.ovsdb_connection)
        return self._known_switch

    def for_ports(self, instance: Instance, network_info: NetworkInfo, power_on: bool) -> PortsWait:
        """Return how to wait for the ports of an instance, which are plugged inside of it.

        :param power_on: whether the instance is to run; otherwise nothing is waited for
        """
        return functools.partial(self._wired, instance, network_info or [], power_on)

    @contextlib.contextmanager
    def _wired(
        self, instance: Instance, network_info: NetworkInfo, power_on: bool
    ) -> Iterator[None]:
        waiting = wiring.to_wait_for(network_info) if power_on and CONF.vif_plugging_timeout else []
        try:
            with self._virtapi.wait_for_instance_event(
                instance, waiting, CONF.vif_plugging_timeout, error_callback=_failed
            ):
                yield
                self._hear_from_ovn(waiting, network_info)
        except compat.EVENT_TIMEOUT as err:
            LOG.warning(
                "Neutron did not say within %d s that the ports are wired: %s",
                CONF.vif_plugging_timeout,
                waiting,
                instance=instance,
            )
            if CONF.vif_plugging_is_fatal:
                raise exception.VirtualInterfaceCreateException() from err

    def until_wired(self, instance: Instance, network_info: NetworkInfo) -> None:
        """Wait until OVN has wired the ports of an instance that starts again, if it binds them.

        Neutron sends no events for them, as they were wired before. Whatever comes of it, the
        instance starts.
        """
        of_ovn = ovn.devices(network_info or [])
        timeout_s = min(ovn.SAID_WITHIN_S, CONF.vif_plugging_timeout)
        if of_ovn and timeout_s and not self._switch.await_installed(of_ovn.values(), timeout_s):
            LOG.warning("OVN has not said that its ports are wired", instance=instance)

    def _hear_from_ovn(self, waiting: list[tuple[str, str]], network_info: NetworkInfo) -> None:
        """Stop waiting for Neutron's events about ports that OVN has wired."""
        of_ovn = ovn.devices(network_info)
        early = [(name, port_id) for name, port_id in waiting if port_id in of_ovn]
        timeout_s = min(ovn.SAID_WITHIN_S, CONF.vif_plugging_timeout)
        if early and self._switch.await_installed([of_ovn[x] for _, x in early], timeout_s):
            self._virtapi.exit_wait_early(early)


def _failed(event_name: str, instance: Instance) -> None:
    LOG.error("Neutron reports %s as failed", event_name, instance=instance)
    if CONF.vif_plugging_is_fatal:
        raise exception.VirtualInterfaceCreateException()

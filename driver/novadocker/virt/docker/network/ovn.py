# SPDX-License-Identifier: Apache-2.0
"""OVN's own report, on the host, that a port is wired.

ovn-controller writes ``ovn-installed=true`` into the interface's external_ids when the flows of the
port, including those of its security groups, are in the switch. Neutron learns that a moment later,
and tells Nova in batches of ``[DEFAULT]send_events_interval``, 2 s by default.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

from oslo_log import log as logging
from ovs.db import idl
from ovsdbapp import event as row_event
from ovsdbapp.backend.ovs_idl import connection, event, idlutils

from novadocker.types import NetworkInfo
from novadocker.virt.docker.network import wiring

LOG = logging.getLogger(__name__)

SCHEMA = "Open_vSwitch"
INSTALLED = "ovn-installed"
CONNECT_TIMEOUT_S = 10
# Each try takes the whole timeout, and all who wait are tried one after the other.
ASKED_AGAIN_S = 60.0
# Usually it takes some ten milliseconds; OVN before 20.12 never reports it.
SAID_WITHIN_S = 5.0


def devices(network_info: NetworkInfo) -> dict[str, str]:
    """Return the ports that OVN has bound: names of their devices on the host, by port id."""
    return {vif["id"]: vif["devname"] for vif in network_info if wiring.is_of_ovn(vif)}


class Switch:
    """The host's Open vSwitch, where OVN reports wired ports.

    :param remote: its database, in the form of ``[os_vif_ovs]ovsdb_connection``
    """

    def __init__(self, remote: str) -> None:
        self._remote = remote
        self._lock = threading.Lock()
        self._connection: connection.Connection | None = None
        self._not_before = 0.0

    def await_installed(self, names: Collection[str], timeout_s: float = SAID_WITHIN_S) -> bool:
        """Wait until the flows of all ports are in the switch.

        :param names: names of the ports' devices on the host
        :param timeout_s: seconds to wait for each port
        :return: whether they are; False as well when the switch does not answer
        """
        try:
            with self._lock:
                if time.monotonic() < self._not_before:
                    return False
                connected = self._connected()
        except Exception as err:  # noqa: BLE001 - python-ovs raises whatever it meets
            LOG.warning("%s does not answer, waiting for Neutron instead: %s", self._remote, err)
            self._not_before = time.monotonic() + ASKED_AGAIN_S
            return False
        replica: _Replica = connected.idl
        waits = [_Installed(name, timeout_s) for name in names]
        for wait in waits:
            replica.heard.watch_event(wait)
        try:
            # The connection's thread changes the rows.
            with connected.lock:
                installed = _installed(replica)
            return all(wait.name in installed or wait.wait() for wait in waits)
        finally:
            for wait in waits:
                replica.heard.unwatch_event(wait)

    def _connected(self) -> connection.Connection:
        if self._connection is None:
            schema = idlutils.get_schema_helper(self._remote, SCHEMA)
            schema.register_columns("Interface", ["name", "external_ids"])
            connected = connection.Connection(_Replica(self._remote, schema), CONNECT_TIMEOUT_S)
            connected.start()
            self._connection = connected
        return self._connection


class _Replica(connection.OvsdbIdl):
    """A copy of the switch's interfaces that reports changes."""

    def __init__(self, remote: str, schema: Any) -> None:
        super().__init__(remote, schema)
        self.heard = event.RowEventHandler()

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        self.heard.notify(event, row, updates)


class _Installed(event.WaitEvent):
    """Waits until the flows of one port are in the switch."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self.name = name
        kinds = (row_event.RowEvent.ROW_CREATE, row_event.RowEvent.ROW_UPDATE)
        super().__init__(kinds, "Interface", (("name", "=", name),), timeout=timeout_s)

    def match_fn(self, _event: str, row: Any, _old: Any) -> bool:
        return _is_installed(row.external_ids)


def _installed(replica: idl.Idl) -> set[str]:
    rows = list(replica.tables["Interface"].rows.values())
    return {row.name for row in rows if _is_installed(row.external_ids)}


def _is_installed(external_ids: Mapping[str, str]) -> bool:
    return external_ids.get(INSTALLED) == "true"

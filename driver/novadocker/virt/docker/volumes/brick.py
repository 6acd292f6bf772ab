# SPDX-License-Identifier: Apache-2.0
"""os-brick connects volumes to the host as block devices, and disconnects them.

os-brick has a privileged helper of its own, which it starts as it does for Nova's other drivers.
"""

from __future__ import annotations

from typing import Any

from nova import utils
from os_brick import exception as brick_exception
from os_brick.initiator import connector
from oslo_concurrency import processutils
from oslo_log import log as logging
from oslo_utils import strutils

from novadocker import exceptions

LOG = logging.getLogger(__name__)

# Protocols whose volumes become block devices of the host.
PROTOCOLS = ("fibre_channel", "iscsi", "iser", "local", "nvmeof", "rbd")
_FAULTS = (brick_exception.BrickException, processutils.ProcessExecutionError, OSError, ValueError)


class Connections:
    """Connects volumes to the host and disconnects them.

    :param conf: Nova's options; those for multipath are in the section [libvirt] for all drivers
    """

    def __init__(self, conf: Any) -> None:
        self._conf = conf

    def properties(self) -> dict[str, Any]:
        """Return how volumes can be connected to this host, for Cinder."""
        properties: dict[str, Any] = connector.get_connector_properties(
            utils.get_root_helper(),
            self._conf.my_block_storage_ip,
            self._conf.libvirt.volume_use_multipath,
            enforce_multipath=True,
            host=self._conf.host,
        )
        return properties

    def connect(self, info: dict[str, Any]) -> str:
        """Connect a volume. Idempotent.

        :param info: Cinder's connection; what is needed to disconnect is added to it
        :return: path of the device
        :raises VolumeRefused: the volume does not become a block device
        :raises VolumeError: os-brick failed
        """
        with_data = self._connector(info)
        try:
            device_info = with_data.connect_volume(info["data"])
        except _FAULTS as err:
            raise _fault("connected", err) from err
        path = device_info.get("path")
        if isinstance(path, bytes):
            path = path.decode()
        if not isinstance(path, str):
            raise exceptions.VolumeRefused("the volume is no block device of the host")
        info["data"]["device_path"] = path
        if "multipath_id" in device_info:
            info["data"]["multipath_id"] = device_info["multipath_id"]
        return path

    def disconnect(self, info: dict[str, Any]) -> None:
        """Disconnect a volume. Idempotent.

        :raises VolumeError: os-brick failed
        """
        data = info["data"]
        device = {"type": "block", "path": data["device_path"]} if "device_path" in data else None
        if device and "multipath_id" in data:
            device["multipath_id"] = data["multipath_id"]
        try:
            self._connector(info).disconnect_volume(data, device)
        except brick_exception.VolumeDeviceNotFound as err:
            LOG.debug("A volume was not connected: %s", err)
        except _FAULTS as err:
            raise _fault("disconnected", err) from err

    def extend(self, info: dict[str, Any]) -> None:
        """Let the host see the new size of a connected volume.

        :raises VolumeError: os-brick failed
        """
        try:
            self._connector(info).extend_volume(info["data"])
        except _FAULTS as err:
            raise _fault("extended", err) from err

    def _connector(self, info: dict[str, Any]) -> Any:
        protocol = str(info.get("driver_volume_type", ""))
        if protocol.lower() not in PROTOCOLS:
            raise exceptions.VolumeRefused(
                f"volumes by {protocol or 'no protocol'} are no block devices of the host; these "
                f"are: {', '.join(PROTOCOLS)}"
            )
        # For rbd, a device of the kernel instead of a handle for a hypervisor.
        more = {"do_local_attach": True} if protocol.lower() == "rbd" else {}
        return connector.InitiatorConnector.factory(
            protocol,
            utils.get_root_helper(),
            use_multipath=self._conf.libvirt.volume_use_multipath,
            device_scan_attempts=self._conf.libvirt.num_volume_scan_tries,
            **more,
        )


def _fault(what: str, err: Exception) -> exceptions.VolumeError:
    # Commands can contain passwords: the user is told less than the log.
    LOG.error("A volume could not be %s: %s", what, strutils.mask_password(str(err)))
    return exceptions.VolumeError(f"the volume could not be {what} ({type(err).__name__})")

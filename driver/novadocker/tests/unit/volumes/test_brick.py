# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from os_brick import exception as brick_exception
from os_brick.initiator import connector
from os_brick.initiator.connectors import base
from oslo_concurrency import processutils

from novadocker import exceptions
from novadocker.virt.docker.volumes.brick import Connections

PATH = "/dev/disk/by-id/one"


@pytest.fixture
def brick(monkeypatch: pytest.MonkeyPatch) -> mock.MagicMock:
    """A connector of os-brick's."""
    fake = mock.create_autospec(base.BaseLinuxConnector, instance=True)
    fake.connect_volume.return_value = {"type": "block", "path": PATH}
    factory = mock.create_autospec(connector.InitiatorConnector.factory, return_value=fake)
    monkeypatch.setattr(connector.InitiatorConnector, "factory", factory)
    fake.factory = factory
    return fake


@pytest.fixture
def connected(conf: Any) -> Connections:
    return Connections(conf)


def info(protocol: str = "iscsi", **data: Any) -> dict[str, Any]:
    return {"driver_volume_type": protocol, "data": {"target_lun": 1, **data}}


def test_the_host_is_described_as_by_novas_other_drivers(
    connected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = mock.create_autospec(connector.get_connector_properties, return_value={"ip": "1"})
    monkeypatch.setattr(connector, "get_connector_properties", told)
    assert connected.properties() == {"ip": "1"}
    assert told.mock_calls == [
        mock.call(mock.ANY, "192.0.2.1", False, enforce_multipath=True, host="unit-host")
    ]


def test_a_volume_comes_and_goes(connected: Any, brick: Any) -> None:
    brick.connect_volume.return_value["multipath_id"] = "wwid"
    volume = info()
    assert connected.connect(volume) == PATH
    assert volume["data"]["device_path"] == PATH
    connected.extend(volume)
    connected.disconnect(volume)
    device = {"type": "block", "path": PATH, "multipath_id": "wwid"}
    assert brick.disconnect_volume.mock_calls == [mock.call(volume["data"], device)]
    assert brick.extend_volume.mock_calls == [mock.call(volume["data"])]
    assert "do_local_attach" not in brick.factory.mock_calls[0].kwargs


def test_one_that_never_came_goes(connected: Any, brick: Any) -> None:
    brick.disconnect_volume.side_effect = brick_exception.VolumeDeviceNotFound(device="x")
    connected.disconnect(info())
    assert brick.disconnect_volume.mock_calls == [mock.call(mock.ANY, None)]


def test_rbd_is_a_device_of_the_kernels(connected: Any, brick: Any) -> None:
    brick.connect_volume.return_value = {"path": b"/dev/rbd/pool/one"}
    assert connected.connect(info("rbd")) == "/dev/rbd/pool/one"
    assert brick.factory.mock_calls[0].kwargs["do_local_attach"]


@pytest.mark.parametrize("protocol", ["nfs", "vmdk", "", "fake"])
def test_what_is_no_block_device_is_refused(protocol: str, connected: Any) -> None:
    with pytest.raises(exceptions.VolumeRefused, match="no block devices"):
        connected.connect(info(protocol))


def test_a_handle_is_refused(connected: Any, brick: Any) -> None:
    brick.connect_volume.return_value = {"path": object()}
    with pytest.raises(exceptions.VolumeRefused, match="no block device"):
        connected.connect(info("rbd"))


@pytest.mark.parametrize("verb", ["connect", "disconnect", "extend"])
def test_passwords_are_in_no_fault(verb: str, connected: Any, brick: Any, caplog: Any) -> None:
    fault = processutils.ProcessExecutionError(cmd="iscsiadm password='hunter2'", exit_code=1)
    getattr(brick, f"{verb}_volume").side_effect = fault
    with pytest.raises(exceptions.VolumeError, match="ProcessExecutionError") as raised:
        getattr(connected, verb)(info())
    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in caplog.text

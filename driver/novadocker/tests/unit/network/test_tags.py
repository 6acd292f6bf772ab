# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from unittest import mock

import pytest
from nova import objects

from novadocker.tests import make
from novadocker.virt.docker.network import tags

ONE, TWO = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"


def described(monkeypatch: pytest.MonkeyPatch, *tag_of: tuple[str, str | None]) -> object:
    find = mock.Mock(
        return_value=[objects.VirtualInterface(address=mac, tag=tag) for mac, tag in tag_of]
    )
    monkeypatch.setattr(objects.VirtualInterfaceList, "get_by_instance_uuid", find)
    instance = make.instance()
    context = object()
    tagged = tags.of_interfaces(context, instance)
    find.assert_called_once_with(context, instance.uuid)
    return tagged


def test_interfaces_without_a_tag_are_not_described(monkeypatch: pytest.MonkeyPatch) -> None:
    assert described(monkeypatch, (ONE, None)) is None
    (device,) = described(monkeypatch, (ONE, None), (TWO, "web")).devices
    assert (device.mac, device.tags) == (TWO, ["web"])

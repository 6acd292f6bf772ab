# SPDX-License-Identifier: Apache-2.0
"""What nova-serialproxy is told of an instance's console."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from nova import exception

from novadocker.tests import make
from novadocker.tests.fake_engine import workload


@pytest.fixture
def enabled(option: Any) -> None:
    option("enabled", True, "serial_console")


@pytest.fixture
def console_driver(docker_driver: Any) -> Any:
    docker_driver.parts.consoles = mock.Mock()
    docker_driver.parts.consoles.open.return_value = ("127.0.0.1", 10000)
    return docker_driver


def test_a_running_instance_has_a_console(
    enabled: None, console_driver: Any, spawn: Any, engine: Any
) -> None:
    instance = spawn(make.instance())
    console = console_driver.get_serial_console(None, instance)
    assert (console.host, console.port) == ("127.0.0.1", 10000)
    workload(engine, instance)["Config"]["Tty"] = True
    console_driver.get_serial_console(None, instance)
    assert console_driver.parts.consoles.open.call_args_list == [
        mock.call(instance.uuid, False),
        mock.call(instance.uuid, True),
    ]


def test_what_is_off_or_not_running_has_none(option: Any, console_driver: Any, spawn: Any) -> None:
    instance = spawn(make.instance())
    with pytest.raises(exception.ConsoleTypeUnavailable):
        console_driver.get_serial_console(None, instance)
    option("enabled", True, "serial_console")
    instance.flavor = make.flavor(extra_specs={"docker:console": "none"})
    with pytest.raises(exception.ConsoleTypeUnavailable):
        console_driver.get_serial_console(None, instance)
    instance.flavor = make.flavor()
    console_driver.power_off(instance)
    with pytest.raises(exception.InstanceNotReady):
        console_driver.get_serial_console(None, instance)
    with pytest.raises(exception.InstanceNotFound):
        console_driver.get_serial_console(None, make.instance())
    assert not console_driver.parts.consoles.open.called


def test_an_address_that_is_not_the_hosts_is_no_console(
    enabled: None, console_driver: Any, spawn: Any
) -> None:
    console_driver.parts.consoles.open.side_effect = OSError("cannot assign requested address")
    with pytest.raises(exception.ConsoleTypeUnavailable):
        console_driver.get_serial_console(None, spawn(make.instance()))


def test_a_console_is_closed_with_its_instance(console_driver: Any, spawn: Any) -> None:
    instance = spawn(make.instance())
    console_driver.destroy(None, instance, [])
    console_driver.parts.consoles.close.assert_called_with(instance.uuid)
    console_driver.cleanup_host("unit-host")
    console_driver.parts.consoles.close_all.assert_called_with()

# SPDX-License-Identifier: Apache-2.0
"""Instances that are deleted while something else is done with them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from nova import context, exception, objects
from nova.compute import task_states

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import names

DELETING = mock.Mock(task_state=task_states.DELETING)
UNDISTURBED = mock.Mock(task_state=None)
CONTEXT = context.RequestContext("user", "project", is_admin=False)


@pytest.fixture
def instance(spawn: Any) -> Any:
    return spawn(make.instance())


def rescue(driver: Any, instance: Any) -> None:
    driver.rescue(CONTEXT, instance, [], make.image_meta(), "", None)


def resize(driver: Any, instance: Any) -> None:
    make.other_options(driver)
    left = driver.migrate_disk_and_power_off(CONTEXT, instance, make.HOST, instance.flavor, [])
    driver.finish_migration(CONTEXT, None, instance, left, [], None, False, {})


def reboot(driver: Any, instance: Any) -> None:
    make.other_options(driver)
    driver.reboot(CONTEXT, instance, [], "HARD")


def start(driver: Any, instance: Any) -> None:
    driver.power_off(instance)
    driver.power_on(CONTEXT, instance, [])


class Deletion:
    """Deletes an instance when so many requests were made.

    :ivar left: how many are to be made until then
    """

    def __init__(self, engine: Any, driver: Any, instance: Any, left: int, delete: Any) -> None:
        self._call, self._driver, self._one, self._delete = engine.call, driver, instance, delete
        self.left = left

    def call(self, *args: Any, **more: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            # As far as the API has come, and nova-compute after it.
            self._delete()
            self._driver.destroy(CONTEXT, self._one, [])
        return self._call(*args, **more)


@pytest.mark.parametrize("work", [rescue, resize, reboot, start])
@pytest.mark.parametrize(
    "stored",
    [{"side_effect": exception.InstanceNotFound(instance_id="x")}, {"return_value": DELETING}],
    ids=["deleted", "deleting"],
)
def test_nothing_is_left_of_who_is_deleted_at_any_request(
    work: Callable[[Any, Any], None],
    stored: dict[str, Any],
    new_driver: Any,
    engine: Any,
    image_meta: Any,
) -> None:
    for step in range(1, 100):
        driver, instance = new_driver(), make.instance()
        driver.spawn(None, instance, image_meta, [], None, {}, [])
        objects.Instance.get_by_uuid.configure_mock(side_effect=None, return_value=UNDISTURBED)
        delete = functools.partial(objects.Instance.get_by_uuid.configure_mock, **stored)
        deletion = Deletion(engine, driver, instance, step, delete)
        with (
            mock.patch.object(engine, "call", deletion.call),
            # What is deleted is not found.
            contextlib.suppress(exception.NovaException, exceptions.DriverError),
        ):
            work(driver, instance)
        if deletion.left > 0:
            assert step > 5
            assert names(instance) <= engine.names()
            return
        assert not [name for name in engine.names() if instance.uuid in name], step
    raise AssertionError("it has no end")


def test_a_database_that_does_not_answer_is_no_deletion(
    docker_driver: Any, instance: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects.Instance, "get_by_uuid", mock.Mock(side_effect=OSError("away")))
    docker_driver.reboot(CONTEXT, instance, [], "HARD")
    assert engine.names() == names(instance)

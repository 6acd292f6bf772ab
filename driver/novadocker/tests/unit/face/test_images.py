# SPDX-License-Identifier: Apache-2.0
"""Images, as Nova asks for them."""

from __future__ import annotations

import datetime
import json
from typing import Any, ClassVar
from unittest import mock

import pytest
from nova import exception
from nova.compute import task_states, vm_states

from novadocker.tests import make
from novadocker.tests.fake_engine import workload
from novadocker.tests.make import IMAGE_ID

LAUNCHED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class TestImages:
    def test_snapshot_needs_a_container(self, docker_driver: Any) -> None:
        with pytest.raises(exception.InstanceNotRunning):
            docker_driver.snapshot(None, make.instance(), "id", mock.Mock())

    def test_cache_image_says_whether_it_was_fetched(self, docker_driver: Any, glance: Any) -> None:
        glance.get.return_value = {
            "id": IMAGE_ID,
            "container_format": "docker",
            "disk_format": "raw",
            "checksum": "a" * 32,
        }
        assert docker_driver.cache_image(None, IMAGE_ID) is False

    def test_cache_is_aged_as_the_options_say(self, docker_driver: Any, engine: Any) -> None:
        docker_driver.manage_image_cache(None, [])
        assert any(IMAGE_ID in str(image) for image in engine.images.values())


class TestMetadataInSnapshots:
    """What a container was given is no part of its image, whatever the server has by now."""

    @pytest.fixture
    def taken(self, docker_driver: Any) -> Any:
        docker_driver.parts.snapshots = mock.MagicMock()

        def left_out(instance: Any) -> Any:
            docker_driver.snapshot(None, instance, "id", mock.Mock())
            return docker_driver.parts.snapshots.open.call_args[0][2]

        return left_out

    @pytest.fixture
    def instance(self, spawn: Any, engine: Any) -> Any:
        (image,) = engine.images.values()
        image["Config"]["Env"] = ["PATH=/bin", "LONG=" + "x" * 5000]
        given = {"SECRET": "hunter2", "PATH": "/mine", "LONG": "1"}
        return spawn(make.instance(metadata=given))

    WANTED: ClassVar = {"SECRET": None, "PATH": "/bin", "LONG": None}

    def test_metadata_that_were_taken_back_are_left_out(self, taken: Any, instance: Any) -> None:
        instance.metadata = {"LATER": "x"}
        assert taken(instance) == self.WANTED

    def test_so_are_those_of_one_that_was_made_anew(
        self, taken: Any, instance: Any, docker_driver: Any
    ) -> None:
        instance.metadata = {}
        docker_driver.parts.instances.recreate(instance)
        assert taken(instance) == self.WANTED

    def test_of_an_earlier_release_the_present_ones_are(
        self, taken: Any, instance: Any, engine: Any
    ) -> None:
        del workload(engine, instance)["Config"]["Labels"]["org.openstack.nova.environment"]
        instance.metadata = {"LATER": "x"}
        assert taken(instance) == {"LATER": None}

    def test_they_are_known_where_it_moves_to(
        self, taken: Any, instance: Any, docker_driver: Any, engine: Any
    ) -> None:
        left = docker_driver.migrate_disk_and_power_off(
            None, instance, make.HOST, make.flavor(), []
        )
        assert json.loads(json.loads(left)["environment"]) == self.WANTED


class TestRootDisk:
    """The unpacked image is compared with the flavor's root disk; Nova's API knows the packed."""

    @pytest.fixture
    def image(self, engine: Any) -> Any:
        (image,) = engine.images.values()
        image["Size"] = (5 << 30) + 1
        return image

    def test_one_that_is_too_small_is_told_to_the_user(
        self, image: Any, spawn: Any, engine: Any
    ) -> None:
        with pytest.raises(exception.FlavorDiskSmallerThanImage) as told:
            spawn(make.instance())
        assert told.value.kwargs["flavor_size"] == 5 << 30
        assert told.value.kwargs["image_size"] == (5 << 30) + 1
        assert engine.containers == {}

    def test_one_that_is_just_large_enough_is_taken(self, image: Any, spawn: Any) -> None:
        image["Size"] = 5 << 30
        spawn(make.instance())

    def test_one_without_a_size_has_no_limit(self, image: Any, spawn: Any) -> None:
        instance = make.instance()
        instance.flavor.root_gb = 0
        spawn(instance)

    def test_a_rebuild_is_compared(self, image: Any, spawn: Any) -> None:
        rebuilt = make.instance(launched_at=LAUNCHED, task_state=task_states.REBUILD_SPAWNING)
        with pytest.raises(exception.FlavorDiskSmallerThanImage):
            spawn(rebuilt)

    @pytest.mark.parametrize(
        "fields",
        [
            {"task_state": task_states.SPAWNING, "vm_state": vm_states.SHELVED_OFFLOADED},
            {"task_state": task_states.REBUILD_SPAWNING, "host": "that-was-lost"},
        ],
    )
    def test_one_that_comes_back_is_not(self, fields: Any, image: Any, spawn: Any) -> None:
        spawn(make.instance(launched_at=LAUNCHED, **fields))

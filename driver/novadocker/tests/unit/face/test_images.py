# SPDX-License-Identifier: Apache-2.0
"""Images, as Nova asks for them."""

from typing import Any
from unittest import mock

import pytest
from nova import exception

from novadocker.tests import make
from novadocker.tests.make import IMAGE_ID


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

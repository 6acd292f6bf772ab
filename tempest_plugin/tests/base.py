# SPDX-License-Identifier: Apache-2.0
"""What all tests of the plug-in share: when they run, and images that clean up after themselves."""

from __future__ import annotations

import io
from typing import Any

from tempest import config, test
from tempest.lib.common.utils import data_utils, test_utils

CONF = config.CONF

DOCKER_TRAIT = "CUSTOM_HYPERVISOR_DOCKER"


class NovadockerTest(test.BaseTestCase):
    """A test of a cloud with Docker hypervisors."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.service_available.novadocker:
            raise cls.skipException("[service_available] novadocker is off")

    @classmethod
    def setup_credentials(cls) -> None:
        # Tests get no network and no router unless they have asked for one before.
        cls.set_network_resources()
        super().setup_credentials()

    @staticmethod
    def resource_name(kind: str) -> str:
        """Make a name that no other test uses.

        :param kind: what it is the name of
        """
        name: str = data_utils.rand_name(f"novadocker-{kind}", prefix=CONF.resource_name_prefix)
        return name


class DockerImageUserTest(NovadockerTest):
    """A test that uploads docker images as a plain user."""

    credentials = ["primary"]

    @classmethod
    def setup_clients(cls) -> None:
        super().setup_clients()
        cls.images_client = cls.os_primary.image_client_v2

    def create_docker_image(self, archive: bytes, **properties: str) -> dict[str, Any]:
        """Upload a docker archive as an image of the test's project.

        :param archive: what `docker save` wrote
        :param properties: further properties of the image
        :return: the image, active
        """
        created = self.images_client.create_image(
            name=self.resource_name("image"),
            container_format="docker",
            disk_format="raw",
            visibility="private",
            img_hv_type="docker",
            **properties,
        )
        self.addCleanup(
            test_utils.call_and_ignore_notfound_exc,
            self.images_client.delete_image,
            created["id"],
        )
        self.images_client.store_image_file(created["id"], io.BytesIO(archive))
        image: dict[str, Any] = self.images_client.show_image(created["id"])
        self.assertEqual("active", image["status"])
        return image

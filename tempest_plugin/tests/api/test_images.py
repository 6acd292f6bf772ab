# SPDX-License-Identifier: Apache-2.0
"""Glance takes docker images and gives them back unchanged."""

from __future__ import annotations

import hashlib

from tempest.lib import decorators

from tempest_plugin import archives
from tempest_plugin.tests import base


class DockerImagesTest(base.DockerImageUserTest):
    """The image service of a converted cloud."""

    @decorators.idempotent_id("cf0351aa-91a5-49a7-9224-78bf9a098570")
    def test_schema_offers_docker(self) -> None:
        schema = self.os_primary.schemas_client.show_schema("image")
        formats = schema["properties"]["container_format"]["enum"]
        self.assertIn("docker", formats)
        self.assertIn("bare", formats, "adding docker has cost the operator another format")

    @decorators.idempotent_id("2ea210cb-a062-49f3-a238-fcf39d17bf4d")
    def test_docker_image_comes_back_as_it_went_in(self) -> None:
        archive = archives.docker_archive({"hello": b"hello\n"}, tag="hello:latest")
        image = self.create_docker_image(archive)

        self.assertEqual("docker", image["container_format"])
        self.assertEqual("raw", image["disk_format"])
        self.assertEqual("docker", image["img_hv_type"])
        self.assertEqual(len(archive), image["size"])
        digest = hashlib.new(image["os_hash_algo"], archive).hexdigest()
        self.assertEqual(digest, image["os_hash_value"])
        self.assertEqual(archive, self.images_client.show_image_file(image["id"]).data)

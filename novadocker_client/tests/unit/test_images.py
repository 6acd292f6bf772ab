# SPDX-License-Identifier: Apache-2.0
"""Docker images in Glance."""

from __future__ import annotations

import pytest

from novadocker_client import images
from novadocker_client.connection import Cloud
from novadocker_client.errors import ClientError
from novadocker_client.tests.fake_cloud import PROJECT, FakeCloud


def add(fake: FakeCloud, key: str, name: str, **more: object) -> None:
    """Add an image."""
    fake.images.append(
        {
            "id": key,
            "name": name,
            "owner": PROJECT,
            "status": "active",
            "visibility": "public",
            "container_format": "docker",
            "size": 1000,
            "tags": [],
            **more,
        }
    )


def test_docker_images_are_listed_by_name(fake: FakeCloud, cloud: Cloud) -> None:
    add(fake, "1", "nginx", docker_reference="nginx:latest", docker_digest="sha256:1")
    add(fake, "2", "busybox")
    add(fake, "3", "cirros", container_format="bare")
    first, second = images.listed(cloud)
    assert (first.name, first.reference) == ("busybox", "")
    assert (second.name, second.reference, second.digest) == ("nginx", "nginx:latest", "sha256:1")
    assert second.size_bytes == 1000


def test_published_is_what_a_run_has_marked_for_this_project(fake: FakeCloud, cloud: Cloud) -> None:
    add(fake, "1", "ours", tags=["novadocker-published-1"])
    add(fake, "2", "a snapshot of it", docker_reference="ours:latest")
    add(fake, "3", "a copy", tags=["novadocker-published-1"])
    add(fake, "4", "another project's", owner="p2", tags=["novadocker-published-4"])
    assert [image.name for image in images.listed(cloud) if image.published] == ["ours"]


def test_glance_that_fails_is_named(fake: FakeCloud, cloud: Cloud) -> None:
    fake.faults["/glance/v2"] = (403, None)
    with pytest.raises(ClientError, match=r"^Glance does not list docker images \(403\)"):
        images.listed(cloud)

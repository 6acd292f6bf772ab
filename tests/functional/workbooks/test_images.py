# SPDX-License-Identifier: Apache-2.0
"""Images in Glance: which are ours, in a real Mistral, with a fake cloud behind HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.workbooks.fake_cloud import REGISTRY, FakeCloud
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED

# What Nova copies to a snapshot, and what any tenant may write on an image of his own.
LOOKS = {
    "name": "busybox",
    "img_hv_type": "docker",
    "trait:CUSTOM_HYPERVISOR_DOCKER": "required",
    "docker_reference": "busybox:latest",
    "docker_digest": REGISTRY["busybox:latest"],
}


def ours(cloud: FakeCloud) -> dict[str, Any]:
    """Return the image that the run published."""
    (image,) = [image for image in cloud.glance_images.values() if image["tags"]]
    return image


@pytest.mark.usefixtures("converted")
def test_images_are_removed_and_what_looks_like_them_is_kept(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    published = ours(cloud)
    kept = [
        cloud.add_image(**LOOKS, owner="tenant", image_type="snapshot"),
        cloud.add_image(**LOOKS, owner="tenant", visibility="public", tags=published["tags"]),
        # A snapshot in the project of the operator has all the properties, and no tags.
        cloud.add_image(**LOOKS, image_type="snapshot"),
        # A copy of the record, tags and all, has another id.
        cloud.add_image(**LOOKS, tags=published["tags"]),
    ]

    run = mistral.run("novadocker.undeploy", {"remove_images": True})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert list(cloud.glance_images.values()) == kept


def test_all_pages_of_images_are_removed(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.image_page = 1
    mistral.run("novadocker.deploy", {"images": ["busybox", "nginx"]})
    other = cloud.add_image(**LOOKS)

    run = mistral.run("novadocker.undeploy", {"remove_images": True})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert list(cloud.glance_images) == [other["id"]]


@pytest.mark.usefixtures("converted")
def test_images_are_kept_while_docker_hypervisors_are_left(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    run = mistral.run("novadocker.undeploy", {"hosts": "compute-docker-1", "remove_images": True})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert ours(cloud)["status"] == "active"
    assert cloud.hosts["compute-docker-2"].state == CONVERTED
    assert "images were kept: compute-docker-2 are Docker hypervisors" in run["output"]["message"]


def test_a_tenant_s_image_is_not_taken_for_the_published_one(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    trap = cloud.add_image(
        **LOOKS, owner="tenant", visibility="public", created_at="2020-01-01", tags=["novadocker"]
    )

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["report"]["images"][0]["id"] == ours_besides(cloud, trap)["id"]
    assert trap["id"] not in cloud.hosts["compute-docker-1"].images
    assert mistral.run("novadocker.verify")["state"] == "SUCCESS"
    del cloud.glance_images[ours_besides(cloud, trap)["id"]]
    assert (
        "image busybox:latest is not in Glance"
        in (mistral.run("novadocker.verify")["output"]["message"])
    )


def test_an_image_of_a_release_without_marks_is_used_and_never_removed(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    earlier = cloud.add_image(**LOOKS, visibility="public")

    run = mistral.run("novadocker.deploy")

    # Tenants boot it by its name, which is still that of one image alone.
    assert list(cloud.glance_images.values()) == [earlier]
    assert run["output"]["report"]["images"][0]["id"] == earlier["id"]
    assert earlier["id"] in cloud.hosts["compute-docker-1"].images
    mistral.run("novadocker.undeploy", {"remove_images": True})
    assert list(cloud.glance_images.values()) == [earlier]


def ours_besides(cloud: FakeCloud, other: dict[str, Any]) -> dict[str, Any]:
    """Return the one image that is not another."""
    (image,) = [image for image in cloud.glance_images.values() if image is not other]
    return image


def test_an_image_that_somebody_is_uploading_is_let_alone(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    theirs = cloud.add_image(**LOOKS, owner="tenant", visibility="public", status="saving")
    colleagues = cloud.add_image(**LOOKS, status="saving")

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert cloud.glance_images[theirs["id"]] is theirs
    assert cloud.glance_images[colleagues["id"]] is colleagues
    assert len(cloud.glance_images) == 3

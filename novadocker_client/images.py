# SPDX-License-Identifier: Apache-2.0
"""Docker images in Glance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from openstack.image.v2 import image
from openstack.resource import QueryParameters

from novadocker_client.connection import GLANCE, Cloud
from novadocker_client.errors import asking

# Container format of docker images in Glance.
FORMAT = "docker"
# What the tag begins with that a published image has; it ends with the image's id.
MARK = "novadocker-published-"


class _Image(image.Image):  # type: ignore[misc, unused-ignore]
    # Glance can choose by it; the SDK would fetch all images and choose among them.
    _query_mapping = QueryParameters("container_format")


@dataclass(frozen=True)
class Image:
    """A docker image in Glance.

    :param reference: the Docker reference that it was published from, "" of an uploaded one
    :param digest: the registry's digest for it
    :param published: whether a run published it for this project
    :param size_bytes: of the archive
    """

    id: str
    name: str
    status: str
    visibility: str
    reference: str = ""
    digest: str = ""
    published: bool = False
    size_bytes: int = 0
    created_at: str = ""


def listed(cloud: Cloud) -> list[Image]:
    """Return the docker images that the user sees, by name.

    :raises ClientError: when Glance does not tell
    """
    project = cloud.project_id()
    return sorted(_images(cloud, project), key=lambda image: (image.name, image.created_at))


def _images(cloud: Cloud, project_id: str) -> Iterator[Image]:
    with asking(GLANCE, "list docker images"):
        for item in _Image.list(cloud.connection.image, container_format=FORMAT):
            properties = item.properties or {}
            # A property is handed down to snapshots of instances, a tag is not.
            own = item.owner == project_id and f"{MARK}{item.id}" in (item.tags or [])
            yield Image(
                id=str(item.id),
                name=str(item.name or ""),
                status=str(item.status or ""),
                visibility=str(item.visibility or ""),
                reference=str(properties.get("docker_reference") or ""),
                digest=str(properties.get("docker_digest") or ""),
                published=own,
                size_bytes=int(item.size or 0),
                created_at=str(item.created_at or ""),
            )

# SPDX-License-Identifier: Apache-2.0
"""Docker images in Glance: which are ours, and their publishing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from novadocker_actions.cloud import aggregates
from novadocker_actions.cloud.clients import Service
from novadocker_actions.errors import CloudError, NovadockerError
from novadocker_actions.plan.references import Reference

# What a caller has to be in Keystone to upload into an image of their own.
UPLOAD_ROLE = "member"
_PAGE = "500"
_ATTEMPTS = uuid.UUID("6e2a5f0c-7b54-4b0e-9f0a-2c9d3f1b8a47")


def accepts_docker(glance: Service) -> bool:
    """Return whether Glance's API takes images of container format ``docker``.

    A node of it tells for itself: which one is asked, a balancer before them decides each time.
    """
    schema = glance.get("/v2/schemas/image", anew=True)
    return "docker" in (schema["properties"]["container_format"].get("enum") or [])


def address(glance: Service) -> str:
    """Return Glance's address as hosts are given it, without the version."""
    return glance.url.removesuffix("/v2")


def mark(image_id: str) -> str:
    """Return the tag that says of an image, and of no other, that this bundle published it.

    Nova hands an image's properties down to snapshots of its instances, so a property proves
    nothing. It does not hand down tags, and this one names the image that it is on: a copy of the
    record under another id does not carry a mark of its own.

    :param image_id: Glance image
    """
    return f"novadocker-published-{image_id}"


def is_own(image: dict[str, Any], project_id: str) -> bool:
    """Return whether this bundle published an image, for the project that it works for.

    Only an administrator can give an image to another project, so no tenant's image passes.

    :param image: the record in Glance
    :param project_id: the caller's
    """
    return (
        bool(project_id)
        and image.get("owner") == project_id
        and mark(image["id"]) in (image.get("tags") or [])
    )


def own(glance: Service, project_id: str, **properties: str) -> Iterator[dict[str, Any]]:
    """Yield the images that this bundle published, whatever their status, page by page.

    :param glance: the image service
    :param project_id: the caller's
    :param properties: what they are to have
    :raises NovadockerError: when it is not known whose they would be
    """
    of_project = _of_project(glance, project_id, **properties)
    yield from (image for image in of_project if is_own(image, project_id))


def _of_project(glance: Service, project_id: str, **properties: str) -> Iterator[dict[str, Any]]:
    if not project_id:
        raise NovadockerError(
            "Neither the token nor Mistral tells which project the run works for, so no image can "
            "be told to be its own: start it with a token of a project."
        )
    query = {"owner": project_id, "container_format": "docker", "limit": _PAGE, **properties}
    while True:
        page = glance.get("/v2/images", params=query)
        yield from (image for image in page["images"] if image.get("owner") == project_id)
        if not page.get("next") or not page["images"]:
            return
        query = {**query, "marker": page["images"][-1]["id"]}


def untied(glance: Service) -> list[str]:
    """Return the names of Docker images, of whatever project, that do not require the trait.

    Of many the first page, for a remark.

    :param glance: the image service
    """
    query = {"container_format": "docker", "limit": _PAGE}
    images = glance.get("/v2/images", params=query)["images"]
    return sorted(
        f"{image.get('name') or 'without a name'} ({image['id']})"
        for image in images
        if any(image.get(name) != value for name, value in aggregates.REQUIRED.items())
    )


def published(
    glance: Service, project_id: str, reference: str, digest: str
) -> dict[str, Any] | None:
    """Return the oldest usable image that a reference was published as.

    One of ours, else one that is ours by all but the mark: a release before this one left none, and
    a second image of the same name could no more be booted by it. It is used, and never removed.

    :param glance: the image service
    :param project_id: the caller's
    :param reference: Docker reference
    :param digest: digest that the registry gives for it
    """
    properties = {"docker_reference": reference, "docker_digest": digest}
    images = list(_of_project(glance, project_id, **properties))
    active = [image for image in images if image["status"] == "active"]
    usable = [image for image in active if is_own(image, project_id)]
    usable = usable or [image for image in active if _has_no_mark_yet(image)]
    return min(usable, key=lambda image: str(image["created_at"]), default=None)


def _has_no_mark_yet(image: dict[str, Any]) -> bool:
    # Only an administrator makes an image public, and Nova says of a snapshot that it is one.
    snapshot = image.get("image_type") == "snapshot" or image.get("base_image_ref")
    return image.get("visibility") == "public" and not snapshot


def create(glance: Service, image_id: str, reference: str, digest: str) -> dict[str, Any]:
    """Make the record of an image in Glance, public where the caller may do so.

    :param glance: the image service
    :param image_id: what it is to be called in Glance
    :param reference: Docker reference
    :param digest: digest that the registry gives for it
    """
    record = {
        "id": image_id,
        "tags": [mark(image_id)],
        "name": Reference.parse(reference).name,
        "container_format": "docker",
        "disk_format": "raw",
        "visibility": "public",
        "img_hv_type": "docker",
        **aggregates.REQUIRED,
        "docker_reference": reference,
        "docker_digest": digest,
    }
    try:
        image: dict[str, Any] = glance.post("/v2/images", json=record)
        return image
    except CloudError as err:
        if err.status != 403:
            raise
    # Publishing to everybody is an administrator's right; the project can still use its own image.
    private: dict[str, Any] = glance.post("/v2/images", json={**record, "visibility": "private"})
    return private


def record_for(
    glance: Service, project_id: str, attempt: str, reference: str, digest: str
) -> dict[str, Any]:
    """Return the record to upload to: an active image of ours, else the one of this attempt.

    An attempt that is repeated after the loss of its executor finds the record that it made, for
    the id follows from the attempt. The record of another attempt, such as one that is being
    uploaded at this moment, is let alone.

    :param glance: the image service
    :param project_id: the caller's
    :param attempt: what tells this upload from all others, such as its task
    :param reference: Docker reference
    :param digest: digest that the registry gives for it
    :raises NovadockerError: when an image that is not ours has the id of this attempt
    """
    image = published(glance, project_id, reference, digest)
    if image:
        return image
    image_id = str(uuid.uuid5(_ATTEMPTS, f"{project_id} {attempt} {reference} {digest}"))
    try:
        return create(glance, image_id, reference, digest)
    except CloudError as err:
        if err.status != 409:
            raise
    record: dict[str, Any] = glance.get(f"/v2/images/{image_id}")
    if not is_own(record, project_id):
        raise NovadockerError(f"Glance image {image_id} is in the way, and is not ours.")
    return record


def fault_of(image: dict[str, Any], sha512: str) -> str:
    """Return what is wrong with an uploaded image, "" when nothing is.

    :param image: the record in Glance
    :param sha512: hash that the exporting host gave for the archive
    """
    if image["status"] != "active":
        return f"Glance image {image['id']} is {image['status']}, not active"
    if image.get("os_hash_algo") == "sha512" and image.get("os_hash_value") != sha512:
        return f"Glance image {image['id']} is not what the host exported: its sha512 differs"
    return ""


def remove_queued(glance: Service, project_id: str) -> int:
    """Delete our images that nobody has uploaded anything to; return how many there were.

    :param glance: the image service
    :param project_id: the caller's
    """
    queued = list(own(glance, project_id, status="queued"))
    for image in queued:
        glance.delete(f"/v2/images/{image['id']}")
    return len(queued)

# SPDX-License-Identifier: Apache-2.0
"""What the driver keeps on a host when no instance is left: images in the engine, and folders."""

from __future__ import annotations

import json
import urllib.parse
from typing import Optional

from library.engine import docker
from library.faults import StepFailed
from library.services import Service, place_on_host, run_beside
from library.step import ANY_CODE, Step

# Of Glance's images, and of those that it makes itself.
REPOSITORIES = ("nova-glance", "nova-docker")


def remove_leftovers(step: Step, service: Service, folder: Optional[str]) -> None:
    """Take the driver's images and empty folders off a host that has no use for them any more.

    :param folder: where the driver kept what is its own, None where that was there before it
    """
    tags = images()
    if tags and step.will(f"remove {len(tags)} images of the driver from the engine"):
        for tag in tags:
            try:
                docker(f"/images/{urllib.parse.quote(tag, safe='')}", "DELETE")
            except StepFailed as err:
                step.note(f"{tag} stays in the engine: {err}")
    held = place_on_host(step, service, folder) if folder else None
    if folder is None or held is None or not held.is_dir() or not step.will(f"remove {folder}"):
        return
    # Where Nova's user may change what is there, nothing is done that he could not do.
    place = str(held) if service.container is None else folder
    times = ["find", place, "-maxdepth", "1", "-type", "f", "-name", "images.json*", "-delete"]
    empty = ["find", place, "-xdev", "-depth", "-type", "d", "-empty", "-delete"]
    try:
        for argv in (times, empty):
            run_beside(step, service, argv, ok=ANY_CODE, user=service.user)
    except StepFailed as err:
        # What was to be taken back has been.
        step.note(f"{folder} stays: {err}")
        return
    if held.is_dir():
        step.note(f"{folder} is not empty, and stays")


def images() -> list[str]:
    """Return the tags of the driver's images, none where there is no engine."""
    filters = {"reference": [f"{name}/*" for name in REPOSITORIES]}
    query = urllib.parse.urlencode({"filters": json.dumps(filters)})
    try:
        shown = docker(f"/images/json?{query}")
    except StepFailed:
        return []
    prefixes = tuple(f"{name}/" for name in REPOSITORIES)
    tags = {tag for image in shown or () for tag in image.get("RepoTags") or ()}
    return sorted(tag for tag in tags if tag.startswith(prefixes))

# SPDX-License-Identifier: Apache-2.0
"""Pull an image with this host's Docker Engine and save it to a file, for upload_image."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.parse
from pathlib import Path
from typing import Any, Optional

from library.engine import docker, docker_response
from library.faults import StepFailed
from library.outcome import run_step
from library.records import EXPORTS
from library.references import name_and_version, split_reference
from library.registries import Registries
from library.registry_accounts import HUB, HUB_ACCOUNT
from library.step import Step

SETTINGS = {
    "type": "object",
    "description": "The image to save.",
    "additionalProperties": False,
    "required": ["image"],
    "properties": {
        "image": {
            "type": "string",
            "description": "Reference of the image, such as busybox or quay.io/org/app:1.2.",
            "minLength": 1,
        },
        "digest": {
            "type": "string",
            "description": "What the registry called it when the run looked; empty for whatever it "
            "is now.",
            "pattern": "^([a-z0-9]+:[0-9a-f]{32,128})?$",
        },
    },
}

PIECE_BYTES = 1024 * 1024
# The engine says nothing while it writes out a large image: the step's own time limits it.
SILENCE_S = None


def converge(step: Step) -> None:
    """Save the image, unless just this image is saved already, and tell what it is."""
    reference = step.settings["image"]
    if step.mode == "check":
        step.will(f"pull {reference} and save it in {EXPORTS}")
        return
    was_there, before = inspected(reference) is not None, image_ids()
    pull(step, reference)
    image = had(reference)
    wanted = step.settings.get("digest", "")
    if wanted and wanted not in digests_of(image):
        newer, image = image, pull_what_it_was(step, reference, wanted)
        if newer["Id"] not in {*before, image["Id"]}:
            forget(step, newer)
    digest = wanted or digest_of(reference, image)
    archive = step.path(f"{EXPORTS}/{digest.split(':')[1]}.tar")
    facts = saved_facts(archive, image)
    if facts is None:
        facts = save(step, reference, image, archive)
    step.facts.update(facts, reference=reference, digest=digest)
    if not was_there:
        docker(f"/images/{urllib.parse.quote(reference, safe='')}", "DELETE")


def inspected(reference: str) -> Optional[dict[str, Any]]:
    """Return what the engine knows of an image, None when it does not have it."""
    image = docker(f"/images/{urllib.parse.quote(reference, safe='')}/json")
    return dict(image) if image else None


def image_ids() -> set[str]:
    """Return the ids of all images that the engine has."""
    return {str(item["Id"]) for item in docker("/images/json") or ()}


def forget(step: Step, image: dict[str, Any]) -> None:
    """Remove an image that is nobody's."""
    try:
        docker(f"/images/{image['Id']}", "DELETE")
    except StepFailed as err:
        step.note(f"{image['Id']} stays in the engine: {err}")


def had(reference: str) -> dict[str, Any]:
    """Return what the engine knows of an image that it has pulled.

    :raises StepFailed: when it does not have it
    """
    image = inspected(reference)
    if image is None:
        raise StepFailed(f"the engine pulled {reference} but does not have it")
    return image


def pull_what_it_was(step: Step, reference: str, digest: str) -> dict[str, Any]:
    """Have the reference name the image that it named when the run looked; tags move.

    :raises StepFailed: when the registry does not have that image any more
    """
    name, tag = name_and_version(reference)
    by_digest = f"{name}@{digest}"
    step.note(f"{reference} has become another image since the run looked: {by_digest} is taken")
    pull(step, by_digest)
    query = urllib.parse.urlencode({"repo": name, "tag": tag})
    docker(f"/images/{urllib.parse.quote(by_digest, safe='')}/tag?{query}", "POST")
    image = had(reference)
    if digest not in digests_of(image):
        raise StepFailed(f"the engine has {reference} as {digests_of(image)}, and not as {digest}")
    return image


def pull(step: Step, reference: str) -> None:
    """Make the engine get the image.

    :raises StepFailed: with what the registry said
    """
    name, version = name_and_version(reference)
    query = urllib.parse.urlencode({"fromImage": name, "tag": version})
    headers = engine_account(step, reference)
    response = docker_response(f"/images/create?{query}", "POST", SILENCE_S, headers)
    text = response.read().decode(errors="replace")
    faults = [message_of(line) for line in text.splitlines() if '"error"' in line]
    if response.status != 200 or faults:
        said = faults[-1] if faults else text.strip()
        raise StepFailed(f"the engine cannot pull {reference}: {said[:400]}")


def message_of(line: str) -> str:
    """Return the error in one line of the engine's progress."""
    try:
        return str(json.loads(line).get("error", line))
    except ValueError:
        return line


def engine_account(step: Step, reference: str) -> dict[str, str]:
    """Return the header that gives the engine the account for the image's registry, if any."""
    domain, _, _ = split_reference(reference)
    return Registries(step).account(domain).header(HUB_ACCOUNT if domain == HUB else domain)


def digests_of(image: dict[str, Any]) -> list[str]:
    """Return the digests by which registries know the image."""
    return [str(item).partition("@")[2] for item in image.get("RepoDigests") or []]


def digest_of(reference: str, image: dict[str, Any]) -> str:
    """Return the digest by which the registry knows the image; an image built here has its id."""
    return str(reference.partition("@")[2] or (digests_of(image) or [image["Id"]])[0])


def saved_facts(archive: Path, image: dict[str, Any]) -> Optional[dict[str, Any]]:
    """Return the facts of an archive that is complete and of this image, else None."""
    notes = archive.with_suffix(".json")
    if not (archive.exists() and notes.exists()):
        return None
    facts = dict(json.loads(notes.read_text()))
    whole = facts["image_id"] == image["Id"] and facts["size_bytes"] == archive.stat().st_size
    return facts if whole else None


def save(step: Step, reference: str, image: dict[str, Any], archive: Path) -> dict[str, Any]:
    """Write the image's archive and return its facts.

    :raises StepFailed: when it would not fit, or broke off
    """
    archive.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    needed, free = int(image["Size"]) + 64 * PIECE_BYTES, shutil.disk_usage(archive.parent).free
    if free < needed:
        raise StepFailed(
            f"{reference} needs {needed // PIECE_BYTES} MB in {EXPORTS}, where "
            f"{free // PIECE_BYTES} MB are free: make room on this host, then repeat"
        )
    step.will(f"save {reference} in {EXPORTS}/{archive.name}")
    path = f"/images/{urllib.parse.quote(reference, safe='')}/get"
    response = docker_response(path, "GET", SILENCE_S)
    if response.status != 200:
        raise StepFailed(f"the engine cannot save {reference}: {response.read(400)!r}")
    total, size = hashlib.sha512(), 0
    with open(archive, "wb") as file:
        while True:
            piece = response.read(PIECE_BYTES)
            if not piece:
                break
            total.update(piece)
            size += len(piece)
            file.write(piece)
    archive.chmod(0o600)
    facts = {"image_id": image["Id"], "size_bytes": size, "sha512": total.hexdigest()}
    archive.with_suffix(".json").write_text(json.dumps(facts))
    return facts


def undo(step: Step) -> None:
    """Remove what was saved for uploads and not taken away by them."""
    place = step.path(EXPORTS)
    if place.is_dir() and step.will(f"remove {EXPORTS}"):
        shutil.rmtree(place)


if __name__ == "__main__":
    run_step("export_image", SETTINGS, converge, undo)

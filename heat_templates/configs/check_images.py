# SPDX-License-Identifier: Apache-2.0
"""Ask the registries, as this host's Docker Engine would, whether images exist; changes nothing."""

from __future__ import annotations

import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from library.outcome import run_step
from library.registries import Registries, split_reference
from library.step import Step

SETTINGS = {
    "type": "object",
    "description": "The images to look for.",
    "additionalProperties": False,
    "required": ["images"],
    "properties": {
        "images": {
            "type": "array",
            "description": "References, such as busybox or quay.io/org/app:1.2.",
            "items": {"type": "string", "minLength": 1},
        },
    },
}


def converge(step: Step) -> None:
    """Look for all images at the same time."""
    registries = Registries(step)
    wanted = list(dict.fromkeys(step.settings["images"]))
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda reference: (reference, look(registries, reference)), wanted)
        step.facts.update(answers)


def look(registries: Registries, reference: str) -> dict[str, Any]:
    """Return whether an image exists: ``ok``, its ``digest``, and else the ``reason``."""
    domain, path, version = split_reference(reference)
    reasons = []
    for endpoint in registries.endpoints(domain):
        name = urllib.parse.urlsplit(endpoint).netloc
        try:
            status, headers = registries.manifest(endpoint, path, version)
        except (OSError, ValueError) as err:
            reasons.append(f"{name}: {getattr(err, 'reason', err)}"[:160])
            continue
        if status == 200:
            digest = headers.get("docker-content-digest") or (
                version if "sha256:" in version else ""
            )
            return {"ok": True, "digest": digest, "reason": ""}
        why = {401: "access denied", 403: "access denied", 404: "no such image"}
        reasons.append(f"{name}: {why.get(status, f'status {status}')}")
    return {"ok": False, "digest": "", "reason": "; ".join(reasons)}


if __name__ == "__main__":
    run_step("check_images", SETTINGS, converge)

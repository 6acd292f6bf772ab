# SPDX-License-Identifier: Apache-2.0
"""Ask the registries, as this host's Docker Engine would, whether images exist; changes nothing.

Where the engine is not there yet, or is going to have other settings for registries, it is asked as
it will be. That what is found can be uploaded is seen as well: by reaching Glance.
"""

from __future__ import annotations

import http.client
import json
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from library.daemon_settings import wanted_daemon_settings
from library.engine import docker_response, engine_answers
from library.faults import StepFailed
from library.glance import why_out_of_reach
from library.outcome import run_step
from library.references import split_reference
from library.registries import Registries
from library.registry_accounts import HUB, HUB_ACCOUNT
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
        "daemon_settings": {
            "type": "object",
            "description": "What install_docker is going to be given for the engine.",
            "default": {},
        },
        "glance_url": {
            "type": "string",
            "description": "Glance's endpoint, which this host is going to upload to; empty: none.",
            "default": "",
        },
        "glance_authority": {
            "type": "string",
            "description": "Certificates of authorities that Glance is trusted by, in PEM.",
            "default": "",
        },
    },
}

# What decides how the engine asks registries; other settings do not.
REGISTRY_KEYS = ("insecure-registries", "proxies", "registry-mirrors")
# For registries without an account the engine wants one that is empty: base64 of {}.
NO_ACCOUNT = "e30="
ENGINE_TIMEOUT_S = 45


def converge(step: Step) -> None:
    """Look for all images at the same time."""
    registries = registries_to_be(step)
    wanted = list(dict.fromkeys(step.settings["images"]))
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda reference: (reference, look(registries, reference)), wanted)
        step.facts.update(answers)
    url = step.settings.get("glance_url")
    if url:
        fault = why_out_of_reach(url, step.settings.get("glance_authority", ""))
        # By what is no reference of an image.
        step.facts[url] = {"ok": not fault, "digest": "", "reason": fault}


def registries_to_be(step: Step) -> Registries:
    """Return the registries as the engine is going to see them."""
    given = {"daemon_settings": step.settings.get("daemon_settings", {})}
    merged, changed = wanted_daemon_settings(Step("install_docker", "check", given, step.root))
    as_it_is = engine_answers() and not set(changed) & set(REGISTRY_KEYS)
    return Registries(step, merged, engine=as_it_is)


def look(registries: Registries, reference: str) -> dict[str, Any]:
    """Return whether an image exists: ``ok``, its ``digest``, and else the ``reason``."""
    domain, path, version = split_reference(reference)
    # A helper that is not there would keep the image from being pulled as well.
    registries.account(domain)
    if registries.engine:
        return engine_answer(registries, reference, domain)
    reasons = []
    for endpoint in registries.endpoints(domain):
        name = urllib.parse.urlsplit(endpoint).netloc
        try:
            status, headers = registries.manifest(endpoint, path, version)
        except (OSError, ValueError, http.client.HTTPException) as err:
            reasons.append(f"{name}: {getattr(err, 'reason', err)}"[:250])
            continue
        if status == 200:
            digest = headers.get("docker-content-digest") or (
                version if "sha256:" in version else ""
            )
            return {"ok": True, "digest": digest, "reason": ""}
        why = {401: "access denied", 403: "access denied", 404: "no such image"}
        reasons.append(f"{name}: {why.get(status, f'status {status}')}")
    return {"ok": False, "digest": "", "reason": "; ".join(reasons)}


def engine_answer(registries: Registries, reference: str, domain: str) -> dict[str, Any]:
    """Return what the engine itself finds.

    It knows its proxies, mirrors and certificates, and which registries it takes without TLS.
    """
    path = f"/distribution/{urllib.parse.quote(reference, safe='/:@')}/json"
    header = registries.account(domain).header(HUB_ACCOUNT if domain == HUB else domain)
    header = header or {"X-Registry-Auth": NO_ACCOUNT}
    try:
        response = docker_response(path, "GET", ENGINE_TIMEOUT_S, header)
        text = response.read().decode(errors="replace")
    except (StepFailed, OSError, http.client.HTTPException) as err:
        return {"ok": False, "digest": "", "reason": f"{err}"[:300]}
    try:
        told = dict(json.loads(text))
    except ValueError:
        told = {"message": text}
    if response.status == 200:
        digest = str((told.get("Descriptor") or {}).get("digest") or "")
        return {"ok": True, "digest": digest, "reason": ""}
    return {"ok": False, "digest": "", "reason": f"the engine says: {told.get('message')}"[:300]}


if __name__ == "__main__":
    run_step("check_images", SETTINGS, converge)

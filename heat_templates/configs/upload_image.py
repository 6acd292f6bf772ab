# SPDX-License-Identifier: Apache-2.0
"""Upload what export_image saved to Glance, with the caller's token, which came sealed."""

import base64
import binascii
import http.client
import json
import ssl
import subprocess
import urllib.parse
from pathlib import Path
from typing import Optional

from host_step import Step, StepFailed, clean_environment, run_step

SETTINGS = {
    "type": "object",
    "description": "Which archive goes into which image record.",
    "additionalProperties": False,
    "required": ["image_id", "digest", "glance_url", "sealed_token"],
    "properties": {
        "image_id": {
            "type": "string",
            "description": "The queued image in Glance.",
            "pattern": "^[0-9a-fA-F-]{32,36}$",
        },
        "digest": {
            "type": "string",
            "description": "Digest that export_image told.",
            "pattern": "^sha256:[0-9a-f]{64}$",
        },
        "glance_url": {
            "type": "string",
            "description": "Glance's endpoint, without the version.",
            "pattern": "^https?://[^/]+",
        },
        "sealed_token": {
            "type": "string",
            "description": "Base64 of the token, encrypted (RSA-OAEP, SHA-256) for this export.",
            "minLength": 1,
        },
    },
}

EXPORTS = "/var/lib/novadocker/exports"
SILENCE_S = 300


def converge(step: Step) -> None:
    """Send the archive; then remove it and its key."""
    archive = step.path(f"{EXPORTS}/{step.settings['digest'].split(':')[1]}.tar")
    if not archive.exists():
        raise StepFailed(
            f"no archive of {step.settings['digest']} on this host: run export_image first"
        )
    if not step.will(f"upload {archive.name} as Glance image {step.settings['image_id']}"):
        return
    token = unsealed(step.settings["sealed_token"], archive.with_suffix(".key"))
    send(step, archive, token)
    for suffix in (".tar", ".json", ".key"):
        archive.with_suffix(suffix).unlink(missing_ok=True)


def unsealed(sealed: str, key: Path) -> str:
    """Return the token in clear; it goes into no argument, file or log.

    :raises StepFailed: when it was sealed for another key
    """
    options = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")
    command = ["openssl", "pkeyutl", "-decrypt", "-inkey", str(key)]
    for option in options:
        command += ["-pkeyopt", option]
    try:
        text = base64.b64decode(sealed, validate=True)
    except binascii.Error as error:
        raise StepFailed("sealed_token: is not base64") from error
    done = subprocess.run(
        command, input=text, capture_output=True, check=False, env=clean_environment()
    )
    if done.returncode:
        raise StepFailed("sealed_token: was not made for the key of this export; export once more")
    return done.stdout.decode()


def send(step: Step, archive: Path, token: str) -> None:
    """Stream the archive to Glance.

    :raises StepFailed: with Glance's answer, or why there was none
    """
    url = urllib.parse.urlsplit(step.settings["glance_url"])
    path = f"{url.path.rstrip('/')}/v2/images/{step.settings['image_id']}/file"
    connection: Optional[http.client.HTTPConnection] = None
    if url.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(url.netloc, timeout=SILENCE_S, context=context)
    else:
        connection = http.client.HTTPConnection(url.netloc, timeout=SILENCE_S)
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(archive.stat().st_size),
        "X-Auth-Token": token,
    }
    try:
        with open(archive, "rb") as file:
            connection.request("PUT", path, body=file, headers=headers)
        response = connection.getresponse()
        text = response.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise StepFailed(f"Glance at {url.netloc} broke off: {error}") from error
    finally:
        connection.close()
    if response.status not in (200, 201, 204):
        raise StepFailed(f"Glance answered {response.status}: {json.dumps(text)[:300]}")


if __name__ == "__main__":
    run_step("upload_image", SETTINGS, converge)

# SPDX-License-Identifier: Apache-2.0
"""Upload what export_image saved to Glance, with the caller's token, which came sealed.

It was sealed to the key that this host was enrolled with, for one image and one address: to no
other is the token sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

from library.faults import StepFailed
from library.glance import connected
from library.outcome import run_step
from library.records import EXPORTS
from library.step import Step, clean_environment

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
        "glance_authority": {
            "type": "string",
            "description": "Certificates of authorities that Glance is trusted by beside "
            "those that this host trusts, in PEM.",
            "default": "",
        },
        "sealed_token": {
            "type": "string",
            "description": "The token, with the image and the address that it is for, encrypted "
            "with this host's key: three base64 texts with dots between them.",
            "minLength": 1,
        },
    },
}

HOST_KEY = "/etc/novadocker/host.key"
PBKDF2_ROUNDS = 10000
# For what Glance had to say while it was sent more than it wanted.
LAST_WORDS_S = 10


def converge(step: Step) -> None:
    """Send the archive; then remove it."""
    archive = step.path(f"{EXPORTS}/{step.settings['digest'].split(':')[1]}.tar")
    if not archive.exists():
        raise StepFailed(
            f"no archive of {step.settings['digest']} on this host: run export_image first"
        )
    if not step.will(f"upload {archive.name} as Glance image {step.settings['image_id']}"):
        return
    secret = unsealed(step.settings["sealed_token"], step.path(HOST_KEY))
    for name in ("image_id", "glance_url"):
        if secret.get(name) != step.settings[name]:
            raise StepFailed(f"sealed_token: was made for another {name} than the one given")
    send(step, archive, str(secret["token"]))
    for suffix in (".tar", ".json"):
        archive.with_suffix(suffix).unlink(missing_ok=True)
    if not any(archive.parent.iterdir()):
        archive.parent.rmdir()


def unsealed(sealed: str, private_key: Path) -> dict[str, Any]:
    """Return what was sealed, in clear; it goes into no argument, file or log.

    :raises StepFailed: when it was sealed for another key, or altered
    """
    if not private_key.exists():
        raise StepFailed("this host has no key: run `novadocker-enroll add` for it again")
    try:
        wrapped, text, tag = (base64.b64decode(p, validate=True) for p in sealed.split("."))
    except (binascii.Error, ValueError) as err:
        raise StepFailed("sealed_token: is not three base64 texts with dots between") from err
    oaep = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")
    options = [word for option in oaep for word in ("-pkeyopt", option)]
    key = openssl(["pkeyutl", "-decrypt", "-inkey", str(private_key), *options], wrapped)
    expected = derived(derived(key, b"tag"), text)
    if not key or not hmac.compare_digest(expected, tag):
        raise StepFailed("sealed_token: was not made for this host's key; enrol the host again")
    # A pipe has room for it, and no other process sees what goes through.
    reader, writer = os.pipe()
    os.write(writer, derived(key, b"passphrase").hex().encode())
    os.close(writer)
    rounds = ["-pbkdf2", "-iter", str(PBKDF2_ROUNDS), "-md", "sha256"]
    command = ["enc", "-d", "-aes-256-cbc", *rounds, "-pass", f"fd:{reader}"]
    try:
        return dict(json.loads(openssl(command, text, reader)))
    except ValueError as err:
        raise StepFailed("sealed_token: openssl on this host cannot open it") from err
    finally:
        os.close(reader)


def derived(key: bytes, text: bytes) -> bytes:
    """Return the HMAC of a text: a key for one purpose, or a tag."""
    return hmac.new(key, text, hashlib.sha256).digest()


def openssl(arguments: list[str], text: bytes, *descriptors: int) -> bytes:
    """Return what openssl makes of a text, empty when it fails."""
    done = subprocess.run(
        ["openssl", *arguments],
        input=text,
        capture_output=True,
        check=False,
        env=clean_environment(),
        pass_fds=descriptors,
    )
    return b"" if done.returncode else done.stdout


def send(step: Step, archive: Path, token: str) -> None:
    """Stream the archive to Glance, for as long as that takes: the step's own time limits it.

    :raises StepFailed: with Glance's answer, or why there was none
    """
    url = urllib.parse.urlsplit(step.settings["glance_url"])
    path = f"{url.path.rstrip('/')}/v2/images/{step.settings['image_id']}/file"
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(archive.stat().st_size),
        "X-Auth-Token": token,
    }
    try:
        authority = step.settings.get("glance_authority", "")
        connection = connected(step.settings["glance_url"], authority)
    except OSError as err:
        raise StepFailed(f"Glance at {url.netloc} is not reached: {err}") from err
    try:
        connection.sock.settimeout(None)
        response = answered(connection, path, archive, headers)
        text = response.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as err:
        raise StepFailed(f"Glance at {url.netloc} broke off: {err}") from err
    finally:
        connection.close()
    if response.status not in (200, 201, 204):
        raise StepFailed(f"Glance answered {response.status}: {json.dumps(text)[:300]}")


def answered(
    connection: http.client.HTTPConnection, path: str, archive: Path, headers: dict[str, str]
) -> http.client.HTTPResponse:
    """Return Glance's answer to the archive, also one that came before the end of it."""
    try:
        with open(archive, "rb") as file:
            connection.request("PUT", path, body=file, headers=headers)
    except (BrokenPipeError, ConnectionResetError) as err:
        # It has refused (a token, a quota, a size), and does not read the rest.
        connection.sock.settimeout(LAST_WORDS_S)
        response = http.client.HTTPResponse(connection.sock, method="PUT")
        try:
            response.begin()
        except (OSError, http.client.HTTPException):
            raise err from None
        return response
    return connection.getresponse()


if __name__ == "__main__":
    run_step("upload_image", SETTINGS, converge)

# SPDX-License-Identifier: Apache-2.0
"""Docker images: their references, and their publishing to Glance."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from novadocker_actions import isolation
from novadocker_actions.clients import Service
from novadocker_actions.errors import CloudError, NovadockerError, Refused

_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_HOST = rf"(?:{_DOMAIN}(?:\.{_DOMAIN})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
# The grammar of github.com/distribution/reference.
_REFERENCE = re.compile(
    rf"(?:(?P<domain>{_HOST})/)?(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_HUB = "docker.io"


@dataclass(frozen=True)
class Reference:
    """A reference to a Docker image."""

    domain: str
    path: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as Docker does.

        :param text: such as ``busybox``, ``quay.io/org/app:1.2`` or ``app@sha256:…``
        :raises Refused: when it is not of that form
        """
        found = _REFERENCE.fullmatch(text)
        if not found or len(text) > 255:
            raise Refused(
                "images",
                f"{text!r} is not a Docker image reference.",
                "Give [registry[:port]/]name[:tag][@sha256:digest], name in lower case.",
            )
        domain, path = found["domain"] or "", found["path"]
        if domain and "." not in domain and ":" not in domain and domain != "localhost":
            if domain != domain.lower():
                raise Refused(
                    "images", f"{text!r} has upper case letters.", "Names are in lower case."
                )
            domain, path = "", f"{domain}/{path}"
        if domain in (_HUB, "index.docker.io"):
            domain = ""
        if not domain and path.startswith("library/"):
            path = path.removeprefix("library/")
        digest = found["digest"] or ""
        return cls(domain, path, found["tag"] or ("" if digest else "latest"), digest)

    @property
    def name(self) -> str:
        """The name that the image gets in Glance: without the tag ``latest``."""
        return self.familiar.removesuffix(":latest")

    @property
    def familiar(self) -> str:
        """The reference as users write it, always with a tag or a digest."""
        text = f"{self.domain}/{self.path}" if self.domain else self.path
        text += f":{self.tag}" if self.tag else ""
        return text + (f"@{self.digest}" if self.digest else "")


def require_found(answers: dict[str, dict[str, Any]], wanted: list[str]) -> dict[str, str]:
    """Return the digest of each wanted image.

    :param answers: what check_images found, by reference
    :param wanted: references
    :raises Refused: naming the images that the registry does not have
    """
    missing = []
    for reference in wanted:
        answer = answers.get(reference) or {"ok": False, "reason": "the host did not look for it"}
        if not answer.get("ok"):
            missing.append(f"{reference} ({answer.get('reason') or 'not found'})")
    if missing:
        raise Refused(
            "images",
            f"the registry does not give {'; '.join(missing)}.",
            "Correct the reference, push the image, or let the controllers reach its registry.",
        )
    return {reference: str(answers[reference].get("digest") or "") for reference in wanted}


def accepts_docker(glance: Service) -> bool:
    """Whether Glance's API takes images of container format ``docker``."""
    schema = glance.get("/v2/schemas/image")
    return "docker" in (schema["properties"]["container_format"].get("enum") or [])


def published(glance: Service, reference: str, digest: str) -> dict[str, Any] | None:
    """Return the Glance image that a reference was published as, whatever its status.

    :param glance: the image service
    :param reference: Docker reference
    :param digest: digest that the registry gives for it
    """
    query = {"container_format": "docker", "docker_reference": reference, "docker_digest": digest}
    found = [
        image
        for image in glance.get("/v2/images", params={**query, "limit": "50"})["images"]
        if image["status"] in ("active", "queued", "saving")
    ]
    found.sort(key=lambda image: (image["status"] != "active", image["created_at"]))
    return found[0] if found else None


def create(glance: Service, reference: str, digest: str) -> dict[str, Any]:
    """Make the record of an image in Glance, public where the caller may do so.

    :param glance: the image service
    :param reference: Docker reference
    :param digest: digest that the registry gives for it
    """
    record = {
        "name": Reference.parse(reference).name,
        "container_format": "docker",
        "disk_format": "raw",
        "visibility": "public",
        "img_hv_type": "docker",
        **isolation.REQUIRED,
        "docker_reference": reference,
        "docker_digest": digest,
    }
    try:
        return glance.post("/v2/images", json=record)
    except CloudError as fault:
        if fault.status != 403:
            raise
    # Publishing to everybody is an administrator's right; the project can still use its own image.
    return glance.post("/v2/images", json={**record, "visibility": "private"})


def record_for(glance: Service, reference: str, digest: str) -> dict[str, Any]:
    """Return the record to upload to: one that a lost run left empty, else a new one.

    :param glance: the image service
    :param reference: Docker reference
    :param digest: digest that the registry gives for it
    """
    found = published(glance, reference, digest)
    if found and found["status"] == "saving":
        glance.delete(f"/v2/images/{found['id']}")
        found = published(glance, reference, digest)
    return found or create(glance, reference, digest)


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


def seal(secret: str, public_key_pem: str) -> str:
    """Encrypt a secret for one host (RSA-OAEP, SHA-256), as base64.

    :param secret: such as a token
    :param public_key_pem: the host's key, made for this export
    :raises NovadockerError: when the key is too small for the secret
    """
    key = serialization.load_pem_public_key(public_key_pem.encode())
    if not isinstance(key, rsa.RSAPublicKey):
        raise NovadockerError("The exporting host gave no RSA key.")
    room = key.key_size // 8 - 2 * hashes.SHA256.digest_size - 2
    if len(secret.encode()) > room:
        raise NovadockerError(
            f"The token has {len(secret.encode())} bytes, the host's key seals {room}: publish the "
            "image with `openstack image create`, or use Keystone's fernet tokens."
        )
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return base64.b64encode(key.encrypt(secret.encode(), oaep)).decode()

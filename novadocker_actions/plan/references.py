# SPDX-License-Identifier: Apache-2.0
"""References to Docker images, and what a registry answers to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from novadocker_actions.errors import Refused

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
        parts = _REFERENCE.fullmatch(text)
        if not parts or len(text) > 255:
            raise Refused(
                "images",
                f"{text!r} is not a Docker image reference.",
                "Give [registry[:port]/]name[:tag][@sha256:digest], name in lower case.",
            )
        domain, path = parts["domain"] or "", parts["path"]
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
        digest = parts["digest"] or ""
        return cls(domain, path, parts["tag"] or ("" if digest else "latest"), digest)

    @property
    def name(self) -> str:
        """Return the name that the image gets in Glance: without the tag ``latest``."""
        return self.familiar.removesuffix(":latest")

    @property
    def familiar(self) -> str:
        """Return the reference as users write it, always with a tag or a digest."""
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

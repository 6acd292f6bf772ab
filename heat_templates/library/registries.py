# SPDX-License-Identifier: Apache-2.0
"""Registries as this host's Docker Engine sees them: references, mirrors, accounts, manifests."""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from library.faults import StepFailed
from library.step import Step

HUB = "docker.io"
HUB_REGISTRY = "https://registry-1.docker.io"
HUB_ACCOUNT = "https://index.docker.io/v1/"
REGISTRY_TIMEOUT_S = 15
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class Registries:
    """The registries as this host is set up for them: mirrors, credentials, certificates."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.daemon = self._json("/etc/docker/daemon.json")
        self.accounts = self._json("/root/.docker/config.json").get("auths", {})

    def _json(self, name: str) -> dict[str, Any]:
        path = self.step.path(name)
        try:
            return dict(json.loads(path.read_text())) if path.exists() else {}
        except ValueError as err:
            raise StepFailed(f"{name} is not JSON ({err}): mend it, then repeat") from err

    def endpoints(self, domain: str) -> list[str]:
        """Return where images of a registry may be had; mirrors are for the hub alone."""
        if domain == HUB:
            mirrors = [str(url).rstrip("/") for url in self.daemon.get("registry-mirrors", [])]
            return [*mirrors, HUB_REGISTRY]
        insecure = domain in self.daemon.get("insecure-registries", [])
        return [f"https://{domain}", f"http://{domain}"] if insecure else [f"https://{domain}"]

    def tls(self, url: str) -> ssl.SSLContext:
        """Return how to trust a registry: as the system does, and as the engine was told to."""
        context = ssl.create_default_context()
        name = urllib.parse.urlsplit(url).netloc
        for path in sorted(self.step.path(f"/etc/docker/certs.d/{name}").glob("*.crt")):
            context.load_verify_locations(path)
        if name in self.daemon.get("insecure-registries", []):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def account(self, domain: str) -> str:
        """Return base64 of user and password that root has stored for a registry, else ""."""
        keys = (domain, f"https://{domain}", *((HUB_ACCOUNT,) if domain == HUB else ()))
        stored = [str(self.accounts.get(key, {}).get("auth") or "") for key in keys]
        return next((item for item in stored if item), "")

    def basic(self, url: str) -> str | None:
        """Return the Authorization header that the operator stored for a registry."""
        domain = HUB if url == HUB_REGISTRY else urllib.parse.urlsplit(url).netloc
        stored = self.account(domain)
        return f"Basic {stored}" if stored else None

    def ask(
        self, url: str, method: str, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return status, headers in lower case and body."""
        request = urllib.request.Request(url, method=method, headers=headers)
        try:
            with urllib.request.urlopen(
                request, timeout=REGISTRY_TIMEOUT_S, context=self.tls(url)
            ) as response:
                lowered = {name.lower(): value for name, value in response.headers.items()}
                return response.status, lowered, response.read(1024 * 1024)
        except urllib.error.HTTPError as err:
            lowered = {name.lower(): value for name, value in err.headers.items()}
            return err.code, lowered, b""

    def manifest(self, endpoint: str, path: str, version: str) -> tuple[int, dict[str, str]]:
        """Return status and headers of an image's manifest, with a token where one is wanted."""
        url = f"{endpoint}/v2/{path}/manifests/{version}"
        headers = {"Accept": ", ".join(MANIFESTS)}
        status, answered, _ = self.ask(url, "HEAD", headers)
        challenge = answered.get("www-authenticate", "")
        if status == 401 and challenge.lower().startswith("basic") and self.basic(endpoint):
            authorization = {"Authorization": str(self.basic(endpoint))}
            status, answered, _ = self.ask(url, "HEAD", {**headers, **authorization})
        elif status == 401 and challenge.lower().startswith("bearer"):
            token = self.token(endpoint, challenge)
            authorization = {"Authorization": f"Bearer {token}"}
            status, answered, _ = self.ask(url, "HEAD", {**headers, **authorization})
        return status, answered

    def token(self, endpoint: str, challenge: str) -> str:
        """Return the token that a registry's challenge asks for."""
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = wanted.pop("realm", "")
        stored = self.basic(endpoint)
        query = urllib.parse.urlencode(
            {k: v for k, v in wanted.items() if k in ("service", "scope")}
        )
        headers = {"Authorization": stored} if stored else {}
        status, _, body = self.ask(f"{realm}?{query}", "GET", headers)
        answer = json.loads(body) if status == 200 else {}
        return str(answer.get("token") or answer.get("access_token") or "")


def name_and_version(reference: str) -> tuple[str, str]:
    """Return the name in a reference, as it is written, and its version: a digest or a tag."""
    name, _, digest = reference.partition("@")
    above, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{above}{slash}{last}", digest or tag or "latest"


def split_reference(reference: str) -> tuple[str, str, str]:
    """Return registry, path and version (tag or digest) of a reference, as the engine reads it."""
    name, version = name_and_version(reference)
    first, slash, rest = name.partition("/")
    is_domain = bool(slash) and (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    )
    domain, path = (first, rest) if is_domain else (HUB, name)
    if domain in (HUB, "index.docker.io"):
        domain = HUB
        path = path if "/" in path else f"library/{path}"
    return domain, path, version

# SPDX-License-Identifier: Apache-2.0
"""Registries as this host's Docker Engine sees them: mirrors, accounts, manifests."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from library.daemon_settings import daemon_settings
from library.engine_proxies import engine_proxies
from library.engine_unit import engine_command, engine_flags
from library.registry_accounts import CLIENT_SETTINGS, HUB, Account, registry_account
from library.step import Step

HUB_REGISTRY = "https://registry-1.docker.io"
# Nobody's own, so that no name server is asked for them.
NOT_LOCAL = (HUB, urllib.parse.urlsplit(HUB_REGISTRY).netloc)
REGISTRY_TIMEOUT_S = 15
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects as the engine does: an account or a token goes to no other place."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return what is asked next, None where that is no address of a registry."""
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is None or request.type not in ("http", "https"):
            return None
        # That of a proxy is added again where the next place is behind one.
        request.remove_header("Proxy-authorization")
        came_from, goes_to = map(urllib.parse.urlsplit, (req.full_url, request.full_url))
        if came_from[:2] != goes_to[:2]:
            request.remove_header("Authorization")
        return request


class Registries:
    """The registries as this host is set up for them: mirrors, credentials, certificates.

    :param daemon: what the engine's configuration file is going to hold, None for what it holds
    :param engine: whether the engine itself can be asked, as it is
    """

    def __init__(
        self, step: Step, daemon: dict[str, Any] | None = None, *, engine: bool = False
    ) -> None:
        self.step, self.engine = step, engine
        self.daemon = daemon_settings(step) if daemon is None else daemon
        self.client = daemon_settings(step, CLIENT_SETTINGS)
        self.flags = engine_flags(engine_command(step))
        # The engine takes an address for the name in it.
        listed = self._listed("insecure-registries")
        self.insecure = [re.sub("(?i)^https?://", "", item) for item in listed]
        self.proxies = engine_proxies(step, self.daemon, self.flags)

    def _listed(self, key: str) -> list[str]:
        """Return a list of the engine's settings, of which each flag is one entry."""
        listed = [str(item) for item in self.daemon.get(key) or []]
        return [*listed, *(flag.value for flag in self.flags if flag.key == key)]

    def endpoints(self, domain: str) -> list[str]:
        """Return where images of a registry may be had; mirrors are for the hub alone."""
        if domain == HUB:
            mirrors = [url.rstrip("/") for url in self._listed("registry-mirrors")]
            return [*mirrors, HUB_REGISTRY]
        secure = not self.is_insecure(domain)
        return [f"https://{domain}"] if secure else [f"https://{domain}", f"http://{domain}"]

    def is_insecure(self, domain: str) -> bool:
        """Return whether the engine takes a registry without TLS: by name, by network, or local.

        A name that leads to this very host is local.
        """
        host = re.sub(r":\d+$", "", domain).strip("[]")
        if domain in self.insecure or host == "localhost":
            return True
        try:
            addresses = {ipaddress.ip_address(host)}
        except ValueError:
            addresses = resolved(host) if domain not in NOT_LOCAL else set()
        networks = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]
        for item in self.insecure:
            try:
                networks += [ipaddress.ip_network(item, strict=False)] if "/" in item else []
            except ValueError:
                continue
        return any(address in network for address in addresses for network in networks)

    def tls(self, url: str) -> ssl.SSLContext:
        """Return how to trust a registry: as the system does, and as the engine was told to."""
        context = ssl.create_default_context()
        name = urllib.parse.urlsplit(url).netloc
        place = self.step.path(f"/etc/docker/certs.d/{name}")
        for path in sorted(place.glob("*.crt")):
            context.load_verify_locations(path)
        for path in sorted(place.glob("*.cert")):
            key = path.with_suffix(".key")
            if not key.is_file():
                raise ValueError(
                    f"{path.name} in {place} has no {key.name} beside it: put it there, or call it "
                    ".crt where it is an authority's"
                )
            context.load_cert_chain(path, key)
        if self.is_insecure(name):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def account(self, domain: str) -> Account:
        """Return the account that root has for a registry."""
        return registry_account(self.step, self.client, domain)

    @staticmethod
    def domain_of(url: str) -> str:
        """Return what references call the registry at an address."""
        return HUB if url == HUB_REGISTRY else urllib.parse.urlsplit(url).netloc

    def basic(self, url: str) -> str | None:
        """Return the Authorization header that the operator stored for a registry."""
        stored = self.account(self.domain_of(url)).basic
        return f"Basic {stored}" if stored else None

    def opener(self, url: str) -> urllib.request.OpenerDirector:
        """Return what opens an address as the engine does: with its proxies, and no others."""
        return urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=self.tls(url)),
            urllib.request.ProxyHandler(self.proxies.of(url)),
            Redirects,
        )

    def ask(
        self, url: str, method: str, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return status, headers in lower case and body."""
        request = urllib.request.Request(url, body, method=method, headers=headers)
        try:
            with self.opener(url).open(request, timeout=REGISTRY_TIMEOUT_S) as response:
                lowered = {name.lower(): value for name, value in response.headers.items()}
                return response.status, lowered, response.read(1024 * 1024)
        except urllib.error.HTTPError as err:
            lowered = {name.lower(): value for name, value in err.headers.items()}
            return err.code, lowered, b""

    def manifest(self, endpoint: str, path: str, version: str) -> tuple[int, dict[str, str]]:
        """Return status and headers of an image's manifest, with a token where one is wanted.

        A registry may leave its digest out, which is that of the manifest's bytes.
        """
        url = f"{endpoint}/v2/{path}/manifests/{version}"
        headers = {"Accept": ", ".join(MANIFESTS)}
        status, answered, _ = self.ask(url, "HEAD", headers)
        challenge = answered.get("www-authenticate", "")
        if status == 401 and challenge.lower().startswith("basic") and self.basic(endpoint):
            headers["Authorization"] = str(self.basic(endpoint))
            status, answered, _ = self.ask(url, "HEAD", headers)
        elif status == 401 and challenge.lower().startswith("bearer"):
            headers["Authorization"] = f"Bearer {self.token(endpoint, challenge)}"
            status, answered, _ = self.ask(url, "HEAD", headers)
        if status == 200 and not answered.get("docker-content-digest"):
            status, answered, body = self.ask(url, "GET", headers)
            answered["docker-content-digest"] = f"sha256:{hashlib.sha256(body).hexdigest()}"
        return status, answered

    def token(self, endpoint: str, challenge: str) -> str:
        """Return the token that a registry's challenge asks for.

        :raises ValueError: when the challenge or the answer is not one to go by
        """
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = wanted.pop("realm", "")
        asked = {k: v for k, v in wanted.items() if k in ("service", "scope")}
        account = self.account(self.domain_of(endpoint))
        self.require_realm(endpoint, realm, account)
        if account.identity_token:
            asked |= {"grant_type": "refresh_token", "refresh_token": account.identity_token}
            form = urllib.parse.urlencode({**asked, "client_id": "docker"}).encode()
            status, _, body = self.ask(realm, "POST", {}, form)
        else:
            stored = self.basic(endpoint)
            headers = {"Authorization": stored} if stored else {}
            status, _, body = self.ask(f"{realm}?{urllib.parse.urlencode(asked)}", "GET", headers)
        answer = json.loads(body) if status == 200 else {}
        if not isinstance(answer, dict):
            raise ValueError("what it gives for a token is no object")
        return str(answer.get("token") or answer.get("access_token") or "")

    def require_realm(self, endpoint: str, realm: str, account: Account) -> None:
        """Refuse to ask for a token where the account would be read by others on the way.

        :raises ValueError: naming where the registry wants it to be asked for
        """
        place = urllib.parse.urlsplit(realm)
        if place.scheme not in ("http", "https"):
            raise ValueError(f"it names no address that gives tokens: {realm[:60]!r}")
        secret = account.password or account.identity_token
        in_clear = place.scheme == "http" and not self.is_insecure(place.netloc)
        if secret and in_clear and endpoint.startswith("https:"):
            raise ValueError(
                f"it wants its account sent to {place.netloc[:60]} without TLS: put that among the "
                "insecure-registries if it is to be"
            )


def resolved(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return the addresses of a host, none where its name is not known."""
    try:
        answers = socket.getaddrinfo(host, None)
    except OSError:
        return set()
    return {ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in answers}

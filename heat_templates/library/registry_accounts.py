# SPDX-License-Identifier: Apache-2.0
"""The accounts that root has for registries, as Docker's client looks them up."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from library.faults import StepFailed
from library.step import ANY_CODE, Step, program_path

CLIENT_SETTINGS = "/root/.docker/config.json"
HUB = "docker.io"
HUB_ACCOUNT = "https://index.docker.io/v1/"
# What a helper calls the user of a secret that is a token for new tokens.
TOKEN_USER = "<token>"


@dataclass(frozen=True)
class Account:
    """An account for a registry: a user with a password, or a token for new tokens."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    @property
    def basic(self) -> str:
        """Return user and password in Base64, empty where there is no password."""
        text = f"{self.user}:{self.password}"
        return base64.b64encode(text.encode()).decode() if self.password else ""

    def header(self, server: str) -> dict[str, str]:
        """Return the header that gives the engine the account, empty where there is none.

        :param server: the registry, as the client calls it
        """
        if not self.password and not self.identity_token:
            return {}
        told = {"username": self.user, "password": self.password}
        if self.identity_token:
            told = {"identitytoken": self.identity_token}
        text = json.dumps({**told, "serveraddress": server}).encode()
        return {"X-Registry-Auth": base64.urlsafe_b64encode(text).decode()}


def registry_account(step: Step, settings: dict[str, Any], domain: str) -> Account:
    """Return the account for a registry; an empty one where there is none.

    A helper comes before what is in the file, and one for the registry before that for all; an
    empty one says that this registry has none. A key that is the registry's very name comes before
    one that is an address there.

    :param settings: of Docker's client
    :raises StepFailed: when a helper is named that is not there
    """
    server = HUB_ACCOUNT if domain == HUB else domain
    named = {host_of(key): str(name or "") for key, name in entries(settings, "credHelpers")}
    helper = named.get(host_of(server), str(settings.get("credsStore") or ""))
    account = helper_account(step, helper, server) if helper else None
    if account:
        return account
    stored = {key: entry for key, entry in entries(settings, "auths") if isinstance(entry, dict)}
    for key in (server, *stored):
        if key in stored and host_of(key) == host_of(server):
            return file_account(stored[key])
    return Account()


def entries(settings: dict[str, Any], key: str) -> Iterable[tuple[str, Any]]:
    """Return what an object in the client's file holds.

    :raises StepFailed: when it is no object
    """
    value = settings.get(key) or {}
    if not isinstance(value, dict):
        raise StepFailed(f"{CLIENT_SETTINGS}: {key} is no object: mend it, then repeat")
    return value.items()


def host_of(key: str) -> str:
    """Return the host and port in a key of the client's: those may be whole addresses."""
    host = re.sub(r"^https?://", "", key.lower()).partition("/")[0]
    return "index.docker.io" if host in (HUB, "registry-1.docker.io") else host


def file_account(entry: dict[str, Any]) -> Account:
    """Return an account as it is in the client's file."""
    token = str(entry.get("identitytoken") or "")
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    try:
        decoded = base64.b64decode(str(entry.get("auth") or "")).decode()
    except ValueError:
        decoded = ""
    if decoded:
        user, _, password = decoded.rstrip("\0").partition(":")
    return Account(user, password, token)


def helper_account(step: Step, helper: str, server: str) -> Account | None:
    """Ask a program of the operator's for an account; return None where it has none.

    :raises StepFailed: when the program is not there
    """
    program = program_path(f"docker-credential-{helper}")
    if not program:
        raise StepFailed(
            f"{CLIENT_SETTINGS} names the helper {helper}, and there is no docker-credential-"
            f"{helper} on this host: install it, or take it out of the file, then repeat"
        )
    done = step.run([program, "get"], ok=ANY_CODE, stdin=server, quiet=True)
    try:
        told = dict(json.loads(done.stdout)) if done.code == 0 else {}
    except ValueError:
        told = {}
    if not told.get("Secret"):
        return None
    user, secret = str(told.get("Username") or ""), str(told["Secret"])
    return Account(identity_token=secret) if user == TOKEN_USER else Account(user, secret)

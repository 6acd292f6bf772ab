# SPDX-License-Identifier: Apache-2.0
"""References of images, as the engine reads them."""

from __future__ import annotations

from library.registry_accounts import HUB


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

# SPDX-License-Identifier: Apache-2.0
"""The configuration of an image: whether it is for this host, and what of it the engine gets."""

import json
import re
from typing import Any

from novadocker import exceptions

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}


def check(config: Any, machine: str) -> list[str]:
    """Check an image's configuration.

    :param machine: the host's ``uname -m``
    :return: the digests of its layers
    :raises ImageRefused: it is not for this host, or not clear
    """
    if not isinstance(config, dict):
        raise exceptions.ImageRefused("its configuration is not a JSON object")
    rootfs = config.get("rootfs")
    inner = config.get("config")
    for part in (config, rootfs, inner):
        # Docker reads names in any case, and the last one wins.
        if isinstance(part, dict) and len({name.casefold() for name in part}) != len(part):
            raise exceptions.ImageRefused("its configuration has a name twice, in different cases")
    if inner is not None and not isinstance(inner, dict):
        raise exceptions.ImageRefused("its configuration's 'config' is not a JSON object")
    wanted = _ARCHITECTURES.get(machine, machine)
    if config.get("os", "linux") != "linux" or config.get("architecture") != wanted:
        raise exceptions.ImageRefused(
            f"it is for {config.get('os')}/{config.get('architecture')}, "
            f"this host is linux/{wanted}"
        )
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or not all(
        isinstance(one, str) and _DIGEST.fullmatch(one) for one in diff_ids
    ):
        raise exceptions.ImageRefused("its configuration names no valid digests of layers")
    return diff_ids


def without_volumes(config_bytes: bytes) -> bytes:
    """Take the volumes out of a configuration.

    The engine would keep the files below them outside of the container's file system: a flavor does
    not limit them there, and no snapshot and no resize takes them along.
    """
    config = json.loads(config_bytes)
    found = False
    for key, inner in config.items():
        # Docker reads names in any case.
        if key.casefold() == "config" and isinstance(inner, dict):
            for name in [name for name in inner if name.casefold() == "volumes"]:
                del inner[name]
                found = True
    return json.dumps(config).encode() if found else config_bytes

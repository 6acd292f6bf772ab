# SPDX-License-Identifier: Apache-2.0
"""The configuration of an image: whether it is for this host, and what of it the engine gets."""

import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from novadocker import exceptions

# The largest one; the engine tells it whole whenever it tells of an image.
MAX_BYTES = 1 << 20
# What the engine does not get of an image's settings.
_LEFT_OUT = {
    # It would keep the files below them outside of the container's file system: a flavor does not
    # limit them there, and no snapshot and no resize takes them along.
    "volumes",
    # They would be in each list of containers. Those of containers are ours alone.
    "labels",
    # Commands that would be run all the time, for an answer that nobody here looks at.
    "healthcheck",
    # Commands for building other images.
    "onbuild",
    # Security groups say what is open.
    "exposedports",
}
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
    # Docker reads names in any case.
    folded = {name.casefold(): value for name, value in config.items()}
    rootfs, inner = folded.get("rootfs"), folded.get("config")
    for part in (config, rootfs, inner):
        # The last one wins.
        if isinstance(part, dict) and len({name.casefold() for name in part}) != len(part):
            raise exceptions.ImageRefused("its configuration has a name twice, in different cases")
    if inner is not None and not isinstance(inner, dict):
        raise exceptions.ImageRefused("its configuration's 'config' is not a JSON object")
    _check_settings(inner or {})
    wanted = _ARCHITECTURES.get(machine, machine)
    if folded.get("os", "linux") != "linux" or folded.get("architecture") != wanted:
        raise exceptions.ImageRefused(
            f"it is for {folded.get('os')}/{folded.get('architecture')}, "
            f"this host is linux/{wanted}"
        )
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or not all(
        isinstance(one, str) and _DIGEST.fullmatch(one) for one in diff_ids
    ):
        raise exceptions.ImageRefused("its configuration names no valid digests of layers")
    return diff_ids


def _check_settings(inner: Mapping[str, Any]) -> None:
    """Check what containers of an image would be started with.

    :raises ImageRefused: it leads out of a container, or the engine would stumble over it
    """
    for name, value in inner.items():
        if name.casefold() == "workingdir" and value:
            path = posixpath.normpath(f"/{value}").lstrip("/")
            if path.split("/")[0] in ("proc", "sys"):
                # CVE-2024-21626: a directory that a runtime holds open is one of the host's.
                raise exceptions.ImageRefused(
                    f"its working directory is {value!r}, where the kernel's files are"
                )


def cleaned(config_bytes: bytes) -> bytes:
    """Take out of a configuration what has no meaning here, or a bad one."""
    config = json.loads(config_bytes)
    found = False
    for key, inner in config.items():
        if key.casefold() == "config" and isinstance(inner, dict):
            for name in [name for name in inner if name.casefold() in _LEFT_OUT]:
                del inner[name]
                found = True
    return json.dumps(config).encode() if found else config_bytes

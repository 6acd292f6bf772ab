# SPDX-License-Identifier: Apache-2.0
"""An image's configuration: checked for this host, and stripped of settings that do harm here."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from novadocker import exceptions
from novadocker.virt.docker.engine import health

# Largest configuration: the engine returns it whole whenever it returns the image.
MAX_BYTES = 1 << 20
# Settings of an image that the engine does not get.
_LEFT_OUT = {
    # Volumes: the engine would keep their files outside of the container's file system, where no
    # flavor limits them, and no snapshot and no resize includes them.
    "volumes",
    # Labels: they would appear in every container listing; only the driver's may be there.
    "labels",
    # Triggers: commands for the build of other images.
    "onbuild",
    # Ports: security groups determine which are open.
    "exposedports",
}
# Variables by which images ask OCI runtimes for devices of the host. What an instance gets is the
# operator's to say.
OF_RUNTIMES = frozenset(
    {
        *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES"),
        *("NVIDIA_IMEX_CHANNELS", "AMD_VISIBLE_DEVICES", "ASCEND_VISIBLE_DEVICES"),
        *("HABANA_VISIBLE_DEVICES", "MTHREADS_VISIBLE_DEVICES"),
    }
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# What kernels of another name run besides, where they are built for it.
_ALSO = {"amd64": "386", "arm64": "arm"}
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


def architectures(machine: str) -> list[str]:
    """Return the architectures of images that a host runs, the best one first.

    :param machine: the host's ``uname -m``
    """
    own = _ARCHITECTURES.get(machine, machine)
    return [own, _ALSO[own]] if own in _ALSO else [own]


def check(config: Any, machine: str) -> list[str]:
    """Check an image's configuration.

    :param machine: the host's ``uname -m``
    :return: the digests of the image's layers
    :raises ImageRefused: the image is not for this host, or the configuration is ambiguous
    """
    if not isinstance(config, dict):
        raise exceptions.ImageRefused("its configuration is not a JSON object")
    # Docker ignores the case of names.
    folded = {name.casefold(): value for name, value in config.items()}
    rootfs, inner = folded.get("rootfs"), folded.get("config")
    for part in (config, rootfs, inner):
        # Of duplicates, the engine would take the last one.
        if isinstance(part, dict) and len({name.casefold() for name in part}) != len(part):
            raise exceptions.ImageRefused("its configuration has a name twice, in different cases")
    if inner is not None and not isinstance(inner, dict):
        raise exceptions.ImageRefused("its configuration's 'config' is not a JSON object")
    _check_settings(inner or {})
    wanted = architectures(machine)
    if folded.get("os", "linux") != "linux" or folded.get("architecture") not in wanted:
        raise exceptions.ImageRefused(
            f"it is for {folded.get('os')}/{folded.get('architecture')}, "
            f"this host is linux/{wanted[0]}"
        )
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or not all(
        isinstance(diff_id, str) and _DIGEST.fullmatch(diff_id) for diff_id in diff_ids
    ):
        raise exceptions.ImageRefused("its configuration names no valid digests of layers")
    return diff_ids


def _check_settings(inner: Mapping[str, Any]) -> None:
    """Check the settings that containers of an image would be started with.

    :raises ImageRefused: a setting leads out of the container, or the engine cannot handle it
    """
    for name, value in inner.items():
        if name.casefold() == "workingdir" and value:
            path = posixpath.normpath(f"/{value}").lstrip("/")
            if path.split("/")[0] in ("proc", "sys"):
                # CVE-2024-21626: below /proc a runtime may hold directories of the host open.
                raise exceptions.ImageRefused(
                    f"its working directory is {value!r}, where the kernel's files are"
                )


def cleaned(config_bytes: bytes) -> bytes:
    """Return a configuration without the settings that have no meaning here, or do harm."""
    config = json.loads(config_bytes)
    changed = False
    for key, inner in config.items():
        if key.casefold() == "config" and isinstance(inner, dict):
            for name in [name for name, value in inner.items() if _is_left_out(name, value)]:
                del inner[name]
                changed = True
            for name, value in inner.items():
                if name.casefold() == "env" and isinstance(value, list):
                    inner[name] = [variable for variable in value if not _is_of_a_runtime(variable)]
                    changed = changed or inner[name] != value
    return json.dumps(config).encode() if changed else config_bytes


def _is_of_a_runtime(variable: Any) -> bool:
    return isinstance(variable, str) and variable.partition("=")[0] in OF_RUNTIMES


def _is_left_out(name: str, value: Any) -> bool:
    if name.casefold() == "healthcheck":
        return not health.is_one(value)
    return name.casefold() in _LEFT_OUT

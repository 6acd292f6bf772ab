# SPDX-License-Identifier: Apache-2.0
"""What the input ``docker`` may hold: keys of the engine's daemon.json, and their types.

The engine refuses a file with one key that it does not know, or of another type, when it starts: on
the canary. What it takes differs by release; these are the keys of 20.10 to 29 that make sense on
a host of this bundle.
"""

from __future__ import annotations

import difflib
from typing import Any

_BOOLEAN: dict[str, Any] = {"type": "boolean"}
_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_TEXT_BY_NAME: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
_OBJECTS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "object"}}
# Releases have others beside these.
_KEPT: dict[str, Any] = {
    "all": _BOOLEAN,
    "filter": {"type": ["array", "object"]},
    "keepStorage": _TEXT,
}
_BUILDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "gc": {
            "type": "object",
            "properties": {
                "enabled": _BOOLEAN,
                "defaultKeepStorage": _TEXT,
                "policy": {"type": "array", "items": {"type": "object", "properties": _KEPT}},
            },
        },
        "entitlements": {"type": "object", "additionalProperties": {"type": "boolean"}},
    },
}

KEYS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            "debug",
            "experimental",
            "icc",
            "init",
            "ip-forward",
            "ip-masq",
            "ip6tables",
            "iptables",
            "ip-forward-no-drop",
            "ipv6",
            "live-restore",
            "no-new-privileges",
            "raw-logs",
            "selinux-enabled",
            "userland-proxy",
        ),
        _BOOLEAN,
    ),
    **dict.fromkeys(
        (
            "bridge",
            "cgroup-parent",
            "data-root",
            "default-cgroupns-mode",
            "default-ipc-mode",
            "default-runtime",
            "init-path",
            "seccomp-profile",
            "storage-driver",
            "userland-proxy-path",
            "userns-remap",
        ),
        _TEXT,
    ),
    **dict.fromkeys(
        ("bip", "default-gateway", "default-gateway-v6", "fixed-cidr", "fixed-cidr-v6", "ip"),
        _TEXT,
    ),
    **dict.fromkeys(
        (
            "max-concurrent-downloads",
            "max-concurrent-uploads",
            "max-download-attempts",
            "mtu",
            "network-diagnostic-port",
            "shutdown-timeout",
        ),
        _COUNT,
    ),
    **dict.fromkeys(
        (
            "allow-nondistributable-artifacts",
            "dns",
            "dns-opts",
            "dns-search",
            "exec-opts",
            "insecure-registries",
            "labels",
            "registry-mirrors",
            "storage-opts",
            "cdi-spec-dirs",
        ),
        _TEXTS,
    ),
    "log-opts": _TEXT_BY_NAME,
    **dict.fromkeys(("default-ulimits", "runtimes"), _OBJECTS),
    "bridge-accept-fwmark": _TEXT,
    "builder": _BUILDER,
    "containerd-namespace": _TEXT,
    "default-address-pools": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["base", "size"],
            "properties": {"base": _TEXT, "size": _COUNT},
        },
    },
    "default-network-opts": {"type": "object", "additionalProperties": _TEXT_BY_NAME},
    "default-shm-size": _TEXT,
    "features": {"type": "object", "additionalProperties": _BOOLEAN},
    "log-driver": {"type": "string", "pattern": "^[a-z0-9][a-z0-9./:-]*$"},
    "log-format": {"enum": ["text", "json"]},
    "log-level": {"enum": ["debug", "info", "warn", "error", "fatal"]},
    "oom-score-adjust": {"type": "integer", "minimum": -1000, "maximum": 1000},
    "proxies": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            key: {"type": "string"} for key in ("http-proxy", "https-proxy", "no-proxy")
        },
    },
}

# Keys that the engine knows and a run must not set, with the reason.
REFUSED = {
    "hosts": (
        "the unit of docker.service sets it as a flag, and a port is root on the host to whoever "
        "reaches it"
    ),
    **dict.fromkeys(
        ("tls", "tlscacert", "tlscert", "tlskey", "tlsverify"), "the engine listens at no port"
    ),
    **dict.fromkeys(
        ("containerd", "exec-root", "pidfile", "group"), "the distribution's package sets it up"
    ),
    **dict.fromkeys(
        ("swarm-default-advertise-addr", "cluster-store", "cluster-advertise"),
        "an engine of Nova's is no node of a swarm",
    ),
    "metrics-addr": "whoever reaches it reads of all containers of the host",
    "authorization-plugins": "a plug-in that is not there yet keeps the engine from starting",
    "graph": "it is called data-root now",
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": KEYS,
    "propertyNames": {"enum": sorted(KEYS)},
}


def unknown_key(name: str) -> str:
    """Return what is wrong with a key that is none of ``KEYS``.

    :param name: the key
    """
    if name in REFUSED:
        return f"{name} cannot be set by a run: {REFUSED[name]}."
    near = difflib.get_close_matches(name.replace("_", "-"), KEYS, 1)
    meant = f" Is {near[0]} meant?" if near else ""
    return f"{name} is no key of daemon.json that a run can set.{meant}"

# SPDX-License-Identifier: Apache-2.0
"""Values of daemon.json of the right type that no engine takes, or starts a container with.

A schema says what type a value has; the engine looks closer when it starts, and some values are
looked at by the first container alone: both would be on the canary. What some releases take and
others refuse is left to the host, which tries its own engine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from novadocker_actions.plan.engine_logs import SIZE, log_misfits

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"({_LABEL}(\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]+))?")
# Some releases may take an underscore.
_PART = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"{_PART}(\.{_PART})*\.?")
_RESERVED = ("com.docker.", "io.docker.", "org.dockerproject.")
_GROUP_DRIVERS = ("cgroupfs", "systemd")
# Of setrlimit(2), as an engine calls them.
_LIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc"),
    *("rss", "rtprio", "rttime", "sigpending", "stack"),
)
# What an engine's data must not be, nor what it must not be the top of.
_SYSTEM = ("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/run", "/sbin", "/sys", "/usr")
# As releases from 20.10 to 29 have them; containerd's own store has plug-ins as well.
_STORES = (
    *("overlay2", "overlay", "fuse-overlayfs", "btrfs", "zfs", "vfs", "aufs", "devicemapper"),
    *("overlayfs", "native", "blockfile", "erofs", "stargz", "nydus", "soci"),
)
# A bridge of the engine's own is set up by these, and no other may be named beside them.
_OF_THE_BRIDGE = ("bip", "bip6")


@dataclass(frozen=True)
class Misfit:
    """A value that does not fit.

    :param place: its key, and what leads to it within the key's value, with dots between them
    :param problem: what was found
    :param remedy: what to do about it
    """

    place: str
    problem: str
    remedy: str


def first_misfit(settings: dict[str, Any]) -> Misfit | None:
    """Return what is wrong with settings whose keys and types are right; None when nothing is.

    :param settings: as in daemon.json
    """
    return next(_misfits(settings), None)


def _misfits(settings: dict[str, Any]) -> Iterator[Misfit]:
    for key, check in _CHECKS.items():
        value = settings.get(key)
        parts = value if isinstance(value, list) else [value] if key in settings else []
        for number, part in enumerate(parts):
            wrong = check(part)
            if wrong:
                place = f"{key}.{number}" if isinstance(value, list) else key
                yield Misfit(place, f"{part!r} {wrong[0]}.", wrong[1])
    for name, limit in settings.get("default-ulimits", {}).items():
        yield from _limit_misfits(f"default-ulimits.{name}", limit)
    yield from _runtime_misfits(settings.get("runtimes", {}))
    yield from _pool_misfits(settings.get("default-address-pools", []))
    yield from _store_misfits(settings)
    yield from _builder_misfits(settings.get("builder", {}).get("gc", {}))
    for place, problem, remedy in log_misfits(settings):
        yield Misfit(place, problem, remedy)
    yield from _contradictions(settings)


Wrong = tuple[str, str] | None


def _mirror(text: str) -> Wrong:
    remedy = "Give http:// or https://, a host and a port, such as https://mirror.example.com:5000."
    try:
        parts = urlsplit(text)
        told = parts.scheme in ("http", "https") and parts.netloc and (parts.port or True)
    except ValueError:
        return "is no address", remedy
    if not told:
        return "has no scheme and host that an engine could ask", remedy
    if re.search(r"\s|%(?![0-9A-Fa-f]{2})", text):
        return "is no address", remedy
    if parts.username is not None:
        return "names a user, and an engine takes none here", remedy
    if parts.query or parts.fragment:
        return "has a query or a fragment", remedy
    return None


def _registry(text: str, *, scheme: bool = True) -> Wrong:
    remedy = "Give host, host:port or a network, such as reg.example.com:5000 or 10.0.0.0/8."
    # Old engines leave the scheme out.
    name = re.sub("(?i)^https?://", "", text) if scheme else text
    for kind in (ipaddress.ip_network, ipaddress.ip_address):
        try:
            kind(name, **({"strict": False} if kind is ipaddress.ip_network else {}))
        except ValueError:
            continue
        return None
    match = _HOST.fullmatch(name)
    if match is None:
        return "is no host and no network", remedy
    if int(match["port"] or 0) > 65535:
        return "has no port that exists", remedy
    return None


def _label(text: str) -> Wrong:
    if "=" not in text:
        return "has no value", "Give each as name=value."
    if text.lower().startswith(_RESERVED):
        names = ", ".join(f"{name}*" for name in _RESERVED)
        return "is in a name space that engines keep", f"Give a name that is none of {names}."
    return None


def _pair(text: str) -> Wrong:
    return None if "=" in text else ("has no value", "Give each as name=value.")


def _storage(text: str) -> Wrong:
    name, _, value = text.partition("=")
    if name.lower() == "overlay2.override_kernel_check" and not re.fullmatch(
        "(?i)[01tf]|true|false", value
    ):
        return "is neither true nor false", "Give true or false."
    return _pair(text)


def _execution(text: str) -> Wrong:
    name, _, value = text.partition("=")
    if name.strip().lower() == "native.cgroupdriver" and value.strip() not in _GROUP_DRIVERS:
        remedy = " or ".join(f"native.cgroupdriver={driver}" for driver in _GROUP_DRIVERS)
        return "is no driver of control groups", f"Give {remedy}."
    return _pair(text)


def _server(text: str) -> Wrong:
    try:
        if "%" not in text and ipaddress.ip_address(text.strip()):
            return None
    except ValueError:
        pass
    return "is no address", "Give an IPv4 or IPv6 address, without port and zone."


def _domain(text: str) -> Wrong:
    name = text.strip(" ")
    if name == "." or (_DOMAIN.fullmatch(name) and re.search("[A-Za-z]", name)):
        return None
    return "is no domain", "Give one domain in each, such as example.com."


def _directory(text: str) -> Wrong:
    name = re.sub("/+", "/", text).rstrip("/") or "/"
    if not text.startswith("/") or re.search(r"(^|/)\.\.?(/|$)", name):
        return "is no absolute path", "Give one from /, such as /srv/docker."
    if name in _SYSTEM:
        return "is a directory of the system's", "Give one of its own, such as /srv/docker."
    return None


def _profile(text: str) -> Wrong:
    # Words of their own, which old engines do not know.
    if text in ("builtin", "unconfined") or text.startswith("/"):
        return None
    return "is no absolute path", "Give the path of a file that all hosts have."


def _remapped(text: str) -> Wrong:
    if re.fullmatch(r"[^\s:]+(:[^\s:]+)?", text):
        return None
    return "names no user", "Give default, or a user and maybe a group of the host as user:group."


def _one_of(*words: str) -> Callable[[str], Wrong]:
    def check(text: str) -> Wrong:
        return None if text in words else ("is none of the values of this key", remedy)

    remedy = f"Give {' or '.join(words)}."
    return check


def _below(most: int, unit: str) -> Callable[[int], Wrong]:
    def check(number: int) -> Wrong:
        return None if number <= most else (f"is above {most}", f"Give 1 to {most}{unit}.")

    return check


def _address(version: int | None, *, network: bool) -> Callable[[str], Wrong]:
    """Return a check of an address with or without the length of its network's prefix."""

    def check(text: str) -> Wrong:
        try:
            if network != ("/" in text):
                raise ValueError
            address = ipaddress.ip_interface(text)
        except ValueError:
            return "is not of the form that this key has", remedy
        if version not in (None, address.version):
            return f"is of IPv{address.version}", remedy
        return None

    family = f"IPv{version}" if version else "IP"
    shown = "2001:db8::/64" if version == 6 else "10.1.0.0/24" if network else "10.1.0.1"
    shown = "2001:db8::1" if version == 6 and not network else shown
    remedy = f"Give an {family} {'network' if network else 'address alone'}, such as {shown}."
    return check


def _bridge_address(text: str) -> Wrong:
    remedy = "Give the address of the bridge and the length of its network's prefix: 10.1.0.1/24."
    wrong = _address(4, network=True)(text)
    if wrong:
        return wrong[0], remedy
    address = ipaddress.ip_interface(text)
    if address.network.num_addresses < 4:
        return "leaves no address for a container", remedy
    if address.ip in (address.network.network_address, address.network.broadcast_address):
        return "is the address of the network itself or its broadcast address", remedy
    return None


def _size(text: str) -> Wrong:
    return None if SIZE.fullmatch(text) else ("is no size", "Give one such as 64m or 20GB.")


def _mark(text: str) -> Wrong:
    if re.fullmatch(r"(0[xX][0-9A-Fa-f]+|\d+)(/(0[xX][0-9A-Fa-f]+|\d+))?", text):
        return None
    return "is no mark of packets", "Give a number, and maybe a mask, such as 0x1/0xff."


_CHECKS: dict[str, Callable[[Any], Wrong]] = {
    "registry-mirrors": _mirror,
    "insecure-registries": _registry,
    "allow-nondistributable-artifacts": lambda text: _registry(text, scheme=False),
    "labels": _label,
    "storage-opts": _storage,
    "exec-opts": _execution,
    "dns": _server,
    "dns-search": _domain,
    "data-root": _directory,
    "seccomp-profile": _profile,
    "userns-remap": _remapped,
    "default-cgroupns-mode": _one_of("private", "host"),
    "default-ipc-mode": _one_of("private", "shareable"),
    "default-shm-size": _size,
    "bridge-accept-fwmark": _mark,
    "mtu": _below(65535, " bytes"),
    "network-diagnostic-port": _below(65535, ""),
    "bip": _bridge_address,
    "fixed-cidr": _address(4, network=True),
    "fixed-cidr-v6": _address(6, network=True),
    "default-gateway": _address(4, network=False),
    "default-gateway-v6": _address(6, network=False),
    "ip": _address(None, network=False),
}


def _limit_misfits(place: str, limit: dict[str, Any]) -> Iterator[Misfit]:
    # Names of JSON are read by the engine in either case.
    given = {str(name).lower(): value for name, value in limit.items()}
    name, hard, soft = (given.get(key) for key in ("name", "hard", "soft"))
    if str(name).lower() not in _LIMITS:
        yield Misfit(
            place,
            f"its Name is {name!r}, and no limit is called so.",
            f"Give {', '.join(_LIMITS)}.",
        )
    elif not all(type(value) is int for value in (hard, soft)):
        yield Misfit(
            place, f"its Hard is {hard!r} and its Soft is {soft!r}.", "Give an integer for each."
        )
    elif hard not in (-1, None) and (soft == -1 or soft > hard):
        yield Misfit(
            place,
            f"its Soft is {soft}, which is above its Hard of {hard}.",
            "Give a Soft of at most Hard; -1 is no limit.",
        )


def _runtime_misfits(runtimes: dict[str, dict[str, Any]]) -> Iterator[Misfit]:
    for name, runtime in runtimes.items():
        place = f"runtimes.{name}"
        texts = [runtime.get(key, "") for key in ("path", "runtimeType")]
        arguments = runtime.get("runtimeArgs", [])
        if name in ("runc", "io.containerd.runc.v2"):
            yield Misfit(place, "the engine has one of this name.", "Give it another name.")
        elif not all(isinstance(text, str) for text in texts) or not any(texts):
            yield Misfit(
                place,
                f"its path is {texts[0]!r} and its runtimeType is {texts[1]!r}.",
                "Give the path of its program, or its runtimeType, as text.",
            )
        elif not isinstance(arguments, list) or not all(isinstance(a, str) for a in arguments):
            yield Misfit(
                place,
                f"its runtimeArgs are {arguments!r}.",
                "Give a list of texts, or leave it out.",
            )


def _pool_misfits(pools: list[dict[str, Any]]) -> Iterator[Misfit]:
    for number, pool in enumerate(pools):
        wrong = _address(None, network=True)(pool["base"])
        if wrong:
            yield Misfit(
                f"default-address-pools.{number}.base", f"{pool['base']!r} {wrong[0]}.", wrong[1]
            )
            continue
        base = ipaddress.ip_interface(pool["base"]).network
        if not base.prefixlen <= pool["size"] <= base.max_prefixlen:
            yield Misfit(
                f"default-address-pools.{number}.size",
                f"{pool['size']} is not the length of a prefix within {base}.",
                f"Give {base.prefixlen} to {base.max_prefixlen}.",
            )


def _store_misfits(settings: dict[str, Any]) -> Iterator[Misfit]:
    store = settings.get("storage-driver", "overlay2")
    by_containerd = settings.get("features", {}).get("containerd-snapshotter")
    if store not in _STORES and ":" not in store and not by_containerd:
        yield Misfit(
            "storage-driver", f"{store!r} is none of the engine's.", f"Give {', '.join(_STORES)}."
        )
    for number, text in enumerate(settings.get("storage-opts", [])):
        if settings.get("storage-driver") == "overlay2" and not text.startswith("overlay2."):
            yield Misfit(
                f"storage-opts.{number}",
                f"{text!r} is no option of overlay2's.",
                "Give one whose name begins with overlay2., or leave it out.",
            )


def _builder_misfits(kept: dict[str, Any]) -> Iterator[Misfit]:
    places = [("defaultKeepStorage", kept.get("defaultKeepStorage"))]
    for number, policy in enumerate(kept.get("policy", [])):
        places.append((f"policy.{number}.keepStorage", policy.get("keepStorage")))
    for place, text in places:
        wrong = None if text is None else _size(text)
        if wrong:
            yield Misfit(f"builder.gc.{place}", f"{text!r} {wrong[0]}.", wrong[1])


def _contradictions(settings: dict[str, Any]) -> Iterator[Misfit]:
    labels: dict[str, str] = {}
    for text in settings.get("labels", []):
        name, _, value = text.partition("=")
        if labels.setdefault(name, value) != value:
            yield Misfit("labels", f"{name} is given two values.", "Give it one.")
    if settings.get("icc") is False and settings.get("iptables") is False:
        yield Misfit(
            "icc",
            "false needs packet filter rules, and iptables is false as well.",
            "Leave one of them out.",
        )
    for key in _OF_THE_BRIDGE:
        if settings.get(key) and settings.get("bridge"):
            yield Misfit(
                key,
                f"it is of the engine's own bridge, and bridge is {settings['bridge']!r}.",
                "Leave one of them out.",
            )
    by_systemd = "native.cgroupdriver=systemd" in settings.get("exec-opts", [])
    parent = settings.get("cgroup-parent", "")
    if by_systemd and parent and not parent.endswith(".slice"):
        yield Misfit(
            "cgroup-parent",
            f"{parent!r} is no slice, and the driver of control groups is systemd.",
            "Give a name that ends in .slice.",
        )
    if settings.get("bip") and settings.get("default-gateway"):
        network = ipaddress.ip_interface(settings["bip"]).network
        if ipaddress.ip_address(settings["default-gateway"]) not in network:
            yield Misfit(
                "default-gateway",
                f"{settings['default-gateway']!r} is not in the network of bip, {network}.",
                "Give an address of it.",
            )

# SPDX-License-Identifier: Apache-2.0
"""The proxies that the engine goes through: by its flags, its configuration file, its unit.

Go's rules decide, as the engine is written in it (``golang.org/x/net/http/httpproxy``). Those of
``urllib.request.proxy_bypass_environment`` are others: it knows no networks, takes ``.example`` for
the domain itself as well, ``*`` only alone, and goes to the loopback by a proxy.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from dataclasses import dataclass
from typing import Any

from library.engine_unit import ENGINE_UNIT, EngineFlag, engine_flag, environment, unit_shown
from library.step import Step

# Where drop-ins of a unit lie; systemd shows none of a unit that is not installed yet.
UNIT_PLACES = ("/usr/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system")
LOOPBACK = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128")))


@dataclass(frozen=True)
class Proxies:
    """What the engine goes through, as its settings tell it.

    :param without: hosts, domains and networks that are reached without, with commas between
    """

    http: str = ""
    https: str = ""
    without: str = ""

    def of(self, url: str) -> dict[str, str]:
        """Return the proxy for an address, by its scheme; empty where there is none."""
        parts = urllib.parse.urlsplit(url)
        proxy = self.https if parts.scheme == "https" else self.http
        if not proxy or spared(parts.hostname or "", port_of(parts), self.without):
            return {}
        return {parts.scheme: proxy if "://" in proxy else f"http://{proxy}"}


def engine_proxies(step: Step, settings: dict[str, Any], flags: list[EngineFlag]) -> Proxies:
    """Return the engine's proxies; its flags come before its file, and that before its unit.

    :param settings: of the engine's configuration file
    """
    told, variables = settings.get("proxies") or {}, unit_environment(step)

    def proxy(name: str) -> str:
        upper = name.replace("-", "_").upper()
        return (
            engine_flag(flags, name)
            or str(told.get(name) or "")
            or variables.get(upper)
            or variables.get(upper.lower())
            or ""
        )

    return Proxies(proxy("http-proxy"), proxy("https-proxy"), proxy("no-proxy"))


def unit_environment(step: Step) -> dict[str, str]:
    """Return the engine's environment, also that which waits in drop-ins for its installation."""
    return {**environment(step, waiting_drop_ins(step)), **environment(step, unit_shown(step))}


def waiting_drop_ins(step: Step) -> str:
    """Return what drop-ins say of the environment, as systemctl shows it of a unit that is there.

    Of one that is not it shows nothing, whatever drop-ins there are.
    """
    places = [step.path(f"{place}/{ENGINE_UNIT}.d") for place in UNIT_PLACES]
    by_name = {path.name: path for place in places for path in place.glob("*.conf")}
    shown = []
    for _, path in sorted(by_name.items()):
        for line in path.read_text(errors="replace").splitlines():
            option, _, value = line.strip().partition("=")
            if option.strip() == "Environment":
                shown.append("Environment=" + value.strip().replace("%%", "%"))
            elif option.strip() == "EnvironmentFile":
                shown.append(f"EnvironmentFiles={value.strip().lstrip('-')} (drop-in)")
    return "\n".join(shown)


def port_of(parts: urllib.parse.SplitResult) -> str:
    """Return the port of an address as text."""
    return str(parts.port or {"https": 443}.get(parts.scheme, 80))


def spared(host: str, port: str, without: str) -> bool:
    """Return whether a host is reached without a proxy.

    :param without: as in NO_PROXY
    """
    host = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or (address and any(address in network for network in LOOPBACK)):
        return True
    return any(
        matches(host, address, port, item.strip().lower())
        for item in without.split(",")
        if item.strip()
    )


def matches(host: str, address: Any, port: str, item: str) -> bool:
    """Return whether one entry of NO_PROXY means a host.

    :param address: of the host, where its name is one
    """
    if "/" in item:
        try:
            return bool(address) and address in ipaddress.ip_network(item, strict=False)
        except ValueError:
            return False
    with_port = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+):(\d+)", item)
    if with_port and with_port.group(2) != port:
        return False
    name = (with_port.group(1) if with_port else item).strip("[]")
    if name == "*" or name in (host, str(address)):
        return True
    domain = name[1:] if name.startswith("*.") else name
    return not address and host.endswith(domain if domain.startswith(".") else f".{domain}")

# SPDX-License-Identifier: Apache-2.0
"""The lab's two networks: management, and one for tenants' frames."""

from __future__ import annotations

import pathlib
import re

from lab.machine import commands
from lab.settings import LabSettings


def uplink_mtu(default: int = 1500) -> int:
    """Return the MTU in bytes of the interface that carries the machine's default route."""
    route = commands.run(["ip", "-4", "route", "show", "default"], check=False).stdout
    interface = re.search(r"\bdev (\S+)", route)
    path = pathlib.Path("/sys/class/net") / (interface.group(1) if interface else "none") / "mtu"
    return min(int(path.read_text()), default) if path.is_file() else default


def ensure(settings: LabSettings) -> None:
    """Create the networks that do not exist yet."""
    mtu = f"com.docker.network.driver.mtu={uplink_mtu()}"
    plans = {
        settings.network: ["--subnet", settings.subnet, "--gateway", settings.gateway],
        # No masquerading and not --internal: its firewall rules would drop tenants' frames.
        settings.data_network: [
            *("--subnet", settings.data_subnet),
            *("--opt", "com.docker.network.bridge.enable_ip_masquerade=false"),
        ],
    }
    for name, options in plans.items():
        if not exists(name):
            bridge = f"com.docker.network.bridge.name={name}"
            commands.run(
                ["docker", "network", "create", "--opt", mtu, "--opt", bridge, *options, name]
            )


def exists(name: str) -> bool:
    """Return whether the engine has a network of that name."""
    return commands.run(["docker", "network", "inspect", name], check=False).returncode == 0


def remove(settings: LabSettings) -> None:
    """Remove both networks."""
    for name in (settings.network, settings.data_network):
        if exists(name):
            commands.run(["docker", "network", "rm", name])

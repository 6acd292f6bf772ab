# SPDX-License-Identifier: Apache-2.0
"""The containers behind the hosts: created with what systemd and a nested engine need."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from lab.machine import commands
from lab.settings import HostSettings, LabSettings

LABEL = "novadocker-lab"
ROLE_LABEL = "novadocker-lab.role"

# In the order of their numbers in linux/capability.h. They are named one by one: "--privileged" and
# "ALL" fail where the machine itself lacks one, and so does dropping it in Docker 26. Docker 20.10
# knows none that came after AUDIT_READ.
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"),
    *("IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT"),
    *("SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD"),
    *("LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG"),
    *("WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ"),
)
# SYS_TIME would let a host set the machine's clock, SYS_MODULE load kernel modules. SYS_RESOURCE is
# not on every machine: no lab has it, so that all labs are the same.
DENIED = ("SYS_MODULE", "SYS_RESOURCE", "SYS_TIME")
UNCONFINED = (
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--security-opt", "systempaths=unconfined"),
    *("--device-cgroup-rule", "a *:* rwm", "--cgroupns", "private"),
)
FILE_SYSTEMS = (
    *("--tmpfs", "/run:exec,mode=755", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec,mode=1777"),
    # A volume gives the nested engine overlay2; it goes with the container.
    *("--volume", "/var/lib/docker"),
)
BOOT = "/usr/local/lib/novadocker-lab/boot"


def capabilities(status: str | None = None) -> list[str]:
    """Return the names of the capabilities that hosts have.

    :param status: ``/proc/self/status``: a host has no capability that this machine lacks
    """
    text = status if status is not None else pathlib.Path("/proc/self/status").read_text()
    (bounds,) = re.findall(r"^CapBnd:\s*([0-9a-f]+)$", text, re.MULTILINE)
    return [
        name
        for number, name in enumerate(CAPABILITIES)
        if int(bounds, 16) >> number & 1 and name not in DENIED
    ]


def privileges(status: str | None = None) -> list[str]:
    """Return the options that let a container boot systemd and run an engine.

    :param status: as in `capabilities`
    """
    return [
        *("--cap-drop", "ALL"),
        *(part for name in capabilities(status) for part in ("--cap-add", name)),
        *UNCONFINED,
    ]


def create_command(settings: LabSettings, host: HostSettings, image: str) -> list[str]:
    """Return the command that creates a host's container.

    :param image: reference of the image that it boots
    """
    others = [x for x in settings.hosts if x.name != host.name]
    return [
        *("docker", "create", "--tty", "--name", settings.container(host.name)),
        *("--hostname", host.name, "--stop-signal", "SIGRTMIN+3"),
        *("--label", f"{LABEL}={settings.prefix}", "--label", f"{ROLE_LABEL}={host.role}"),
        *("--network", settings.network, "--ip", host.address, "--network-alias", host.name),
        *(part for x in others for part in ("--add-host", f"{x.name}:{x.address}")),
        *privileges(),
        *FILE_SYSTEMS,
        *("--volume", f"{settings.wheelhouse}:{settings.wheelhouse_mount}:ro"),
        *(image, BOOT),
    ]


def create(settings: LabSettings, host: HostSettings, image: str) -> None:
    """Create a host's container, with both networks, and leave it stopped."""
    settings.wheelhouse.mkdir(parents=True, exist_ok=True)
    commands.run(create_command(settings, host, image))
    # Connected before the start: the management network stays eth0, this one becomes eth1.
    commands.run(
        ["docker", "network", "connect", settings.data_network, settings.container(host.name)]
    )


def existing(settings: LabSettings) -> list[HostSettings]:
    """Return the hosts that have a container, running or not, those of the plan first."""
    listed = commands.run(
        ["docker", "ps", "--all", "--quiet", "--filter", f"label={LABEL}={settings.prefix}"]
    ).stdout.split()
    if not listed:
        return []
    inspected = json.loads(commands.run(["docker", "inspect", *listed]).stdout)
    # Snapshots hand the label down to whatever else is run from them: the name decides.
    hosts = [
        _host(settings, record)
        for record in inspected
        if record["Name"] == f"/{settings.container(record['Config']['Hostname'])}"
    ]
    order = {host.name: number for number, host in enumerate(settings.hosts)}
    return sorted(hosts, key=lambda host: (order.get(host.name, len(order)), host.name))


def _host(settings: LabSettings, inspected: dict[str, Any]) -> HostSettings:
    network = inspected["NetworkSettings"]["Networks"].get(settings.network, {})
    planned = (network.get("IPAMConfig") or {}).get("IPv4Address", "")
    return HostSettings(
        name=inspected["Config"]["Hostname"],
        role=inspected["Config"]["Labels"][ROLE_LABEL],
        address=planned or network.get("IPAddress", ""),
    )


def remove(settings: LabSettings, names: Sequence[str]) -> None:
    """Remove hosts' containers with their volumes, whatever their state."""
    if names:
        commands.run(
            ["docker", "rm", "--force", "--volumes", *map(settings.container, names)],
            timeout_s=180,
        )

# SPDX-License-Identifier: Apache-2.0
"""Making a compute host of the lab one whose nova-compute runs in a container."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable

from lab.controlplane import units
from lab.controlplane.config import compute
from lab.controlplane.inifile import Sections, render
from lab.controlplane.site import Cloud
from lab.hosts import containers
from lab.hosts.access import Host, HostFile
from lab.stage.kolla.containers import CONTAINERS, CRON, NOVA_COMPUTE, Container

ON_HOST = pathlib.Path(__file__).parent / "onhost"
CONTEXT = f"{units.LIBRARY}/kolla"
CAPABILITIES = f"{units.LIBRARY}/capabilities"
COMPUTE_ID = "/var/lib/nova/compute_id"
# An engine that makes no networks and no rules of its own.
DAEMON = {
    "bridge": "none",
    "ip-forward": False,
    "iptables": False,
    "log-opts": {"max-file": "5", "max-size": "50m"},
}
PRIVATE = 0o660
BUILD_TIMEOUT_S = 600


def is_made(host: Host) -> bool:
    """Return whether a host is such a one already."""
    unit = f"/etc/systemd/system/{NOVA_COMPUTE.unit}"
    return host.run(["test", "-e", unit], check=False).returncode == 0


def make(host: Host, cloud: Cloud) -> None:
    """Move nova-compute of a plain compute host into a container, and leave no other Nova on it.

    Its identifier stays, so Nova takes it for the same host.
    """
    host.run(["systemctl", "disable", "--now", "--quiet", "nova-compute.service"])
    host.put_files(engine_files())
    host.run(["bash", f"{CONTEXT}/install_engine.sh"], timeout_s=BUILD_TIMEOUT_S)
    host.run(
        ["bash", f"{CONTEXT}/build_images.sh", NOVA_COMPUTE.image, CRON.image],
        timeout_s=BUILD_TIMEOUT_S,
    )
    host.put_files(container_files(cloud, host.read(COMPUTE_ID)))
    host.run(["bash", f"{CONTEXT}/leave_nova.sh"])
    for container in CONTAINERS:
        host.run(container.create_command())
    enable(host, CONTAINERS)


def reconfigure(host: Host, cloud: Cloud) -> None:
    """Write all configuration anew, as kolla-ansible does, which then restarts what it changed."""
    compute_id = host.read(f"{NOVA_COMPUTE.folder}/compute_id")
    host.put_files(container_files(cloud, compute_id))
    check = ["docker", "exec", "--user", "root", NOVA_COMPUTE.name, "kolla_set_configs", "--check"]
    if host.run(check, check=False).returncode:
        host.run(["systemctl", "restart", NOVA_COMPUTE.unit])


def enable(host: Host, started: Iterable[Container]) -> None:
    """Start containers by their units, now and at each boot."""
    names = [container.unit for container in started]
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "enable", "--now", "--quiet", *names])


def engine_files() -> list[HostFile]:
    """Return what a host has before its engine starts, and what images are built of."""
    granted = "".join(f"CAP_{name}\n" for name in containers.capabilities())
    return [
        HostFile("/etc/docker/daemon.json", json.dumps(DAEMON, indent=4) + "\n"),
        HostFile(CAPABILITIES, granted),
        HostFile("/usr/local/sbin/runc", (ON_HOST / "runc.py").read_text(), 0o755),
        *(
            HostFile(f"{CONTEXT}/{path.name}", path.read_text())
            for path in sorted(ON_HOST.iterdir())
            if path.is_file()
        ),
    ]


def container_files(cloud: Cloud, compute_id: str) -> list[HostFile]:
    """Return the configuration and the units of the containers.

    :param compute_id: the identifier by which Nova knows the host
    """
    nova = NOVA_COMPUTE.folder
    return [
        HostFile(f"{nova}/nova.conf", render(nova_conf(cloud)), PRIVATE),
        HostFile(f"{nova}/compute_id", compute_id, PRIVATE),
        *(HostFile(f"{x.folder}/config.json", x.config_json(), PRIVATE) for x in CONTAINERS),
        *(HostFile(f"/etc/systemd/system/{x.unit}", x.unit_file()) for x in CONTAINERS),
    ]


def nova_conf(cloud: Cloud) -> Sections:
    """Return nova.conf: what other compute hosts have, in one file and with kolla's ways."""
    helper = "sudo nova-rootwrap /etc/nova/rootwrap.conf privsep-helper"
    sections = {**compute.compute_nova_conf(cloud)}
    del sections["workarounds"]
    return {
        **sections,
        "DEFAULT": {
            **sections["DEFAULT"],
            **compute.nova_compute_conf()["DEFAULT"],
            "log_dir": "/var/log/kolla/nova",
        },
        "oslo_concurrency": {"lock_path": f"{compute.STATE}/tmp"},
        "privsep_entrypoint": {"helper_command": f"{helper} --config-file /etc/nova/nova.conf"},
    }

# SPDX-License-Identifier: Apache-2.0
"""System users of the services and the directories that they own, as systemd declares them."""

from __future__ import annotations

from collections.abc import Iterable

USERS = ("glance", "heat", "keystone", "mistral", "neutron", "nova", "placement")
CONTROLLER_USERS = USERS
COMPUTE_USERS = ("neutron", "nova")


def sysusers() -> str:
    """Return /usr/lib/sysusers.d/openstack.conf."""
    return "".join(f'u {user} - "OpenStack {user}" /var/lib/{user}\n' for user in USERS)


def tmpfiles(users: Iterable[str]) -> str:
    """Return /usr/lib/tmpfiles.d/openstack.conf: state and configuration of the services here."""
    lines = []
    for user in users:
        lines += [
            f"d /etc/{user} 0750 root {user}",
            f"d /var/lib/{user} 0755 {user} {user}",
            f"d /var/lib/{user}/lock 0755 {user} {user}",
            f"d /var/log/{user} 0750 {user} {user}",
        ]
    if "glance" in users:
        lines += [
            f"d /var/lib/glance/{name} 0750 glance glance"
            for name in ("images", "staging", "tasks")
        ]
    if "nova" in users:
        lines.append("d /var/lib/nova/instances 0755 nova nova")
    if "keystone" in users:
        lines += [
            f"d /etc/keystone/{name}-keys 0700 keystone keystone"
            for name in ("fernet", "credential")
        ]
    return "\n".join(lines) + "\n"


def sudoers(user: str) -> str:
    """Return /etc/sudoers.d/<user>: privsep-helper, with any context, is how it is root."""
    return (
        f"Defaults:{user} !requiretty, !syslog,"
        ' secure_path="/opt/openstack/bin:/usr/sbin:/usr/bin:/sbin:/bin"\n'
        f"{user} ALL=(root) NOPASSWD: /opt/openstack/bin/privsep-helper *\n"
    )

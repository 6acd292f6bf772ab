# SPDX-License-Identifier: Apache-2.0
"""Compute hosts as this bundle finds them: lxcfs runs, and there is no Docker SDK yet."""

from __future__ import annotations

from lab.controlplane import provision
from lab.controlplane.inifile import render
from lab.hosts.access import Host, HostFile

LXCFS = "/var/lib/lxcfs"
# Debian's unit does not start in a container, and shows each instance all processors.
LXCFS_DROP_IN = f"""\
[Unit]
ConditionVirtualization=

[Service]
ExecStart=
ExecStart=/usr/bin/lxcfs -l --enable-cfs {LXCFS}
"""
NOVA_CONF = "/etc/nova/nova.conf"
# What an operator sets for the Docker driver, before there is one on the host.
OPTIONS = {"docker": {"lxcfs_path": LXCFS}}


def prepare(host: Host) -> None:
    """Set up a compute host whose configuration has just been written, and not been read yet."""
    host.put_files([HostFile("/etc/systemd/system/lxcfs.service.d/lab.conf", LXCFS_DROP_IN)])
    host.run(["sh", "-c", f"cat >> {NOVA_CONF}"], input=f"\n{render(OPTIONS)}")
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "enable", "--now", "--quiet", "lxcfs"])
    drop_docker_sdk(host)


def drop_docker_sdk(host: Host) -> None:
    """Uninstall what only Heat needs: the environment of a compute host has no Docker SDK."""
    packages = ("docker", "python-zunclient", "openstack-heat")
    command = [provision.PYTHON, "-m", "pip", "--quiet", "uninstall", "--yes", *packages]
    host.run(command)

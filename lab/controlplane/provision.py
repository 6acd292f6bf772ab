# SPDX-License-Identifier: Apache-2.0
"""Turning bare hosts into a controller and compute hosts; every step can be run again."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from lab.controlplane import accounts, contents, infrastructure, migrations, roles, units
from lab.controlplane.config import ovn
from lab.controlplane.config.network import PROVIDER_BRIDGE
from lab.controlplane.site import Cloud, cloud_from_json, new_cloud
from lab.errors import HostError
from lab.hosts import networks
from lab.hosts.access import Host
from lab.settings import OVN, LabSettings

PYTHON = f"{units.VENV}/bin/python"
OVSDB_MANAGER = "ptcp:6640:127.0.0.1"
# What a stage adds to a compute host before its services start.
Prepare = Callable[[Host], None]


def controller_cloud(host: Host) -> Cloud:
    """Return the cloud that a controller belongs to; a new one for a bare host.

    :raises HostError: it is there, with another networking than the settings have
    """
    wanted = host.settings.networking
    kept = host.run(["cat", roles.SECRETS], check=False)
    if kept.returncode:
        return new_cloud(host.address, wanted, networks.uplink_mtu())
    cloud = cloud_from_json(kept.stdout)
    if cloud.networking != wanted:
        raise HostError(
            f"the lab is there with --networking {cloud.networking}, not {wanted}:"
            " take it down first"
        )
    return cloud


def prepare_accounts(host: Host, users: Iterable[str]) -> None:
    """Make the services' system users and the directories of those that run here."""
    host.put_files(roles.account_files(users))
    _shell(host, "systemd-sysusers; systemd-tmpfiles --create openstack.conf")


def configure_controller(host: Host, cloud: Cloud) -> None:
    """Install configuration and units of a controller, and start what comes from Debian."""
    prepare_accounts(host, accounts.CONTROLLER_USERS)
    _copy_stock(host, roles.STOCK)
    host.put_files(roles.controller_files(cloud))
    if cloud.networking == OVN:
        _make_gateway(host)
    # RabbitMQ takes longest to come up and is needed last.
    _shell(
        host,
        "systemctl daemon-reload; systemctl disable --quiet --now memcached;"
        "systemctl stop rabbitmq-server epmd.socket epmd.service;"
        "systemctl start --no-block rabbitmq-server; systemctl restart mariadb",
    )


def create_databases(host: Host, cloud: Cloud) -> None:
    """Make the services' databases with their schemas, and Keystone's first account."""
    host.run(["mysql"], input=infrastructure.databases_sql(cloud))
    host.run([PYTHON, f"{units.LIBRARY}/migrate.py"], input=migrations.chains(cloud), timeout_s=600)


def fill_identity(host: Host, cloud: Cloud) -> None:
    """Start Keystone and give it the services' accounts and the catalog."""
    host.run(["systemctl", "start", "keystone"], timeout_s=330)
    _as_admin(host, "fill_identity.py", contents.identity(cloud))


def configure_compute(host: Host, cloud: Cloud, data_interface: str, prepare: Prepare) -> None:
    """Install configuration and units of a compute host, without starting them.

    :param data_interface: the interface that carries tenants' frames
    :param prepare: called with the host when its files are there
    """
    prepare_accounts(host, accounts.COMPUTE_USERS)
    host.put_files(roles.compute_files(cloud))
    prepare(host)
    host.run(["systemctl", "daemon-reload"])
    make_bridge(host, data_interface)
    if cloud.networking == OVN:
        _make_chassis(host)


def make_bridge(host: Host, data_interface: str) -> None:
    """Make the bridge of tenants' frames, in user space, and let its database listen."""
    host.run(
        [
            *("ovs-vsctl", "--", "--may-exist", "add-br", PROVIDER_BRIDGE),
            *("--", "set", "Bridge", PROVIDER_BRIDGE, "datapath_type=netdev"),
            *("fail_mode=standalone", "--", "--may-exist", "add-port", PROVIDER_BRIDGE),
            *(data_interface, "--", "set-manager", OVSDB_MANAGER),
        ]
    )


def _make_gateway(host: Host) -> None:
    """Start OVN on a controller, which routes for all and has a leg in the external network."""
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "enable", "--now", "--quiet", "ovn-central"])
    make_bridge(host, host.settings.data_interface)
    host.run(ovn.external_port_command())
    host.run(["systemctl", "enable", "--now", "--quiet", ovn.EXTERNAL_UNIT])
    _make_chassis(host)


def _make_chassis(host: Host) -> None:
    host.run(ovn.host_command(host.name, host.address, host.settings.controller.address))
    host.run(["systemctl", "enable", "--now", "--quiet", "ovn-host"])


def enable(host: Host, services: Iterable[units.Unit]) -> None:
    """Start services anew, now and at each boot."""
    names = [unit.name for unit in services]
    host.run(["systemctl", "enable", "--quiet", *names])
    host.run(["systemctl", "restart", *names], timeout_s=330)


def start(host: Host, services: Iterable[units.Unit]) -> None:
    """Start services that are enabled; nothing happens to those that run."""
    host.run(["systemctl", "start", "--no-block", *(unit.name for unit in services)])


def fill_cloud(host: Host, settings: LabSettings) -> None:
    """Give the cloud flavors, the demo network and security rules."""
    gateway = str(next(ipaddress.ip_network(settings.data_subnet).hosts()))
    text = contents.cloud_contents(settings.data_subnet, gateway, settings.networking)
    _as_admin(host, "fill_cloud.py", text)
    discover_hosts(host)


def discover_hosts(host: Host) -> None:
    """Have Nova's scheduler see the compute hosts that have joined."""
    _shell(host, f"runuser -u nova -- {units.VENV}/bin/nova-manage cell_v2 discover_hosts")


def _copy_stock(host: Host, names: Iterable[str]) -> None:
    commands = ["set -e", f"cd {units.VENV}/etc"]
    for name in names:
        target = f"/etc/{name}"
        commands.append(f"mkdir -p {target.rpartition('/')[0]}; cp -rT {name} {target}")
    _shell(host, "\n".join(commands))


def _as_admin(host: Host, script: str, text: str) -> None:
    _shell(host, f". {roles.OPENRC}; exec {PYTHON} {units.LIBRARY}/{script}", text)


def _shell(host: Host, text: str, stdin: str | None = None) -> None:
    host.run(["sh", "-c", text], input=stdin, timeout_s=180)

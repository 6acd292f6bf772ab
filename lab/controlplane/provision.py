# SPDX-License-Identifier: Apache-2.0
"""Turning bare nodes into a controller and compute hosts; every step can be run again."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from lab.controlplane import accounts, contents, infrastructure, migrations, roles, units
from lab.controlplane.cloud import Cloud, cloud_from_json, new_cloud
from lab.controlplane.config.network import PROVIDER_BRIDGE
from lab.nodes import Node
from lab.settings import LabSettings

PYTHON = f"{units.VENV}/bin/python"
OVSDB_MANAGER = "ptcp:6640:127.0.0.1"


def controller_cloud(node: Node) -> Cloud:
    """Return the cloud that a controller belongs to; a new one for a bare node."""
    kept = node.run(["cat", roles.SECRETS], check=False)
    return cloud_from_json(kept.stdout) if kept.returncode == 0 else new_cloud(node.name)


def prepare_accounts(node: Node, users: Iterable[str]) -> None:
    """Make the services' system users and the directories of those that run here."""
    node.put_files(roles.account_files(users))
    _shell(node, "systemd-sysusers; systemd-tmpfiles --create openstack.conf")


def configure_controller(node: Node, cloud: Cloud) -> None:
    """Install configuration and units of a controller, and start what comes from Debian."""
    prepare_accounts(node, accounts.CONTROLLER_USERS)
    _copy_stock(node, roles.STOCK)
    node.put_files(roles.controller_files(cloud))
    # RabbitMQ takes longest to come up and is needed last.
    _shell(
        node,
        "systemctl daemon-reload; systemctl disable --quiet --now memcached;"
        "systemctl stop rabbitmq-server epmd.socket epmd.service;"
        "systemctl start --no-block rabbitmq-server; systemctl restart mariadb",
    )


def create_databases(node: Node, cloud: Cloud) -> None:
    """Make the services' databases with their schemas, and Keystone's first account."""
    node.run(["mysql"], input=infrastructure.databases_sql(cloud))
    node.run([PYTHON, f"{units.LIBRARY}/migrate.py"], input=migrations.chains(cloud), timeout_s=600)


def fill_identity(node: Node, cloud: Cloud) -> None:
    """Start Keystone and give it the services' accounts and the catalog."""
    node.run(["systemctl", "start", "keystone"], timeout_s=330)
    _as_admin(node, "fill_identity.py", contents.identity(cloud))


def configure_compute(node: Node, cloud: Cloud, data_interface: str) -> None:
    """Install configuration and units of a compute host, without starting them.

    :param data_interface: the interface that carries tenants' frames
    """
    prepare_accounts(node, accounts.COMPUTE_USERS)
    node.put_files(roles.compute_files(cloud))
    node.run(["systemctl", "daemon-reload"])
    drop_docker_sdk(node)
    node.run(
        [
            "ovs-vsctl",
            "--",
            "--may-exist",
            "add-br",
            PROVIDER_BRIDGE,
            "--",
            "set",
            "Bridge",
            PROVIDER_BRIDGE,
            "datapath_type=netdev",
            "fail_mode=standalone",
            "--",
            "--may-exist",
            "add-port",
            PROVIDER_BRIDGE,
            data_interface,
            "--",
            "set-manager",
            OVSDB_MANAGER,
        ]
    )


def enable(node: Node, services: Iterable[units.Unit]) -> None:
    """Start services anew, now and at each boot."""
    names = [unit.name for unit in services]
    node.run(["systemctl", "enable", "--quiet", *names])
    node.run(["systemctl", "restart", *names], timeout_s=330)


def start(node: Node, services: Iterable[units.Unit]) -> None:
    """Start services that are enabled; nothing happens to those that run."""
    node.run(["systemctl", "start", "--no-block", *(unit.name for unit in services)])


def drop_docker_sdk(node: Node) -> None:
    """Take out what only Heat needs of the environment: a compute host has no Docker SDK."""
    node.run(
        [
            PYTHON,
            "-m",
            "pip",
            "--quiet",
            "uninstall",
            "--yes",
            "docker",
            "python-zunclient",
            "openstack-heat",
        ]
    )


def fill_cloud(node: Node, settings: LabSettings) -> None:
    """Give the cloud flavors, the demo network and security rules."""
    gateway = str(next(ipaddress.ip_network(settings.data_subnet).hosts()))
    _as_admin(node, "fill_cloud.py", contents.cloud_contents(settings.data_subnet, gateway))
    _shell(node, f"runuser -u nova -- {units.VENV}/bin/nova-manage cell_v2 discover_hosts")


def _copy_stock(node: Node, names: Iterable[str]) -> None:
    commands = ["set -e", f"cd {units.VENV}/etc"]
    for name in names:
        target = f"/etc/{name}"
        commands.append(f"mkdir -p {target.rpartition('/')[0]}; cp -rT {name} {target}")
    _shell(node, "\n".join(commands))


def _as_admin(node: Node, script: str, text: str) -> None:
    _shell(node, f". {roles.OPENRC}; exec {PYTHON} {units.LIBRARY}/{script}", text)


def _shell(node: Node, text: str, stdin: str | None = None) -> None:
    node.run(["sh", "-c", text], input=stdin, timeout_s=180)

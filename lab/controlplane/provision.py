# SPDX-License-Identifier: Apache-2.0
"""Turning bare nodes into a controller and compute hosts; every step can be run again."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from lab import network
from lab.controlplane import accounts, contents, infrastructure, migrations, roles, units
from lab.controlplane.cloud import Cloud, cloud_from_json, new_cloud
from lab.controlplane.config import ovn
from lab.controlplane.config.network import PROVIDER_BRIDGE
from lab.errors import NodeError
from lab.nodes import Node
from lab.settings import OVN, LabSettings

PYTHON = f"{units.VENV}/bin/python"
OVSDB_MANAGER = "ptcp:6640:127.0.0.1"


def controller_cloud(node: Node) -> Cloud:
    """Return the cloud that a controller belongs to; a new one for a bare node.

    :raises NodeError: it is there, with another networking than the settings have
    """
    wanted = node.settings.networking
    kept = node.run(["cat", roles.SECRETS], check=False)
    if kept.returncode:
        return new_cloud(node.address, wanted, network.uplink_mtu())
    cloud = cloud_from_json(kept.stdout)
    if cloud.networking != wanted:
        raise NodeError(
            f"the lab is there with --networking {cloud.networking}, not {wanted}:"
            " take it down first"
        )
    return cloud


def prepare_accounts(node: Node, users: Iterable[str]) -> None:
    """Make the services' system users and the directories of those that run here."""
    node.put_files(roles.account_files(users))
    _shell(node, "systemd-sysusers; systemd-tmpfiles --create openstack.conf")


def configure_controller(node: Node, cloud: Cloud) -> None:
    """Install configuration and units of a controller, and start what comes from Debian."""
    prepare_accounts(node, accounts.CONTROLLER_USERS)
    _copy_stock(node, roles.STOCK)
    node.put_files(roles.controller_files(cloud))
    if cloud.networking == OVN:
        _make_gateway(node)
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
    node.run(["systemctl", "enable", "--now", "--quiet", "lxcfs"])
    drop_docker_sdk(node)
    make_bridge(node, data_interface)
    if cloud.networking == OVN:
        _make_chassis(node)


def make_bridge(node: Node, data_interface: str) -> None:
    """Make the bridge of tenants' frames, in user space, and let its database listen."""
    node.run(
        [
            *("ovs-vsctl", "--", "--may-exist", "add-br", PROVIDER_BRIDGE),
            *("--", "set", "Bridge", PROVIDER_BRIDGE, "datapath_type=netdev"),
            *("fail_mode=standalone", "--", "--may-exist", "add-port", PROVIDER_BRIDGE),
            *(data_interface, "--", "set-manager", OVSDB_MANAGER),
        ]
    )


def _make_gateway(node: Node) -> None:
    """Start OVN on a controller, which routes for all and has a leg in the external network."""
    node.run(["systemctl", "daemon-reload"])
    node.run(["systemctl", "enable", "--now", "--quiet", "ovn-central"])
    make_bridge(node, node.settings.data_interface)
    node.run(ovn.external_port_command())
    node.run(["systemctl", "enable", "--now", "--quiet", ovn.EXTERNAL_UNIT])
    _make_chassis(node)


def _make_chassis(node: Node) -> None:
    node.run(ovn.host_command(node.name, node.address, node.settings.controller.address))
    node.run(["systemctl", "enable", "--now", "--quiet", "ovn-host"])


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
    text = contents.cloud_contents(settings.data_subnet, gateway, settings.networking)
    _as_admin(node, "fill_cloud.py", text)
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

# SPDX-License-Identifier: Apache-2.0
"""A blank host: an operating system and an OpenStack environment that nobody configured.

It becomes a compute host by the stack ``compute_pool.yaml``, whose step install_nova_compute is
given the settings that are made here. They hold no secret: what is secret is a reference to a
file on the host that only root can read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lab.controlplane import provision, roles, units
from lab.controlplane.config import compute, network
from lab.controlplane.inifile import Sections, text
from lab.controlplane.site import REGION, Cloud
from lab.hosts.access import Host, HostFile
from lab.stage import computes

COMPUTE_ACCOUNTS = ("nova", "rabbit")
POOL_ENVIRONMENT = "/root/compute-pool.yaml"


def prepare(host: Host, controller: Host) -> None:
    """Give a booted blank host what its site would have put there: secrets and the environment.

    :param controller: the controller of the cloud that the host is meant for
    """
    cloud = provision.controller_cloud(controller)
    host.put_files([HostFile(roles.SECRETS, host_secrets(cloud), 0o600), roles.stand_in_driver()])
    computes.drop_docker_sdk(host)


def host_secrets(cloud: Cloud) -> str:
    """Return the part of the cloud's secrets that a compute host needs, as JSON."""
    record = {
        "controller": cloud.controller,
        "auth_url": cloud.identity_url,
        "region": REGION,
        "transport_url": cloud.transport_url,
        "passwords": {name: cloud.passwords[name] for name in COMPUTE_ACCOUNTS},
    }
    return json.dumps(record, indent=2) + "\n"


def nova_settings(controller: str, data_interface: str) -> dict[str, Any]:
    """Return the settings of the step install_nova_compute for hosts of this cloud.

    :param controller: address of the controller
    :param data_interface: the hosts' interface that carries tenants' frames
    """
    names = {name: f"@{{passwords.{name}}}" for name in COMPUTE_ACCOUNTS}
    cloud = Cloud(controller=controller, passwords=names, heat_key="")
    files = {
        "/etc/nova/nova.conf": compute.compute_nova_conf(cloud),
        "/etc/nova/nova-compute.conf": compute.nova_compute_conf(),
        "/etc/neutron/neutron.conf": network.agent_neutron_conf(cloud),
        "/etc/neutron/plugins/ml2/openvswitch_agent.ini": network.openvswitch_agent_ini(),
    }
    return {
        "environment": units.VENV,
        "files": {name: _plain(sections) for name, sections in files.items()},
        "secrets_file": roles.SECRETS,
        "bridges": {network.PROVIDER_BRIDGE: {"port": data_interface, "datapath_type": "netdev"}},
        "ovsdb_manager": provision.OVSDB_MANAGER,
    }


def pool_environment(controller: str, data_interface: str) -> str:
    """Return a Heat environment with these settings, for ``openstack stack create -e``."""
    parameters = {"nova_settings": nova_settings(controller, data_interface)}
    return json.dumps({"parameters": parameters}, indent=2) + "\n"


def _plain(sections: Sections) -> Mapping[str, Mapping[str, str | int | bool]]:
    return {
        section: {
            name: value if isinstance(value, bool | int) else text(value)
            for name, value in options.items()
        }
        for section, options in sections.items()
        if options
    }

# SPDX-License-Identifier: Apache-2.0
"""Which files a host of each role has."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

from lab.controlplane import accounts, infrastructure, units
from lab.controlplane.config import (
    compute,
    identity,
    image,
    network,
    orchestration,
    ovn,
    placement,
    workflow,
)
from lab.controlplane.inifile import Sections, render
from lab.controlplane.site import Cloud, openrc
from lab.hosts.access import HostFile
from lab.settings import OVN

ON_HOST = pathlib.Path(__file__).parent / "onhost"
SITE_PACKAGES = f"{units.VENV}/site-packages"
SECRETS = "/root/cloud-secrets.json"
OPENRC = "/root/admin-openrc"

# What services bring along in the environment's etc/ and want to find in /etc.
STOCK = (
    "glance/glance-api-paste.ini",
    "heat/api-paste.ini",
    "heat/environment.d",
    "heat/templates",
    "neutron/api-paste.ini",
    "nova/api-paste.ini",
)


def account_files(users: Iterable[str]) -> list[HostFile]:
    """Return the declarations of system users and of their directories."""
    return [
        HostFile("/usr/lib/sysusers.d/openstack.conf", accounts.sysusers()),
        HostFile("/usr/lib/tmpfiles.d/openstack.conf", accounts.tmpfiles(users)),
    ]


def controller_files(cloud: Cloud) -> list[HostFile]:
    """Return what a controller has beyond its image."""
    scripts = (
        *("serve_wsgi.py", "dashboard_wsgi.py"),
        *("migrate.py", "fill_identity.py", "fill_cloud.py"),
    )
    return [
        _root_only(SECRETS, cloud.to_json()),
        _root_only(OPENRC, openrc(cloud)),
        HostFile("/etc/mysql/mariadb.conf.d/90-openstack.cnf", infrastructure.MARIADB),
        HostFile(
            "/etc/systemd/system/rabbitmq-server.service.d/priority.conf",
            infrastructure.RABBITMQ_PRIORITY,
        ),
        HostFile("/etc/rabbitmq/rabbitmq-env.conf", infrastructure.RABBITMQ_ENV),
        HostFile("/etc/rabbitmq/advanced.config", infrastructure.RABBITMQ_ADVANCED),
        HostFile(
            "/etc/rabbitmq/rabbitmq.conf",
            infrastructure.rabbitmq_conf(cloud),
            0o640,
            "root:rabbitmq",
        ),
        _conf("keystone", "keystone.conf", identity.keystone_conf(cloud)),
        _conf("glance", "glance-api.conf", image.glance_api_conf(cloud)),
        _conf("placement", "placement.conf", placement.placement_conf(cloud)),
        _conf("nova", "nova.conf", compute.controller_nova_conf(cloud)),
        _conf("neutron", "neutron.conf", network.controller_neutron_conf(cloud)),
        _conf("neutron", "plugins/ml2/ml2_conf.ini", network.ml2_conf(cloud)),
        _conf("heat", "heat.conf", orchestration.heat_conf(cloud)),
        HostFile("/etc/heat/policy.yaml", orchestration.POLICY),
        _conf("mistral", "mistral.conf", workflow.mistral_conf(cloud)),
        *(HostFile(f"{units.LIBRARY}/{name}", (ON_HOST / name).read_text()) for name in scripts),
        *map(_unit, (*units.controller_units(cloud.networking), units.DASHBOARD)),
        *(_ovn_files() if cloud.networking == OVN else ()),
    ]


def compute_files(cloud: Cloud) -> list[HostFile]:
    """Return what a compute host has beyond its image."""
    agent = [
        _conf("neutron", "neutron.conf", network.agent_neutron_conf(cloud)),
        _conf("neutron", "plugins/ml2/openvswitch_agent.ini", network.openvswitch_agent_ini()),
    ]
    return [
        _conf("nova", "nova.conf", compute.compute_nova_conf(cloud)),
        _conf("nova", "nova-compute.conf", compute.nova_compute_conf()),
        *(() if cloud.networking == OVN else agent),
        stand_in_driver(),
        *(
            HostFile(f"/etc/sudoers.d/{user}", accounts.sudoers(user), 0o440)
            for user in accounts.COMPUTE_USERS
        ),
        *map(_unit, units.compute_units(cloud.networking)),
    ]


def _ovn_files() -> list[HostFile]:
    return [
        HostFile("/etc/default/ovn-central", ovn.CENTRAL_DEFAULTS),
        HostFile(f"/etc/systemd/system/{ovn.EXTERNAL_UNIT}", ovn.EXTERNAL_UNIT_FILE),
    ]


def stand_in_driver() -> HostFile:
    """Return the fake driver, at the only place where Nova looks for drivers."""
    return HostFile(f"{SITE_PACKAGES}/nova/virt/lab_fake.py", (ON_HOST / "lab_fake.py").read_text())


def _conf(user: str, name: str, sections: Sections) -> HostFile:
    return HostFile(f"/etc/{user}/{name}", render(sections), 0o640, f"root:{user}")


def _root_only(path: str, text: str) -> HostFile:
    return HostFile(path, text, 0o600)


def _unit(unit: units.Unit) -> HostFile:
    return HostFile(f"/lib/systemd/system/{unit.name}.service", unit.render())

# SPDX-License-Identifier: Apache-2.0
"""Nova: the control services, and nova-compute on its hosts."""

from __future__ import annotations

from lab.controlplane.config import credentials
from lab.controlplane.inifile import Options, Sections
from lab.controlplane.site import Cloud

STATE = "/var/lib/nova"
OVSDB = "tcp:127.0.0.1:6640"
# Nova's own choice, and two that place a server beside another or apart from it.
SCHEDULER_FILTERS = (
    *("ComputeFilter", "ComputeCapabilitiesFilter", "ImagePropertiesFilter"),
    *("ServerGroupAntiAffinityFilter", "ServerGroupAffinityFilter"),
    *("SameHostFilter", "DifferentHostFilter"),
)


def controller_nova_conf(cloud: Cloud) -> Sections:
    """Return /etc/nova/nova.conf of the controller."""
    return {
        "DEFAULT": {**_default(cloud), "osapi_compute_workers": 1},
        "api_database": credentials.database(cloud, "nova_api"),
        "conductor": {"workers": 1},
        "database": credentials.database(cloud, "nova"),
        "filter_scheduler": {"enabled_filters": SCHEDULER_FILTERS},
        "image_cache": {"precache_concurrency": 8},
        "keystone_authtoken": credentials.token_check(cloud, "nova"),
        "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 5},
        **_clients(cloud),
    }


def compute_nova_conf(cloud: Cloud) -> Sections:
    """Return /etc/nova/nova.conf of a compute host: no database, by Nova's own rule."""
    return {
        "DEFAULT": {
            **_default(cloud),
            "resume_guests_state_on_host_boot": True,
            "vif_plugging_timeout": 60,
        },
        # privsep-helper is what sudo allows (sudoers.d/nova), whatever its context.
        "workarounds": {"disable_rootwrap": True},
        "vif_plug_ovs": {"ovsdb_connection": OVSDB},
        **_clients(cloud),
    }


def nova_compute_conf() -> Sections:
    """Return /etc/nova/nova-compute.conf: the stand-in for a hypervisor."""
    return {"DEFAULT": {"compute_driver": "lab_fake.LabFakeDriver"}}


def _default(cloud: Cloud) -> Options:
    return {
        "transport_url": cloud.transport_url,
        "state_path": STATE,
        "instance_usage_audit": False,
    }


def _clients(cloud: Cloud) -> dict[str, Options]:
    login = credentials.login(cloud, "nova")
    return {
        "glance": {**login, "service_type": "image"},
        "neutron": {**login, "service_type": "network"},
        "placement": {**login, "service_type": "placement"},
        "service_user": {**login, "send_service_user_token": True},
        "vnc": {"enabled": False},
        **credentials.bus(f"{STATE}/lock"),
    }

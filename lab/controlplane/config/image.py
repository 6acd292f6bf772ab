# SPDX-License-Identifier: Apache-2.0
"""Glance."""

from __future__ import annotations

from lab.controlplane.config import credentials
from lab.controlplane.inifile import Sections
from lab.controlplane.site import Cloud

STATE = "/var/lib/glance"
# As a hardened site would have it: "docker" is for the deployment to add.
CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "compressed")


def glance_api_conf(cloud: Cloud) -> Sections:
    """Return /etc/glance/glance-api.conf."""
    return {
        "DEFAULT": {
            "enabled_backends": "local:file",
            "worker_self_reference_url": cloud.url("image"),
        },
        "database": credentials.database(cloud, "glance"),
        "glance_store": {"default_backend": "local"},
        "image_format": {"container_formats": CONTAINER_FORMATS},
        "keystone_authtoken": credentials.token_check(cloud, "glance"),
        "local": {"filesystem_store_datadir": f"{STATE}/images"},
        "oslo_concurrency": {"lock_path": f"{STATE}/lock"},
        "os_glance_staging_store": {"filesystem_store_datadir": f"{STATE}/staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": f"{STATE}/tasks"},
        "paste_deploy": {"flavor": "keystone"},
    }

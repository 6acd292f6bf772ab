# SPDX-License-Identifier: Apache-2.0
"""Placement."""

from __future__ import annotations

from lab.controlplane.config import credentials
from lab.controlplane.inifile import Sections
from lab.controlplane.site import Cloud


def placement_conf(cloud: Cloud) -> Sections:
    """Return /etc/placement/placement.conf."""
    return {
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": credentials.token_check(cloud, "placement"),
        "placement_database": credentials.database(cloud, "placement"),
    }

# SPDX-License-Identifier: Apache-2.0
"""Mistral."""

from __future__ import annotations

from lab.controlplane.config import credentials
from lab.controlplane.inifile import Sections
from lab.controlplane.site import Cloud

STATE = "/var/lib/mistral"


def mistral_conf(cloud: Cloud) -> Sections:
    """Return /etc/mistral/mistral.conf."""
    return {
        "DEFAULT": {"transport_url": cloud.transport_url},
        # An action whose executor has died is given up after 18 seconds, not five minutes.
        "action_heartbeat": {
            "check_interval": 3,
            "max_missed_heartbeats": 6,
            # An action whose executor died before its first sign of life waits for this long.
            "first_heartbeat_timeout": 120,
        },
        "cron_trigger": {"run_in_api": False},
        "database": credentials.database(cloud, "mistral"),
        "executor": {"type": "remote"},
        "keystone_authtoken": credentials.token_check(cloud, "mistral"),
        **credentials.bus(f"{STATE}/lock"),
    }

# SPDX-License-Identifier: Apache-2.0
"""Keystone."""

from __future__ import annotations

from lab.controlplane.config import credentials
from lab.controlplane.inifile import Sections
from lab.controlplane.site import Cloud


def keystone_conf(cloud: Cloud) -> Sections:
    """Return /etc/keystone/keystone.conf."""
    return {
        "cache": {"enabled": True, "backend": "oslo_cache.dict"},
        "database": credentials.database(cloud, "keystone"),
        # Passwords here are random and long; the default cost is a quarter second a login.
        "identity": {"password_hash_rounds": 4},
        "token": {"provider": "fernet"},
    }

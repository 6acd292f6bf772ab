# SPDX-License-Identifier: Apache-2.0
"""Sections by which services log in, to each other and to their databases."""

from __future__ import annotations

from lab.controlplane.inifile import Options
from lab.controlplane.site import REGION, SERVICE_PROJECT, Cloud


def login(cloud: Cloud, account: str) -> Options:
    """Return the options of a keystoneauth section for a service's account."""
    return {
        "auth_type": "password",
        "auth_url": cloud.identity_url,
        "username": account,
        "password": cloud.passwords[account],
        "project_name": SERVICE_PROJECT,
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "region_name": REGION,
    }


def token_check(cloud: Cloud, account: str) -> Options:
    """Return ``[keystone_authtoken]``: takes tokens, also expired ones with a service's token."""
    return {
        **login(cloud, account),
        "www_authenticate_uri": cloud.identity_url,
        "service_token_roles": "service",
        "service_token_roles_required": True,
    }


def database(cloud: Cloud, name: str) -> Options:
    """Return ``[database]`` with a pool that suits one worker."""
    return {"connection": cloud.database(name), "max_pool_size": 5, "max_overflow": 20}


def bus(lock_path: str) -> dict[str, Options]:
    """Return the sections about messages and locks that all services share.

    :param lock_path: directory that the service may write to
    """
    return {
        "oslo_concurrency": {"lock_path": lock_path},
        # When all hosts boot at once, agents call before RabbitMQ and the servers are there: look
        # for it often, and let calls wait in queues that outlive it instead of being lost.
        "oslo_messaging_rabbit": {
            "amqp_durable_queues": True,
            # A service that is to stop sits in a poll of its queue, for five seconds if heartbeats
            # are as rare as they are by default: with these for one.
            "heartbeat_rate": 30,
            "rabbit_interval_max": 2,
            "rabbit_retry_backoff": 1,
        },
    }

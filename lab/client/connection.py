# SPDX-License-Identifier: Apache-2.0
"""The lab's cloud as its operator sees it: a connection as admin, from the machine."""

from __future__ import annotations

import shlex

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.connection import Connection
from openstack.exceptions import SDKException

from lab.errors import LabError
from lab.hosts.access import Host
from lab.settings import LabSettings

OPENRC = "/root/admin-openrc"


def parse_openrc(text: str) -> dict[str, str]:
    """Return the variables that an openrc file exports."""
    variables = {}
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["export"]:
            words = words[1:]
        for word in words:
            name, separator, value = word.partition("=")
            if separator:
                variables[name] = value
    return variables


def connect(settings: LabSettings | None = None) -> Connection:
    """Return a connection as the lab's admin.

    :raises lab.errors.LabError: when the lab is not up
    """
    settings = settings or LabSettings()
    env = parse_openrc(Host(settings.controller.name, settings).read(OPENRC))
    connection = openstack.connect(
        auth={
            "auth_url": env["OS_AUTH_URL"],
            "username": env["OS_USERNAME"],
            "password": env["OS_PASSWORD"],
            "project_name": env["OS_PROJECT_NAME"],
            "user_domain_name": env.get("OS_USER_DOMAIN_NAME", "Default"),
            "project_domain_name": env.get("OS_PROJECT_DOMAIN_NAME", "Default"),
        },
        region_name=env.get("OS_REGION_NAME", "RegionOne"),
        load_yaml_config=False,
    )
    try:
        connection.authorize()
    except (ClientException, SDKException) as err:
        raise LabError(
            f"the lab's Keystone does not answer; see `tools/lab status`: {err}"
        ) from err
    return connection

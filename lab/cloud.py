# SPDX-License-Identifier: Apache-2.0
"""The lab's cloud as its operator sees it: a connection as admin, from the machine."""

from __future__ import annotations

import shlex
import urllib.parse
from collections.abc import Mapping
from typing import Any

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.connection import Connection

from lab.errors import LabError
from lab.nodes import Node
from lab.settings import LabSettings

OPENRC = "/root/admin-openrc"


def parse_openrc(text: str) -> dict[str, str]:
    """Return the variables that an openrc file exports."""
    found = {}
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["export"]:
            words = words[1:]
        for word in words:
            name, separator, value = word.partition("=")
            if separator:
                found[name] = value
    return found


def reachable(url: str, addresses: Mapping[str, str]) -> str:
    """Return the URL with a host name of the lab replaced by its address.

    The machine need not resolve the lab's names.
    """
    parts = urllib.parse.urlsplit(url)
    address = addresses.get(parts.hostname or "")
    if address is None:
        return url
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{address}{port}").geturl()


def connect(settings: LabSettings | None = None) -> Connection:
    """Return a connection as the lab's admin.

    :raises lab.errors.LabError: when the lab is not up
    """
    settings = settings or LabSettings()
    addresses = {host.name: host.address for host in settings.hosts}
    env = parse_openrc(Node(settings.controller.name, settings).read(OPENRC))
    auth = {
        "auth_url": reachable(env["OS_AUTH_URL"], addresses),
        "username": env["OS_USERNAME"],
        "password": env["OS_PASSWORD"],
        "project_name": env["OS_PROJECT_NAME"],
        "user_domain_name": env.get("OS_USER_DOMAIN_NAME", "Default"),
        "project_domain_name": env.get("OS_PROJECT_DOMAIN_NAME", "Default"),
    }
    region = env.get("OS_REGION_NAME", "RegionOne")
    first = openstack.connect(auth=auth, region_name=region, load_yaml_config=False)
    try:
        catalog = first.service_catalog
    except ClientException as exc:
        raise LabError(
            f"the lab's Keystone does not answer; see `tools/lab status`: {exc}"
        ) from exc
    overrides: dict[str, Any] = {
        f"{service['type'].replace('-', '_')}_endpoint_override": reachable(
            endpoint["url"], addresses
        )
        for service in catalog
        for endpoint in service["endpoints"]
        if endpoint["interface"] == "public"
    }
    return openstack.connect(auth=auth, region_name=region, load_yaml_config=False, **overrides)

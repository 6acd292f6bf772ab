# SPDX-License-Identifier: Apache-2.0
"""The cloud that is set up on the hosts: its endpoints, its accounts and their secrets."""

from __future__ import annotations

import dataclasses
import json
import secrets
import string

from lab.settings import OVS

REGION = "RegionOne"
SERVICE_PROJECT = "service"
DATABASES = (
    "glance",
    "heat",
    "keystone",
    "mistral",
    "neutron",
    "nova",
    "nova_api",
    "nova_cell0",
    "placement",
)
ACCOUNTS = ("glance", "heat", "mistral", "neutron", "nova", "placement")


@dataclasses.dataclass(frozen=True)
class Api:
    """One API of the cloud.

    :param unit: systemd unit that serves it
    :param service: service type in the catalog
    :param name: service name in the catalog
    :param module: WSGI module
    :param port: TCP port
    :param path: what the catalog's endpoint has after the port
    :param user: system user that it runs as
    """

    unit: str
    service: str
    name: str
    module: str
    port: int
    path: str
    user: str


APIS = (
    Api("keystone", "identity", "keystone", "keystone.wsgi.api", 5000, "/v3", "keystone"),
    Api("glance-api", "image", "glance", "glance.wsgi.api", 9292, "", "glance"),
    Api("placement-api", "placement", "placement", "placement.wsgi.api", 8778, "", "placement"),
    Api("nova-api", "compute", "nova", "nova.wsgi.osapi_compute", 8774, "/v2.1", "nova"),
    Api("neutron-api", "network", "neutron", "neutron.wsgi.api", 9696, "", "neutron"),
    Api("heat-api", "orchestration", "heat", "heat.wsgi.api", 8004, "/v1/%(project_id)s", "heat"),
    Api("heat-api-cfn", "cloudformation", "heat-cfn", "heat.wsgi.cfn", 8000, "/v1", "heat"),
    Api("mistral-api", "workflowv2", "mistral", "mistral.wsgi", 8989, "/v2", "mistral"),
)
# Horizon is no API: services find it in the catalog, to tell where something is seen.
DASHBOARD_PORT = 8080


@dataclasses.dataclass(frozen=True)
class Cloud:
    """What configuration files are made of.

    :param controller: address by which the hosts and the machine reach the controller; the machine
        cannot resolve its name, and the catalog is read there too
    :param passwords: secrets by the name of the account that they belong to
    :param heat_key: 32 characters with which Heat encrypts what it stores
    :param networking: what wires the ports, ``ovs`` or ``ovn``
    :param mtu: bytes that a frame of tenants' may carry
    """

    controller: str
    passwords: dict[str, str]
    heat_key: str
    networking: str = OVS
    mtu: int = 1500

    @property
    def identity_url(self) -> str:
        """Return the address of Keystone, without a version."""
        return self.url("identity", path="")

    @property
    def transport_url(self) -> str:
        """Return the address of the message bus."""
        return f"rabbit://openstack:{self.passwords['rabbit']}@{self.controller}:5672/"

    def url(self, service: str, path: str | None = None) -> str:
        """Return the URL of an API by its service type, with the catalog's path or another."""
        api = next(api for api in APIS if api.service == service)
        return f"http://{self.controller}:{api.port}{api.path if path is None else path}"

    @property
    def dashboard_url(self) -> str:
        """Return the address of the dashboard."""
        return f"http://{self.controller}:{DASHBOARD_PORT}/"

    def database(self, name: str) -> str:
        """Return the SQLAlchemy URL of a database; MariaDB listens on the loopback only."""
        return f"mysql+pymysql://openstack:{self.passwords['database']}@127.0.0.1/{name}"

    def to_json(self) -> str:
        """Return all of it, to be kept on the hosts for root only."""
        # transport_url is there for those who configure a host from this file alone.
        record = {
            **dataclasses.asdict(self),
            "transport_url": self.transport_url,
            "auth_url": self.identity_url,
            "region": REGION,
        }
        return json.dumps(record, indent=2) + "\n"


def new_cloud(controller: str, networking: str = OVS, mtu: int = 1500) -> Cloud:
    """Return a cloud with fresh secrets."""
    names = (*ACCOUNTS, "admin", "database", "rabbit", "heat_domain_admin")
    letters = string.ascii_letters + string.digits
    return Cloud(
        controller=controller,
        passwords={name: secrets.token_hex(16) for name in names},
        heat_key="".join(secrets.choice(letters) for _ in range(32)),
        networking=networking,
        mtu=mtu,
    )


def cloud_from_json(text: str) -> Cloud:
    """Return the cloud that ``Cloud.to_json`` has written."""
    record = json.loads(text)
    return Cloud(**{field.name: record[field.name] for field in dataclasses.fields(Cloud)})


def openrc(cloud: Cloud) -> str:
    """Return the admin's shell variables."""
    variables = {
        "OS_AUTH_TYPE": "password",
        "OS_AUTH_URL": cloud.url("identity"),
        "OS_USERNAME": "admin",
        "OS_PASSWORD": cloud.passwords["admin"],
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": REGION,
        "OS_IDENTITY_API_VERSION": "3",
    }
    return "".join(f"export {key}={value}\n" for key, value in variables.items())

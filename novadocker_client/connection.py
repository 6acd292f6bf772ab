# SPDX-License-Identifier: Apache-2.0
"""The services of a cloud as one user sees them, each through its own client library."""

from __future__ import annotations

import functools
from typing import Any

import heatclient.client
import mistralclient.api.v2.client
from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import CatalogException
from openstack.connection import Connection

from novadocker_client.errors import NotFound, asking

# With growing pauses: an API that restarts is back in some seconds.
CONNECT_RETRIES = 3
# 2.87 is the last that tells how many servers a hypervisor has, and that asks no host for it.
COMPUTE_MICROVERSION = "2.87"
MISTRAL, HEAT, NOVA, GLANCE = "Mistral", "Heat", "Nova", "Glance"


class Cloud:
    """The services of a cloud, for one user.

    :param connection: from ``openstack.connect()``, from OpenStackClient, or made of a token
    :param connect_retries: how often an API that cannot be reached is tried again
    """

    def __init__(self, connection: Connection, *, connect_retries: int = CONNECT_RETRIES) -> None:
        self.connection, self._connect_retries = connection, connect_retries

    @functools.cached_property
    def mistral(self) -> Any:
        """Return a client of Mistral's, of python-mistralclient.

        :raises ClientError: when the catalog has no Mistral for this user
        """
        adapter = self._adapter("workflow", MISTRAL)
        session = adapter.session
        # The client makes TLS options of its own for each request: they are to be the session's.
        certificate = session.cert if isinstance(session.cert, tuple) else (session.cert, None)
        return mistralclient.api.v2.client.Client(
            mistral_url=_versioned(str(adapter.get_endpoint()), "v2"),
            session=adapter,
            insecure=session.verify is False,
            cacert=session.verify if isinstance(session.verify, str) else None,
            cert=certificate[0],
            key=certificate[1],
        )

    @functools.cached_property
    def heat(self) -> Any:
        """Return a client of Heat's, of python-heatclient.

        :raises ClientError: when the catalog has no Heat for this user
        """
        adapter = self._adapter("orchestration", HEAT)
        return heatclient.client.Client(
            "1",
            session=adapter.session,
            service_type="orchestration",
            interface=adapter.interface,
            region_name=adapter.region_name,
            endpoint=adapter.get_endpoint(),
            connect_retries=self._connect_retries,
        )

    def project_id(self) -> str:
        """Return the project that the user works in, "" without one."""
        with asking("Keystone", "tell the project"):
            return str(self.connection.session.get_project_id() or "")

    def dashboard_url(self) -> str:
        """Return the address of the cloud's dashboard, without a trailing slash; "" without one."""
        adapter = Adapter(
            self.connection.session,
            service_type="dashboard",
            interface="public",
            region_name=self.connection.config.get_region_name(),
        )
        with asking("Keystone", "show its catalog"):
            try:
                return str(adapter.get_endpoint() or "").rstrip("/")
            except CatalogException:
                return ""

    def _adapter(self, service_type: str, name: str) -> Adapter:
        config = self.connection.config
        adapter = Adapter(
            self.connection.session,
            service_type=service_type,
            interface=config.get_interface(service_type),
            region_name=config.get_region_name(service_type),
            connect_retries=self._connect_retries,
        )
        with asking(name, "answer"):
            if not adapter.get_endpoint():
                raise NotFound(name, "answer", "the catalog has none for this project and region")
        return adapter


def _versioned(url: str, version: str) -> str:
    # Catalog entries come with and without it.
    url = url.rstrip("/")
    return url if url.endswith(f"/{version}") else f"{url}/{version}"

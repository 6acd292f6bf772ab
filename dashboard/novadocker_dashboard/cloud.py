# SPDX-License-Identifier: Apache-2.0
"""The cloud as the logged-in user sees it."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from keystoneauth1.access import AccessInfoV3
from keystoneauth1.identity.access import AccessInfoPlugin
from keystoneauth1.session import Session
from openstack.connection import Connection

from novadocker_client.connection import Cloud

# Below the time after which Horizon's web server gives up on a page.
TIMEOUT_S = 30


def of(request: HttpRequest, *, timeout_s: float = TIMEOUT_S) -> Cloud:
    """Return the cloud as the request's user sees it.

    Horizon's session holds the user's token and catalog: Keystone is not asked again.

    :param timeout_s: how long an answer may take
    """
    user = request.user
    roles = [{"id": role.get("id"), "name": role["name"]} for role in user.roles]
    body = {
        "user": {"id": user.id, "name": user.username},
        "project": {"id": user.tenant_id, "name": user.tenant_name},
        "roles": roles,
        "catalog": user.service_catalog,
    }
    session = Session(
        auth=AccessInfoPlugin(AccessInfoV3(auth_token=user.token.id, body={"token": body})),
        verify=False if settings.OPENSTACK_SSL_NO_VERIFY else settings.OPENSTACK_SSL_CACERT or True,
        timeout=timeout_s,
        app_name="novadocker-dashboard",
    )
    return Cloud(
        Connection(
            session=session,
            region_name=user.services_region,
            interface=settings.OPENSTACK_ENDPOINT_TYPE.removesuffix("URL"),
        ),
        # Nobody waits for a page: it says what is away, and asks again by itself.
        connect_retries=0,
    )

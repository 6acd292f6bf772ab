# SPDX-License-Identifier: Apache-2.0
"""Mistral's own REST API in this process, as a client's requests reach it."""

from __future__ import annotations

import io
from typing import Any

import openstack.connection
import requests
import webob
from keystoneauth1 import access, session
from keystoneauth1.identity.access import AccessInfoPlugin
from mistral.api import app
from oslo_config import cfg
from requests.adapters import BaseAdapter

from novadocker_client.connection import Cloud
from tests.functional.workbooks.fake_cloud import CALLER, CATALOG, TOKEN, FakeCloud

MISTRAL = "http://cloud.test/mistral"


class MistralApi(BaseAdapter):
    """The API, as a transport of a requests session."""

    def __init__(self) -> None:
        super().__init__()
        cfg.CONF.set_override("enabled", False, group="cron_trigger")
        self._app = app.setup_app()
        self.requests: list[tuple[str, str]] = []

    def send(self, request: requests.PreparedRequest, **_options: Any) -> requests.Response:
        """Have the API answer a request."""
        path = str(request.url).removeprefix(MISTRAL)
        self.requests.append((str(request.method), path))
        asked = webob.Request.blank(
            path,
            method=request.method,
            headers=dict(request.headers),
            body=(request.body or "").encode() if isinstance(request.body, str) else request.body,
        )
        # What Keystone's middleware makes of the token.
        asked.environ.update(
            {
                "HTTP_X_AUTH_TOKEN": TOKEN,
                "HTTP_X_PROJECT_ID": "p1",
                "HTTP_X_USER_ID": "u1",
                "HTTP_X_ROLES": "admin",
                "keystone.token_info": {
                    "token": {**CALLER, "catalog": CATALOG, "expires_at": "2999-01-01T00:00:00Z"}
                },
            }
        )
        answered = asked.get_response(self._app)
        response = requests.Response()
        response.status_code = answered.status_code
        response.headers.update(answered.headers)
        response.raw = io.BytesIO(answered.body)
        response.url, response.request = str(request.url), request
        return response

    def close(self) -> None:
        """Nothing to close."""


def client(api: MistralApi, fake: FakeCloud) -> Cloud:
    """Return the cloud as the client library sees it."""
    transport = requests.Session()
    transport.mount("http://", fake)
    transport.mount(MISTRAL, api)
    info = access.AccessInfoV3(auth_token=TOKEN, body={"token": {**CALLER, "catalog": CATALOG}})
    logged_in = session.Session(auth=AccessInfoPlugin(info), session=transport)
    return Cloud(openstack.connection.Connection(session=logged_in))

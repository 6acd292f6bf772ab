# SPDX-License-Identifier: Apache-2.0
"""The cloud's services as the caller of a workflow, from an action's context.

The caller's token goes with every request, and beside it a token of Mistral's own service user:
with it, services accept the caller's token after it has expired, so a long run outlives it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import Any

import requests
from keystoneauth1 import access, adapter, exceptions, loading, service_token, session
from keystoneauth1.identity.access import AccessInfoPlugin
from keystoneauth1.plugin import BaseAuthPlugin
from oslo_config import cfg

from novadocker_actions.errors import CloudError, NovadockerError

LOG = logging.getLogger(__name__)

#: No request to a service takes longer than this.
REQUEST_TIMEOUT_S = 60
_AUTHTOKEN = "keystone_authtoken"
_INTERFACES = ["internal", "public"]
#: 2.87 is the last that tells `cpu_info` and its like, and the first common to all we support.
COMPUTE_MICROVERSION = "2.87"


class Service:
    """One service's REST API: JSON in, JSON out, errors as :class:`CloudError`."""

    def __init__(
        self, auth_session: session.Session, service_type: str, region: str | None
    ) -> None:
        self.type = service_type
        self._adapter = adapter.Adapter(
            auth_session,
            service_type=service_type,
            interface=_INTERFACES,
            region_name=region or None,
            raise_exc=False,
            connect_retries=2,
        )
        self._microversion = COMPUTE_MICROVERSION if service_type == "compute" else None

    @functools.cached_property
    def url(self) -> str:
        """The service's address in the catalog, without a trailing slash."""
        url = None
        with contextlib.suppress(exceptions.CatalogException):
            url = self._adapter.get_endpoint()
        if not url:
            raise NovadockerError(f"The catalog has no {self.type} service for this project.")
        return str(url).rstrip("/")

    def get(self, path: str, params: dict[str, str] | None = None) -> Any:
        """Return what a GET gives."""
        return self._request("GET", path, params=params)

    def post(self, path: str, json: dict[str, Any] | None = None) -> Any:
        """Return what a POST gives."""
        return self._request("POST", path, json=json)

    def put(self, path: str, json: dict[str, Any] | None = None) -> Any:
        """Return what a PUT gives."""
        return self._request("PUT", path, json=json)

    def delete(self, path: str) -> None:
        """Delete something; that it is gone already is well."""
        try:
            self._request("DELETE", path)
        except CloudError as fault:
            if fault.status != 404:
                raise

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        answer: requests.Response = self._adapter.request(
            f"{self._base(path)}{path}",
            method,
            microversion=self._microversion,
            headers={"Accept": "application/json"},
            **arguments,
        )
        if answer.status_code >= 400:
            raise CloudError(self.type, f"{method} {path}", answer.status_code, _fault(answer))
        return answer.json() if answer.content else None

    def _base(self, path: str) -> str:
        # Glance's and Mistral's catalog entries come with and without the version.
        return self.url.removesuffix("/v2") if path.startswith("/v2/") else self.url


def _fault(answer: requests.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return answer.text.strip()[:300]
    if isinstance(body, dict):
        for part in (body, *body.values()):
            if isinstance(part, dict) and (part.get("message") or part.get("faultstring")):
                return str(part.get("message") or part["faultstring"])[:300]
    return str(body)[:300]


class Cloud:
    """The services of the cloud, for one run of an action.

    :param token: the caller's
    :param task_id: Mistral's task execution that the action is run for
    """

    def __init__(
        self, auth_session: session.Session, region: str | None, token: str, task_id: str
    ) -> None:
        self._session = auth_session
        self._region = region
        self.token = token
        self.task_id = task_id

    @functools.cached_property
    def compute(self) -> Service:
        """Nova."""
        return Service(self._session, "compute", self._region)

    @functools.cached_property
    def image(self) -> Service:
        """Glance."""
        return Service(self._session, "image", self._region)

    @functools.cached_property
    def orchestration(self) -> Service:
        """Heat."""
        return Service(self._session, "orchestration", self._region)

    @functools.cached_property
    def workflow(self) -> Service:
        """Mistral."""
        return Service(self._session, "workflow", self._region)

    def dashboard_url(self) -> str:
        """Return the address of a dashboard in the catalog, "" when there is none."""
        with contextlib.suppress(exceptions.CatalogException):
            return str(
                self._session.get_endpoint(
                    service_type="dashboard",
                    interface=["public", "internal"],
                    region_name=self._region,
                )
                or ""
            )
        return ""


def connect(context: Any) -> Cloud:
    """Return the cloud as the caller of a workflow sees it.

    :param context: what Mistral gives to an action's ``run``
    :raises NovadockerError: when the context carries no token
    """
    security = context.security
    if not security.auth_token:
        raise NovadockerError(
            "Mistral gave no token to the action: its API must run with authentication."
        )
    verify = False if security.insecure else (security.auth_cacert or True)
    auth_session = new_session(verify)
    auth_session.auth = _caller(security, auth_session)
    service = _service_user()
    if service is not None:
        auth_session.auth = service_token.ServiceTokenAuthWrapper(auth_session.auth, service)
    task_id = str(context.execution.task_execution_id)
    return Cloud(auth_session, security.region_name, security.auth_token, task_id)


def new_session(verify: bool | str) -> session.Session:
    """Return a session without authentication.

    :param verify: whether, or with which CA certificates, to verify TLS
    """
    return session.Session(verify=verify, timeout=REQUEST_TIMEOUT_S)


def _caller(security: Any, auth_session: session.Session) -> BaseAuthPlugin:
    token = dict(security.service_catalog or {})
    if "catalog" not in token:
        # Under a trust (cron triggers) Mistral passes no catalog.
        url = (security.auth_uri or cfg.CONF.keystone_authtoken.www_authenticate_uri).rstrip("/")
        answer = auth_session.get(
            f"{url.removesuffix('/v3')}/v3/auth/catalog",
            headers={"X-Auth-Token": security.auth_token},
            authenticated=False,
        )
        token["catalog"] = answer.json()["catalog"]
    info = access.AccessInfoV3(auth_token=security.auth_token, body={"token": token})
    return AccessInfoPlugin(info, auth_url=security.auth_uri)


@functools.cache
def _service_user() -> BaseAuthPlugin | None:
    try:
        loading.register_auth_conf_options(cfg.CONF, _AUTHTOKEN)
        plugin: BaseAuthPlugin | None = loading.load_auth_from_conf_options(cfg.CONF, _AUTHTOKEN)
    except cfg.Error as fault:
        LOG.warning("No service token: [%s] cannot be read: %s", _AUTHTOKEN, fault)
        return None
    return plugin

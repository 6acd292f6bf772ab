# SPDX-License-Identifier: Apache-2.0
"""The cloud's services as the caller of a workflow, from an action's context.

The caller's token goes with every request, and beside it a token of Mistral's own service user:
with it, services accept the caller's token after it has expired, so a long run outlives it.

Mistral forgets the caller's token when it gives up an action whose executor died
(``mistral.services.action_heartbeat_checker`` goes on with a context of its own). So a run begins
with a Keystone trust from the caller to Mistral's service user, and goes on with that.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import logging
import secrets
from pathlib import Path
from typing import Any

from heatclient.v1.client import Client as Heat
from keystoneauth1 import access, exceptions, loading, session
from keystoneauth1.identity.access import AccessInfoPlugin
from keystoneauth1.plugin import BaseAuthPlugin
from mistralclient.api.v2.client import Client as Mistral
from oslo_config import cfg

from novadocker_actions.cloud.callers import Caller
from novadocker_actions.cloud.services import Patience, ServiceAdapter, of_keystone, told
from novadocker_actions.errors import CloudError, NovadockerError

LOG = logging.getLogger(__name__)

# No request to a service takes longer than this.
REQUEST_TIMEOUT_S = 60
_AUTHTOKEN = "keystone_authtoken"
# No run is expected to take longer; Keystone forgets its trust then.
TRUST_LIFE = datetime.timedelta(hours=24)
# Trusts end so much earlier than that at most.
TRUST_SPREAD_S = 1800
TRUST_TRIES = 5
_INTERFACES = ["internal", "public"]
# A bundle of more than this is the system's own, which hosts have as well; it goes to hosts.
AUTHORITY_BYTES = 32 * 1024
# 2.87 is the last that tells `cpu_info` and its like, and the first common to all we support.
COMPUTE_MICROVERSION = "2.87"
# The first that knows traits.
PLACEMENT_MICROVERSION = "1.6"


class Service:
    """One service's REST API, for which there is no client: JSON in, JSON out.

    :param adapter: the service, as the caller
    """

    def __init__(self, adapter: ServiceAdapter) -> None:
        self._adapter = adapter

    def in_catalog(self) -> bool:
        """Return whether the catalog has the service for this project."""
        return self._adapter.in_catalog()

    @property
    def url(self) -> str:
        """Return the service's address in the catalog, without a trailing slash."""
        return self._adapter.url

    def get(self, path: str, params: dict[str, str] | None = None, *, anew: bool = False) -> Any:
        """Return what a GET gives.

        :param anew: over a connection of its own, which a balancer may give to another node
        """
        headers = {"headers": {"Connection": "close"}} if anew else {}
        return self._request("GET", path, params=params, **headers)

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
        except CloudError as err:
            if err.status != 404:
                raise

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        answer = self._adapter.request(path, method, **arguments)
        return answer.json() if answer.content else None


class Cloud:
    """The services of the cloud, for one run of an action.

    :param auth_session: authenticated as the caller
    :param region: name, None for the only one
    :param caller: Keystone's description of the caller's token
    :param task_id: Mistral's task execution that the action is run for
    :param execution_id: the workflow execution of that task
    :param patience: how long services are borne that are away
    :param project_id: the caller's as Mistral knows it, for a token that does not tell
    """

    def __init__(
        self,
        auth_session: session.Session,
        region: str | None,
        caller: dict[str, Any],
        task_id: str,
        execution_id: str = "",
        patience: Patience | None = None,
        project_id: str = "",
    ) -> None:
        self._session = auth_session
        self._project_id = project_id
        self._region = region
        self._caller = caller
        self.task_id = task_id
        self.execution_id = execution_id
        self._patience = patience or Patience()

    def _adapter(self, service_type: str, **options: Any) -> ServiceAdapter:
        return ServiceAdapter(
            self._session,
            service_type,
            self._patience,
            interface=_INTERFACES,
            region_name=self._region,
            **options,
        )

    @property
    def token(self) -> str:
        """Return a token of the caller."""
        return str(of_keystone(self._patience, self._session.get_token))

    @property
    def authority(self) -> str:
        """Return certificates of the authorities that the services are trusted by, in PEM.

        Empty where those are the system's.
        """
        path = Path(self._session.verify) if isinstance(self._session.verify, str) else None
        try:
            known = path is not None and path.stat().st_size <= AUTHORITY_BYTES and path.is_file()
            return path.read_text("ascii", "replace") if path and known else ""
        except OSError as err:
            LOG.warning("The authorities that services are trusted by cannot be read: %s", err)
            return ""

    @functools.cached_property
    def role_names(self) -> frozenset[str]:
        """Return the names of the caller's roles, as Mistral's own Keystone tells them.

        What came to Mistral with the request is not asked: for another cloud the caller writes it.
        """
        keystone = ServiceAdapter(
            self._session,
            "identity",
            self._patience,
            endpoint_override=f"{identity_url()}/v3",
            # The caller's token may have expired on the way; a service may look at such a one.
            auth=_service_user(),
        )
        path = "/auth/tokens?allow_expired=1"
        try:
            answer = keystone.request(path, "GET", headers={"X-Subject-Token": self.token})
        except CloudError as err:
            # Keystone does not know a token that was revoked.
            if err.status != 404 or not self._session.invalidate():
                raise
            answer = keystone.request(path, "GET", headers={"X-Subject-Token": self.token})
        roles = answer.json()["token"].get("roles") or []
        return frozenset(str(role["name"]) for role in roles)

    @functools.cached_property
    def project_id(self) -> str:
        """Return the project that the caller works for; what this bundle makes belongs to it."""
        known = of_keystone(self._patience, self._session.get_project_id)
        return str(known or self._project_id)

    @functools.cached_property
    def user_id(self) -> str:
        """Return the user that the caller is, "" where that is not told."""
        return str(of_keystone(self._patience, self._session.get_user_id) or "")

    @functools.cached_property
    def compute(self) -> Service:
        """Return what asks Nova."""
        return Service(self._adapter("compute", default_microversion=COMPUTE_MICROVERSION))

    @functools.cached_property
    def placement(self) -> Service:
        """Return what asks Placement."""
        return Service(self._adapter("placement", default_microversion=PLACEMENT_MICROVERSION))

    @functools.cached_property
    def network(self) -> Service:
        """Return what asks Neutron."""
        adapter = self._adapter("network")
        if adapter.in_catalog():
            # Its entries in catalogs come with and without the version.
            adapter.endpoint_override = adapter.url.removesuffix("/v2.0")
        return Service(adapter)

    @functools.cached_property
    def image(self) -> Service:
        """Return what asks Glance."""
        adapter = self._adapter("image")
        # Its entries in catalogs come with and without the version.
        adapter.endpoint_override = adapter.url.removesuffix("/v2")
        return Service(adapter)

    @functools.cached_property
    def orchestration(self) -> Heat:
        """Return what asks Heat."""
        return Heat(session=self._adapter("orchestration"))

    @functools.cached_property
    def workflow(self) -> Mistral:
        """Return what asks Mistral."""
        return Mistral(mistral_url=self.workflow_url, session=self._adapter("workflow"))

    @property
    def workflow_url(self) -> str:
        """Return the address of Mistral's API, with its version."""
        # Its entries in catalogs come with and without the version.
        return f"{self._adapter('workflow').url.removesuffix('/v2')}/v2"

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

    def token_of(self, trust_id: str) -> str:
        """Return a token that can do what a trust lets do, and no longer than there is the trust.

        :param trust_id: from :meth:`delegate`
        """
        trusted = trustee(trust_id)
        return str(of_keystone(self._patience, lambda: trusted.get_token(self._session)))

    def delegate(self, role: str = "") -> str:
        """Let Mistral's service user act for the caller; return the trust, "" without one.

        A caller that holds a trust or a restricted application credential may not do so.

        :param role: name of the only role that the trust has, "" for all that the caller has
        """
        service = _service_user()
        caller = self._caller
        roles = [item for item in caller.get("roles", []) if role in ("", item.get("name"))]
        if service is None or not (caller.get("user") and caller.get("project") and roles):
            return ""
        trust = {
            "trustor_user_id": caller["user"]["id"],
            "trustee_user_id": service.get_user_id(self._session),
            "project_id": caller["project"]["id"],
            "impersonation": True,
            "roles": [{"id": item["id"]} for item in roles],
        }
        for _ in range(TRUST_TRIES):
            answer = self._session.post(
                f"{identity_url()}/v3/OS-TRUST/trusts",
                json={"trust": {**trust, "expires_at": _end_of_a_trust()}},
                raise_exc=False,
            )
            if answer.status_code != 409:
                break
        if answer.status_code >= 400:
            LOG.warning("No trust: Keystone answered %s: %s", answer.status_code, told(answer))
            return ""
        return str(answer.json()["trust"]["id"])

    def trusts(self) -> list[str]:
        """Return the trusts from the caller to Mistral's service user that are to expire."""
        service, caller = _service_user(), self._caller
        if service is None or not caller.get("user"):
            return []
        try:
            answer = self._session.get(
                f"{identity_url()}/v3/OS-TRUST/trusts",
                params={"trustor_user_id": caller["user"]["id"]},
                raise_exc=False,
            )
            trustee_id = service.get_user_id(self._session)
        except exceptions.ClientException as err:
            LOG.warning("Keystone does not tell the caller's trusts: %s", err)
            return []
        if answer.status_code >= 400:
            LOG.warning("Keystone does not tell the caller's trusts: %s", told(answer))
            return []
        return [
            str(trust["id"])
            for trust in answer.json()["trusts"]
            if trust["trustee_user_id"] == trustee_id and trust.get("expires_at")
        ]

    def revoke(self, trust_id: str) -> None:
        """End a trust, as far as the caller's token still can; else it expires.

        :param trust_id: from :meth:`delegate`
        """
        try:
            answer = self._session.delete(
                f"{identity_url()}/v3/OS-TRUST/trusts/{trust_id}", raise_exc=False
            )
        except exceptions.ClientException as err:
            LOG.warning("Trust %s is left to expire: %s", trust_id, err)
            return
        if answer.status_code >= 400 and answer.status_code != 404:
            LOG.warning("Trust %s is left to expire: %s", trust_id, told(answer))


def _end_of_a_trust() -> str:
    """Return when a trust that is made now ends.

    Between two users Keystone has one trust at most that ends in a given second, whatever its
    roles: a run's two, and those of runs that begin at once, end in seconds of their own.
    """
    life = TRUST_LIFE - datetime.timedelta(seconds=secrets.randbelow(TRUST_SPREAD_S))
    return (datetime.datetime.now(datetime.UTC) + life).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def connect(context: Any, trust_id: str = "", patience_s: float = 0) -> Cloud:
    """Return the cloud as the caller of a workflow sees it.

    :param context: what Mistral gives to an action's ``run``
    :param trust_id: from :meth:`Cloud.delegate`, for when the context has no token any more, or one
        that was revoked
    :param patience_s: how long services are borne that are away
    :raises NovadockerError: when there is neither a token nor a trust
    """
    security = context.security
    verify = False if security.insecure else (security.auth_cacert or _cafile() or True)
    auth_session = new_session(verify)
    caller: dict[str, Any] = {}
    patience = Patience(patience_s)
    if security.auth_token:
        caller = of_keystone(patience, lambda: _described(security, auth_session))
        info = access.AccessInfoV3(auth_token=security.auth_token, body={"token": caller})
        auth_session.auth = AccessInfoPlugin(info, auth_url=security.auth_uri)
        service = _service_user()
        if service is not None:
            trusted = functools.partial(trustee, trust_id) if trust_id else None
            auth_session.auth = Caller(auth_session.auth, service, trusted, auth_session)
    elif trust_id:
        auth_session.auth = trustee(trust_id)
    else:
        raise NovadockerError(
            "Mistral gave no token to the action. Its API must run with authentication, and after "
            "the loss of an executor a run goes on only where its caller may create a trust."
        )
    region = security.region_name or None
    execution = context.execution
    return Cloud(
        auth_session,
        region,
        caller,
        str(execution.task_execution_id),
        str(execution.workflow_execution_id),
        patience,
        str(security.project_id or ""),
    )


def new_session(verify: bool | str) -> session.Session:
    """Return a session without authentication.

    :param verify: whether, or with which CA certificates, to verify TLS
    """
    return session.Session(verify=verify, timeout=REQUEST_TIMEOUT_S)


def _described(security: Any, auth_session: session.Session) -> dict[str, Any]:
    token = dict(security.service_catalog or {})
    if "catalog" not in token:
        # Under a trust (cron triggers) Mistral passes no catalog.
        answer = auth_session.get(
            f"{identity_url(security.auth_uri)}/v3/auth/catalog",
            headers={"X-Auth-Token": security.auth_token},
            authenticated=False,
        )
        token["catalog"] = answer.json()["catalog"]
    return token


def identity_url(url: str | None = None) -> str:
    """Return Keystone's address without a version.

    :param url: when it is known, else Mistral's configuration tells
    """
    options = cfg.CONF.keystone_authtoken
    known = url or getattr(options, "auth_url", None) or options.www_authenticate_uri
    return str(known).rstrip("/").removesuffix("/v3")


def _cafile() -> str | None:
    with contextlib.suppress(cfg.Error):
        return cfg.CONF.keystone_authtoken.cafile or None
    return None


@functools.cache
def _service_user() -> BaseAuthPlugin | None:
    """Return Mistral's own user, None where its configuration has none."""
    try:
        loading.register_auth_conf_options(cfg.CONF, _AUTHTOKEN)
        plugin: BaseAuthPlugin | None = loading.load_auth_from_conf_options(cfg.CONF, _AUTHTOKEN)
    except (cfg.Error, exceptions.ClientException) as err:
        LOG.warning("No service token: [%s] cannot be read: %s", _AUTHTOKEN, err)
        return None
    return plugin


def trustee(trust_id: str) -> BaseAuthPlugin:
    """Return Mistral's own user acting for the caller of a run.

    :param trust_id: from :meth:`Cloud.delegate`
    :raises NovadockerError: when Mistral's configuration has no user
    """
    loading.register_auth_conf_options(cfg.CONF, _AUTHTOKEN)
    # A trust brings its own project: the one that the configuration names must not be given.
    unscoped = dict.fromkeys(
        ("project_id", "project_name", "project_domain_id", "project_domain_name", "system_scope")
    )
    plugin: BaseAuthPlugin | None = loading.load_auth_from_conf_options(
        cfg.CONF, _AUTHTOKEN, trust_id=trust_id, **unscoped
    )
    if plugin is None:
        raise NovadockerError(f"[{_AUTHTOKEN}] in Mistral's configuration names no user.")
    return plugin

# SPDX-License-Identifier: Apache-2.0
"""Requests as the caller of a workflow, with a service token or under a trust."""

from __future__ import annotations

import json
import pathlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from keystoneauth1 import exceptions, session
from keystoneauth1.plugin import BaseAuthPlugin
from oslo_config import cfg
from requests.adapters import BaseAdapter
from urllib3.exceptions import ProtocolError

from novadocker_actions.cloud import clients, services
from novadocker_actions.errors import NO_ANSWER, CloudError, NovadockerError

CATALOG = [
    {
        "type": kind,
        "name": name,
        "endpoints": [{"interface": "public", "region": "R", "region_id": "R", "url": url}],
    }
    for kind, name, url in (
        ("compute", "nova", "http://nova.test/v2.1"),
        ("orchestration", "heat", "http://heat.test/v1/p"),
        ("workflowv2", "mistral", "http://mistral.test"),
    )
]
CALLER = {"user": {"id": "u"}, "project": {"id": "p"}, "roles": [{"id": "r", "name": "admin"}]}


class Transport(BaseAdapter):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[requests.PreparedRequest] = []
        self.status, self.body = 200, '{"services": []}'

    def send(self, request: requests.PreparedRequest, **_options: Any) -> requests.Response:
        self.seen.append(request)
        response = requests.Response()
        response.status_code = self.status
        response.headers["Content-Type"] = "application/json"
        response._content = self.body.encode()
        response.url, response.request = str(request.url), request
        return response

    def close(self) -> None:
        pass


class Service(BaseAuthPlugin):
    def get_token(self, session: Any, **kwargs: Any) -> str:
        return "service-token"

    def get_user_id(self, session: Any, **kwargs: Any) -> str:
        return "mistral"


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Transport:
    made = Transport()

    def new_session(verify: bool | str) -> session.Session:
        inner = requests.Session()
        inner.mount("http://", made)
        return session.Session(session=inner)

    monkeypatch.setattr(clients, "new_session", new_session)
    monkeypatch.setattr(clients, "_service_user", Service)
    monkeypatch.setattr(clients, "identity_url", lambda url=None: "http://keystone.test")
    return made


def context(**security: Any) -> Any:
    values = {
        "auth_token": "token",
        "auth_uri": "http://keystone.test",
        "auth_cacert": None,
        "insecure": False,
        "region_name": "R",
        "project_id": "of-the-context",
        "service_catalog": {**CALLER, "catalog": CATALOG},
    }
    execution = SimpleNamespace(task_execution_id="task", workflow_execution_id="run")
    return SimpleNamespace(security=SimpleNamespace(**{**values, **security}), execution=execution)


@pytest.mark.field_case("K7.5")
def test_the_caller_s_token_goes_with_a_service_token(transport: Transport) -> None:
    clients.connect(context()).compute.get("/os-services")

    (request,) = transport.seen
    assert request.url == "http://nova.test/v2.1/os-services"
    assert request.headers["X-Auth-Token"] == "token"
    assert request.headers["X-Service-Token"] == "service-token"
    assert request.headers["OpenStack-API-Version"] == "compute 2.87"


@pytest.mark.field_case("K6.2")
def test_each_question_about_glance_may_go_to_another_node(transport: Transport) -> None:
    clients.connect(context()).compute.get("/os-services", anew=True)

    assert transport.seen[0].headers["Connection"] == "close"


@pytest.mark.field_case("K5.6")
@pytest.mark.parametrize(
    ("size", "told"), [(1000, True), (clients.AUTHORITY_BYTES + 1, False), (None, False)]
)
def test_hosts_are_told_the_authority_of_the_cloud_s_own(
    tmp_path: pathlib.Path, size: int | None, told: bool
) -> None:
    bundle = tmp_path / "ca.pem"
    if size is not None:
        bundle.write_text("x" * size)
    cloud = clients.Cloud(session.Session(verify=str(bundle)), None, {}, "task")

    assert cloud.authority == ("x" * 1000 if told else "")
    assert clients.Cloud(session.Session(verify=True), None, {}, "task").authority == ""


def test_without_a_catalog_keystone_is_asked_for_it(transport: Transport) -> None:
    transport.body = json.dumps({"catalog": CATALOG})

    cloud = clients.connect(context(service_catalog=None))

    assert transport.seen[0].url == "http://keystone.test/v3/auth/catalog"
    assert cloud.compute.url == "http://nova.test/v2.1"


def test_a_token_of_a_cron_trigger_has_the_project_that_mistral_tells(
    transport: Transport,
) -> None:
    transport.body = json.dumps({"catalog": CATALOG})

    assert clients.connect(context(service_catalog=None)).project_id == "of-the-context"
    assert clients.connect(context(service_catalog=None, project_id=None)).project_id == ""
    assert clients.connect(context()).project_id == "p"


def test_without_a_token_the_trust_is_used(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    monkeypatch.setattr(clients, "trustee", lambda trust: used.append(trust) or Service())

    assert clients.connect(context(auth_token=None), "t1").token == "service-token"
    assert used == ["t1"]


class Trustee(Service):
    """Mistral's user under a trust of somebody."""

    def __init__(self, user_id: str = "u", project_id: str = "p") -> None:
        super().__init__()
        self._who = user_id, project_id

    def get_token(self, session: Any, **kwargs: Any) -> str:
        return "trust-token"

    def get_user_id(self, session: Any, **kwargs: Any) -> str:
        return self._who[0]

    def get_project_id(self, session: Any, **kwargs: Any) -> str:
        return self._who[1]

    def get_endpoint(self, session: Any, **kwargs: Any) -> str:
        return "http://nova.test/v2.1"


class Revoked(Transport):
    """Services that do not take the caller's token, as its owner has logged out.

    :param status: what they answer
    """

    def __init__(self, status: int = 401) -> None:
        super().__init__()
        self._answer = status

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        subject = request.headers.get("X-Subject-Token", request.headers["X-Auth-Token"])
        self.status = self._answer if subject == "token" else 200
        return super().send(request, **options)


@pytest.fixture
def revoked(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Revoked]:
    def made(status: int) -> Revoked:
        fake = Revoked(status)

        def new_session(verify: bool | str) -> session.Session:
            inner = requests.Session()
            inner.mount("http://", fake)
            return session.Session(session=inner)

        monkeypatch.setattr(clients, "new_session", new_session)
        return fake

    return made


def test_a_run_goes_on_with_its_trust_when_the_caller_s_token_is_revoked(
    revoked: Callable[[int], Revoked], monkeypatch: pytest.MonkeyPatch
) -> None:
    services_seen = revoked(401)
    monkeypatch.setattr(clients, "trustee", lambda trust: Trustee())
    cloud = clients.connect(context(), "t1")

    cloud.compute.get("/os-services")
    cloud.compute.get("/os-services")

    tokens = [request.headers["X-Auth-Token"] for request in services_seen.seen]
    assert tokens == ["token", "trust-token", "trust-token"]


def test_the_roles_of_a_caller_whose_token_is_revoked_are_those_of_the_run_s_trust(
    revoked: Callable[[int], Revoked], monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked(404).body = json.dumps({"token": {"roles": [{"id": "m", "name": "member"}]}})
    monkeypatch.setattr(clients, "trustee", lambda trust: Trustee())

    assert clients.connect(context(), "t1").role_names == {"member"}


def test_a_trust_that_keystone_was_away_for_is_used_when_it_is_back(
    revoked: Callable[[int], Revoked], monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked(401)
    away = [exceptions.ConnectFailure("no route")]

    def trustee(_trust: str) -> Trustee:
        if away:
            raise away.pop()
        return Trustee()

    monkeypatch.setattr(clients, "trustee", trustee)
    cloud = clients.connect(context(), "t1")
    with pytest.raises(CloudError, match="with 401"):
        cloud.compute.get("/os-services")

    assert cloud.compute.get("/os-services") == {"services": []}


@pytest.mark.parametrize("whose", [("somebody", "p"), ("u", "elsewhere")])
@pytest.mark.parametrize("status", [401, 404])
def test_nobody_goes_on_with_a_trust_of_somebody_else(
    revoked: Callable[[int], Revoked],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    whose: tuple[str, str],
) -> None:
    seen = revoked(status).seen
    monkeypatch.setattr(clients, "trustee", lambda trust: Trustee(*whose))
    cloud = clients.connect(context(), "t1")

    with pytest.raises(CloudError, match=f"with {status}"):
        assert cloud.role_names if status == 404 else cloud.compute.get("/os-services")

    assert all(request.headers["X-Auth-Token"] != "trust-token" for request in seen)


def test_without_token_and_trust_it_is_told(transport: Transport) -> None:
    with pytest.raises(NovadockerError, match="Mistral gave no token"):
        clients.connect(context(auth_token=None))


def test_a_trust_carries_the_caller_s_roles(transport: Transport) -> None:
    transport.body = '{"trust": {"id": "t1"}}'

    assert clients.connect(context()).delegate() == "t1"

    trust = json.loads(transport.seen[0].body or "")["trust"]
    assert (trust["trustor_user_id"], trust["trustee_user_id"]) == ("u", "mistral")
    assert (trust["project_id"], trust["roles"]) == ("p", [{"id": "r"}])
    assert trust["impersonation"] is True
    assert trust["expires_at"].endswith("Z")


def test_trusts_of_one_second_end_in_others(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: set[str] = set()

    def post(url: str, json: Any, **_options: Any) -> requests.Response:
        del url
        end = json["trust"]["expires_at"][:19]
        answer = requests.Response()
        answer.status_code = 409 if end in taken else 201
        taken.add(end)
        answer._content = b'{"trust": {"id": "t1"}, "error": {"message": "Duplicate entry"}}'
        return answer

    seconds = iter([0, 0, 0, 1])
    monkeypatch.setattr(clients.secrets, "randbelow", lambda _below: next(seconds) * 60)
    cloud = clients.connect(context())
    monkeypatch.setattr(cloud._session, "post", post)
    assert [cloud.delegate(), cloud.delegate()] == ["t1", "t1"]
    assert 2 <= len(taken) <= 4


def test_who_the_caller_is_comes_from_keystone_and_not_with_the_request(
    transport: Transport,
) -> None:
    roles = [{"id": "m", "name": "member"}]
    transport.body = json.dumps({"token": {"roles": roles}})

    assert clients.connect(context()).role_names == {"member"}

    (asked,) = transport.seen
    assert asked.url == "http://keystone.test/v3/auth/tokens?allow_expired=1"
    assert asked.headers["X-Subject-Token"] == "token"
    assert asked.headers["X-Auth-Token"] == "service-token"


def test_a_caller_that_may_not_delegate_goes_on_without(transport: Transport) -> None:
    transport.status, transport.body = 403, '{"error": {"message": "no"}}'

    assert clients.connect(context()).delegate() == ""


def test_a_service_that_is_not_in_the_catalog(transport: Transport) -> None:
    cloud = clients.connect(context())

    with pytest.raises(NovadockerError, match="The catalog has no image service"):
        cloud.image.get("/v2/images")
    assert cloud.dashboard_url() == ""


@pytest.mark.parametrize(
    "body",
    ['{"error": {"message": "why"}}', '{"faultstring": "why"}', '{"x": {"message": "why"}}', "why"],
)
def test_a_service_s_own_words_are_told(transport: Transport, body: str) -> None:
    transport.status, transport.body = 409, body

    with pytest.raises(CloudError, match="compute answered GET /x with 409: .*why") as fault:
        clients.connect(context()).compute.get("/x")
    assert fault.value.status == 409


def test_what_is_gone_already_may_be_deleted(transport: Transport) -> None:
    transport.status = 404

    clients.connect(context()).compute.delete("/x")


def test_a_trust_is_used_by_mistral_s_user_without_its_own_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mistral.conf"
    file.write_text(
        "[keystone_authtoken]\nauth_type = password\nauth_url = http://keystone.test/v3\n"
        "username = mistral\npassword = x\nuser_domain_name = Default\n"
        "project_name = service\nproject_domain_name = Default\n"
    )
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(file)], project="mistral")
    monkeypatch.setattr(clients.cfg, "CONF", conf)

    plugin = clients.trustee("t1")

    assert (plugin._trust_id, plugin._username) == ("t1", "mistral")
    assert (plugin._project_name, plugin._project_domain_name) == (None, None)
    assert clients.identity_url() == "http://keystone.test"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_service_that_is_away_is_borne_until_the_deadline(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    now = _clock(monkeypatch)
    transport.status = status

    with pytest.raises(CloudError, match=f"with {status}"):
        clients.connect(context(), patience_s=90).compute.get("/os-services")

    assert 90 <= now[0] < 90 + 22
    assert len(transport.seen) > 5


ASKED: dict[str, Callable[[clients.Cloud], Any]] = {
    "orchestration": lambda cloud: cloud.orchestration.software_configs.get("x"),
    "workflow": lambda cloud: cloud.workflow.executions.get("x"),
}


@pytest.mark.parametrize("service", ASKED)
def test_the_services_own_clients_ask_as_the_caller(transport: Transport, service: str) -> None:
    transport.body = '{"software_config": {"id": "x"}, "id": "x"}'

    assert ASKED[service](clients.connect(context())).id == "x"

    (request,) = transport.seen
    assert request.url in (
        "http://heat.test/v1/p/software_configs/x",
        "http://mistral.test/v2/executions/x",
    )
    assert request.headers["X-Auth-Token"] == "token"
    assert request.headers["X-Service-Token"] == "service-token"


@pytest.mark.parametrize("service", ASKED)
def test_the_services_own_clients_have_our_patience_and_our_errors(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    now = _clock(monkeypatch)
    transport.status, transport.body = 503, '{"error": {"message": "why"}}'

    with pytest.raises(CloudError, match=f"{service} answered GET .*/x with 503: why") as told:
        ASKED[service](clients.connect(context(), patience_s=90))

    assert told.value.status == 503
    assert 90 <= now[0] < 90 + 22


@pytest.mark.parametrize("service", ASKED)
def test_a_client_of_a_service_that_is_not_in_the_catalog(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    _clock(monkeypatch)
    caller = {**CALLER, "catalog": [CATALOG[0]]}

    with pytest.raises(NovadockerError, match=f"The catalog has no {service} service"):
        ASKED[service](clients.connect(context(service_catalog=caller), patience_s=90))

    assert transport.seen == []


def test_all_requests_of_an_action_share_one_deadline(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = _clock(monkeypatch)
    transport.status = 503
    cloud = clients.connect(context(), patience_s=90)
    for _host in range(100):
        with pytest.raises(CloudError):
            cloud.compute.put("/os-services/x")

    assert now[0] < 90 + 22


def test_what_a_service_refuses_is_not_tried_again(transport: Transport) -> None:
    transport.status = 409

    with pytest.raises(CloudError):
        clients.connect(context(), patience_s=90).compute.put("/os-services/x")

    assert len(transport.seen) == 1


def test_a_service_that_cannot_be_reached_is_told_as_any_other_fault(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_arguments: Any, **_options: Any) -> requests.Response:
        raise requests.exceptions.ConnectionError("no route to host")

    _clock(monkeypatch)
    monkeypatch.setattr(transport, "send", unreachable)

    with pytest.raises(CloudError, match="compute did not answer GET /os-services") as told:
        clients.connect(context(), patience_s=5).compute.get("/os-services")

    assert told.value.status == NO_ANSWER


def _clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return what the time is, which goes on by sleeping alone."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("tenacity.nap.time.sleep", sleep)
    monkeypatch.setattr(services.time, "monotonic", lambda: now[0])
    return now


class Stream:
    """The body of an answer on its way, as urllib3 hands it to requests."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault, self.read, self.closed = fault, False, False

    def stream(self, *_arguments: Any, **_options: Any) -> Iterator[bytes]:
        self.read = True
        yield b"{"
        raise self.fault or AssertionError("it was read to its end")

    def close(self) -> None:
        self.closed = True

    release_conn = close


def _answering(transport: Transport, monkeypatch: pytest.MonkeyPatch, body: Stream) -> None:
    as_ever = transport.send

    def send(request: requests.PreparedRequest, **options: Any) -> requests.Response:
        assert options["stream"], "the whole answer would be read before its length is looked at"
        response = as_ever(request)
        response.headers["Content-Length"] = str(services.MOST_BYTES + 1)
        response._content, response.raw = False, body
        if body.fault:
            response.headers["Content-Length"] = "100"
        return response

    monkeypatch.setattr(transport, "send", send)


@pytest.mark.parametrize("service", ASKED)
def test_an_answer_that_a_host_has_made_endless_is_not_read(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    body = Stream()
    _answering(transport, monkeypatch, body)

    with pytest.raises(CloudError, match="an answer of 16777217 bytes, more than 16777216"):
        ASKED[service](clients.connect(context(), patience_s=90))

    assert (body.read, body.closed, len(transport.seen)) == (False, True, 1)


def test_an_answer_that_breaks_off_is_a_service_that_is_away(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    _clock(monkeypatch)
    _answering(transport, monkeypatch, Stream(ProtocolError("Connection broken")))

    with pytest.raises(CloudError, match="Connection broken") as told:
        clients.connect(context(), patience_s=5).compute.get("/os-services")

    assert told.value.status == NO_ANSWER
    assert len(transport.seen) > 1


def test_pauses_are_given_by_no_option_that_tenacity_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(services, "FIRST_PAUSE_S", 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pauses = services.ServiceAdapter(session.Session(), "compute")._retrying.wait
    assert not isinstance(pauses, int | float)
    told = [pauses(SimpleNamespace(attempt_number=number)) for number in (1, 2, 3, 20)]
    assert [0.5 <= told[0] <= 1, 1 <= told[1] <= 1.5, 2 <= told[2] <= 2.5] == [True] * 3
    assert services.LONGEST_PAUSE_S <= told[3] <= services.LONGEST_PAUSE_S + 0.5


# What Keystone alone is asked for, by a run that goes on with its trust.
OF_KEYSTONE: dict[str, Callable[[clients.Cloud], Any]] = {
    "a token": lambda cloud: cloud.token,
    "the token for uploads": lambda cloud: cloud.token_of("t2"),
    "the project": lambda cloud: cloud.project_id,
    "the user": lambda cloud: cloud.user_id,
    "the address of a service": lambda cloud: cloud.compute.in_catalog(),
}


class Away(Trustee):
    """A trust that Keystone gives no token for until it is back."""

    def __init__(self, now: list[float], back_at: float) -> None:
        super().__init__()
        self._now, self._back_at = now, back_at

    def _ask(self) -> None:
        if self._now[0] < self._back_at:
            raise exceptions.ConnectFailure("no route")

    def get_token(self, session: Any, **kwargs: Any) -> str:
        self._ask()
        return super().get_token(session, **kwargs)

    def get_user_id(self, session: Any, **kwargs: Any) -> str:
        self._ask()
        return super().get_user_id(session, **kwargs)

    def get_project_id(self, session: Any, **kwargs: Any) -> str:
        self._ask()
        return super().get_project_id(session, **kwargs)

    def get_endpoint(self, session: Any, **kwargs: Any) -> str:
        self._ask()
        return super().get_endpoint(session, **kwargs)


@pytest.mark.parametrize("what", OF_KEYSTONE)
def test_keystone_is_borne_that_is_away_as_any_service(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    now = _clock(monkeypatch)
    monkeypatch.setattr(clients, "trustee", lambda _trust: Away(now, back_at=60))

    assert OF_KEYSTONE[what](clients.connect(context(auth_token=None), "t1", 90))
    assert 60 <= now[0] < 90

    monkeypatch.setattr(clients, "trustee", lambda _trust: Away(now, back_at=1e6))
    with pytest.raises(CloudError, match="identity did not answer"):
        OF_KEYSTONE[what](clients.connect(context(auth_token=None), "t1", 90))


def test_keystone_is_borne_when_a_cron_trigger_s_token_tells_no_catalog(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = _clock(monkeypatch)
    transport.status = 503
    given = context(service_catalog=CALLER)

    with pytest.raises(CloudError, match="identity answered .* with 503"):
        clients.connect(given, patience_s=90)

    assert 90 <= now[0] < 90 + 22

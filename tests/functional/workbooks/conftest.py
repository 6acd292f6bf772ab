# SPDX-License-Identifier: Apache-2.0
"""A Mistral for the module, and a fake cloud for each test."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from keystoneauth1 import access, session
from keystoneauth1.identity.access import AccessInfoPlugin
from keystoneauth1.plugin import BaseAuthPlugin
from oslo_config import cfg

from novadocker_actions.actions import base, nova, steps
from novadocker_actions.cloud import clients, configs, messages, services
from novadocker_client.runs import Runs
from tests.functional.workbooks.fake_cloud import (
    CALLER,
    CATALOG,
    TRUSTEE,
    TRUSTEES_TOKEN,
    UPLOADS_TOKEN,
    FakeCloud,
)
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.mistral_api import MISTRAL, MistralApi, client


class ServiceUser(BaseAuthPlugin):
    """Mistral's own user, as its configuration would give it."""

    def get_user_id(self, session: session.Session, **kwargs: object) -> str:
        """Return the user's id."""
        return TRUSTEE

    def get_token(self, session: session.Session, **kwargs: object) -> str:
        """Return a token of the user."""
        return "a-service-token"


def trustee(cloud: FakeCloud, trust_id: str) -> AccessInfoPlugin:
    """Return a plugin that acts under a trust, as long as there is one."""
    assert cloud.trusts[trust_id]["trustee_user_id"] == TRUSTEE
    body = {"token": {**CALLER, "catalog": CATALOG}}
    uploads = cloud.trusts[trust_id]["roles"] == [{"id": "r2"}]
    token = UPLOADS_TOKEN if uploads else TRUSTEES_TOKEN
    return AccessInfoPlugin(access.AccessInfoV3(auth_token=token, body=body))


@pytest.fixture(scope="session")
def engine() -> Iterator[Mistral]:
    """A running Mistral with the workbook."""
    mistral = Mistral()
    try:
        mistral.start()
        yield mistral
    finally:
        # Its threads would keep the tests from ending.
        mistral.stop()


@pytest.fixture
def mistral(engine: Mistral) -> Iterator[Mistral]:
    """The Mistral, without the executions and the environments of earlier tests."""
    engine.clear()
    yield engine


@pytest.fixture(scope="session")
def operators_key(engine: Mistral, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The public half of the executor's key, as hosts have it."""
    path = tmp_path_factory.mktemp("keys") / "message.key"
    public = messages.make_key(path)
    cfg.CONF.register_opts(messages.OPTIONS, "novadocker")
    cfg.CONF.set_override("message_key_file", str(path), group="novadocker")
    der = serialization.load_pem_public_key(public.encode()).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    yield base64.b64encode(der).decode()
    cfg.CONF.clear_override("message_key_file", group="novadocker")


@pytest.fixture
def cloud(mistral: Mistral, operators_key: str, monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    """The lab's hosts: a controller, two computes with docker in their names, and one without."""
    fake = FakeCloud()
    configs.KNOWN.forget()
    fake.add_host("controller", "controller", "glance")
    for name in ("compute-docker-1", "compute-docker-2", "compute-3"):
        fake.add_host(name, "compute")
    fake.executions, fake.execution, fake.tasks = mistral.listed, mistral.read, mistral.tasks

    def new_session(verify: bool | str) -> session.Session:
        transport = requests.Session()
        # The machine's proxies are none of a fake's.
        transport.trust_env = False
        transport.mount("http://", fake)
        return session.Session(session=transport)

    monkeypatch.setattr(nova, "QUIET_S", 0)
    monkeypatch.setattr(steps, "COLLECTED_S", 1)
    monkeypatch.setattr(base, "PATIENCE_S", 0.5)
    monkeypatch.setattr(base, "LONG_PATIENCE_S", 1)
    monkeypatch.setattr(services, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(services, "LONGEST_PAUSE_S", 0.1)
    fake.operators_key = operators_key
    monkeypatch.setattr(clients, "new_session", new_session)
    monkeypatch.setattr(clients, "identity_url", lambda url=None: "http://cloud.test/keystone")
    monkeypatch.setattr(clients, "_service_user", ServiceUser)
    monkeypatch.setattr(clients, "trustee", lambda trust_id: trustee(fake, trust_id))
    return fake


@pytest.fixture
def runs(mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs as the client sees them; actions ask the same Mistral as it does, through its API."""
    api = MistralApi()

    def new_session(verify: bool | str) -> session.Session:
        transport = requests.Session()
        transport.mount("http://", cloud)
        transport.mount(MISTRAL, api)
        return session.Session(session=transport)

    monkeypatch.setattr(clients, "new_session", new_session)
    return Runs(client(api, cloud))


@pytest.fixture(scope="session")
def left_by_a_deploy() -> FakeCloud:
    """What ``converted`` keeps; without hosts as long as no test has asked for it."""
    return FakeCloud()


@pytest.fixture
def converted(mistral: Mistral, cloud: FakeCloud, left_by_a_deploy: FakeCloud) -> FakeCloud:
    """The cloud as a deploy without inputs has left it, which runs for the first test that asks.

    The deploy is of another executor, and is gone from Mistral.
    """
    if not left_by_a_deploy.hosts:
        run = mistral.run("novadocker.deploy")
        assert run["output"]["report"]["state"] == "done", mistral.tree(run["id"])
        left_by_a_deploy.take_over(cloud)
        mistral.forget()
        configs.KNOWN.forget()
    cloud.take_over(left_by_a_deploy)
    return cloud

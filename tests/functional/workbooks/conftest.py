# SPDX-License-Identifier: Apache-2.0
"""A Mistral for the module, and a fake cloud for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from keystoneauth1 import access, session
from keystoneauth1.identity.access import AccessInfoPlugin
from keystoneauth1.plugin import BaseAuthPlugin

from novadocker_actions.actions import base, nova, steps
from novadocker_actions.cloud import clients
from tests.functional.workbooks.fake_cloud import (
    CALLER,
    CATALOG,
    TRUSTEE,
    TRUSTEES_TOKEN,
    FakeCloud,
)
from tests.functional.workbooks.in_process import Mistral


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
    return AccessInfoPlugin(access.AccessInfoV3(auth_token=TRUSTEES_TOKEN, body=body))


@pytest.fixture(scope="session")
def engine() -> Iterator[Mistral]:
    """A running Mistral with the workbook."""
    mistral = Mistral()
    mistral.start()
    yield mistral
    mistral.stop()


@pytest.fixture
def mistral(engine: Mistral) -> Iterator[Mistral]:
    """The Mistral, without the executions of earlier tests."""
    engine.forget()
    yield engine


@pytest.fixture
def cloud(mistral: Mistral, monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    """The lab's hosts: a controller, two computes with docker in their names, and one without."""
    fake = FakeCloud()
    fake.add_host("controller", "controller", "glance")
    for name in ("compute-docker-1", "compute-docker-2", "compute-3"):
        fake.add_host(name, "compute")
    fake.executions, fake.execution, fake.tasks = mistral.listed, mistral.read, mistral.tasks

    def new_session(verify: bool | str) -> session.Session:
        transport = requests.Session()
        transport.mount("http://", fake)
        return session.Session(session=transport)

    monkeypatch.setattr(nova, "QUIET_S", 0)
    monkeypatch.setattr(base, "PATIENCE_S", 0)
    monkeypatch.setattr(nova, "ENABLE_PATIENCE_S", 0)
    monkeypatch.setattr(steps, "COLLECT_PATIENCE_S", 0)
    monkeypatch.setattr(clients, "new_session", new_session)
    monkeypatch.setattr(clients, "identity_url", lambda url=None: "http://cloud.test/keystone")
    monkeypatch.setattr(clients, "_service_user", ServiceUser)
    monkeypatch.setattr(clients, "trustee", lambda trust_id: trustee(fake, trust_id))
    return fake

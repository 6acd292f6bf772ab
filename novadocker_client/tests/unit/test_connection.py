# SPDX-License-Identifier: Apache-2.0
"""The services of a cloud, and what their faults are told as."""

from __future__ import annotations

import pytest

from novadocker_client import errors, hosts
from novadocker_client.connection import Cloud
from novadocker_client.runs import Runs
from novadocker_client.tests.fake_cloud import SERVICES, FakeCloud


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.NotAccepted),
        (401, errors.LoginExpired),
        (403, errors.NotAllowed),
        (404, errors.NotFound),
        (409, errors.NotAccepted),
        (429, errors.Unavailable),
        (500, errors.Unavailable),
        (503, errors.Unavailable),
    ],
)
def test_a_status_says_alike_from_all_services(
    fake: FakeCloud, cloud: Cloud, status: int, kind: type[errors.ClientError]
) -> None:
    fake.add_host("c1")
    fake.faults = dict.fromkeys(("/mistral", "/heat", "/nova/v2.1/os-"), (status, None))
    with pytest.raises(kind) as mistral:
        Runs(cloud).list()
    with pytest.raises(kind) as nova:
        hosts.listed(cloud)
    fake.faults.pop("/nova/v2.1/os-")
    (heat,) = hosts.listed(cloud).faults
    for fault in (mistral.value, nova.value, heat):
        assert type(fault) is kind
        assert fault.status == status
        assert f"({status})" in str(fault)


def test_no_connection_is_a_service_that_is_away(
    fake: FakeCloud, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("novadocker_client.connection.CONNECT_RETRIES", 0)
    fake.faults["/mistral"] = (0, None)
    with pytest.raises(errors.Unavailable, match="Mistral does not list runs"):
        Runs(cloud).list()


def test_a_connection_that_fails_once_is_tried_again(fake: FakeCloud, cloud: Cloud) -> None:
    fake.faults["/mistral"] = (0, 1)
    assert Runs(cloud).list() == []


def test_a_catalog_entry_may_come_without_the_version() -> None:
    fake = FakeCloud({**SERVICES, "workflowv2": "mistral"})
    assert Runs(fake.cloud()).list() == []
    assert fake.requests[-1][1] == "/mistral/v2/executions"


def test_mistral_is_asked_with_the_session_s_own_tls_options(fake: FakeCloud) -> None:
    cloud = fake.cloud()
    session = cloud.connection.session
    session.verify, session.cert = False, ("/c.pem", "/k.pem")
    http = cloud.mistral.executions.http_client
    assert http.insecure is True
    session.verify = "/ca.pem"
    other = Cloud(cloud.connection).mistral.executions.http_client
    assert (other.insecure, other.cacert) == (False, "/ca.pem")


def test_the_dashboard_s_address_is_the_catalog_s_or_none(cloud: Cloud) -> None:
    assert cloud.dashboard_url() == ""
    there = FakeCloud({**SERVICES, "dashboard": "horizon/"}).cloud()
    assert there.dashboard_url() == "http://cloud.test/horizon"

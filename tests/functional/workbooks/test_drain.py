# SPDX-License-Identifier: Apache-2.0
"""Instances that are migrated off hosts when their batch comes."""

from __future__ import annotations

import pytest

from novadocker_actions.actions import drain, nova
from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED, rows

FIRST, SECOND, OTHER = "compute-docker-1", "compute-docker-2", "compute-3"
MIGRATE = {"drain": "migrate", "images": [], "batch_size": 1}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nova, "FIRST_POLL_S", 0.05)
    monkeypatch.setattr(nova, "SETTLE_WAIT_S", 0)
    monkeypatch.setattr(drain, "DRAIN_WAIT_S", 2)


def test_instances_are_migrated_and_their_hosts_converted(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    cloud.hosts[FIRST].servers = [
        {"uuid": f"vm-{n}", "name": f"web-{n}", "status": "SHUTOFF" if n == 3 else "ACTIVE"}
        for n in range(5)
    ]

    run = mistral.run("novadocker.deploy", {**MIGRATE, "drain_at_once": 2})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    for name in (FIRST, SECOND):
        assert (cloud.hosts[name].state, cloud.hosts[name].status) == (CONVERTED, "enabled")
    # All of them live, confirmed, as they were; no more than two moved at a time.
    states = {s["uuid"]: s["status"] for s in cloud.hosts[OTHER].servers}
    states |= {s["uuid"]: s["status"] for s in cloud.hosts[SECOND].servers}
    assert states == {f"vm-{n}": "SHUTOFF" if n == 3 else "ACTIVE" for n in range(5)}
    assert cloud.most_moving == 2


def test_a_host_that_cannot_be_drained_is_left_as_it_is_and_named(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts[FIRST]
    host.servers = [{"uuid": "vm-1", "name": "web", "pinned": "yes"}]
    cloud.hosts[SECOND].servers = [{"uuid": "vm-2", "name": "db", "status": "PAUSED"}]

    run = mistral.run("novadocker.deploy", MIGRATE)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["report"]["state"] == "partial"
    for name, told in (
        (FIRST, "with 400: No valid host was found"),
        (SECOND, "instance db (vm-2) is PAUSED, and only ACTIVE and SHUTOFF are migrated"),
    ):
        row = rows(run)[name]
        assert (row["state"], row["step"]) == ("skipped", "drain")
        assert "it cannot be drained: " in row["reason"]
        assert told in row["reason"]
        # What was staged there is taken back, and it serves as before.
        assert (cloud.hosts[name].state, cloud.hosts[name].status) == (UNTOUCHED, "enabled")
        assert cloud.hosts[name].restarts == 0
    assert f"{FIRST} was left as it is: it cannot be drained" in run["output"]["message"]


def test_the_time_for_it_is_limited(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "time", _Later())
    cloud.hosts[FIRST].servers = [{"uuid": "vm-1", "name": "web", "slow": "yes"}]

    run = mistral.run("novadocker.deploy", {**MIGRATE, "hosts": FIRST, "drain_timeout_s": 60})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    row = rows(run)[FIRST]
    assert (row["state"], row["step"]) == ("skipped", "drain")
    assert row["reason"] == (
        "it was not drained in time (vm-1 under way: when it is VERIFY_RESIZE, confirm it "
        "(`openstack server resize confirm`))"
    )
    assert cloud.hosts[FIRST].status == "enabled"
    assert cloud.hosts[FIRST].restarts == 0


def test_what_is_on_its_way_from_a_host_that_is_given_up_is_confirmed(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts[FIRST]
    host.servers = [{"uuid": "vm-1", "name": "web"}, {"uuid": "vm-2", "status": "PAUSED"}]

    run = mistral.run("novadocker.deploy", {**MIGRATE, "hosts": FIRST})

    assert "vm-2) is PAUSED" in rows(run)[FIRST]["reason"], mistral.tree(run["id"])
    assert "under way" not in rows(run)[FIRST]["reason"]
    moved = [s for s in cloud.hosts[OTHER].servers if s["uuid"] == "vm-1"]
    assert [server["status"] for server in moved] == ["ACTIVE"]
    assert host.status == "enabled"


@pytest.mark.parametrize(("user", "state"), [("u1", "ok"), ("somebody", "skipped")])
def test_what_a_lost_executor_or_run_has_begun_is_confirmed_and_nobody_else_s(
    mistral: Mistral, cloud: FakeCloud, user: str, state: str
) -> None:
    cloud.hosts[OTHER].servers = [{"uuid": "vm-1", "status": "VERIFY_RESIZE"}]
    cloud.add_migration("vm-1", FIRST, OTHER, user)

    run = mistral.run("novadocker.deploy", {**MIGRATE, "hosts": FIRST})

    assert rows(run)[FIRST]["state"] == state, mistral.tree(run["id"])
    confirmed = {"ok": "ACTIVE", "skipped": "VERIFY_RESIZE"}[state]
    assert cloud.hosts[OTHER].servers[0]["status"] == confirmed
    assert cloud.hosts[FIRST].status == "enabled"


def test_a_locked_instance_is_left_where_it_is(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.hosts[FIRST].servers = [{"uuid": "vm-1", "name": "web", "locked": "yes"}]

    run = mistral.run("novadocker.deploy", {**MIGRATE, "hosts": FIRST})

    assert "instance web (vm-1) is locked: unlock it" in rows(run)[FIRST]["reason"]
    assert cloud.hosts[FIRST].servers[0]["uuid"] == "vm-1"


def test_an_instance_that_is_being_built_is_waited_for_and_migrated(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = {"uuid": "vm-1", "name": "web", "status": "BUILD", "task_state": "spawning"}
    cloud.hosts[FIRST].servers = [server]
    real, looks = cloud._servers, []

    def servers(query: dict[str, str], body: object) -> object:
        looks.append(query["host"])
        if len(looks) == 3:
            server.update(status="ACTIVE", task_state="")
        return real(query, body)

    monkeypatch.setattr(cloud, "_servers", servers)

    run = mistral.run("novadocker.deploy", {**MIGRATE, "hosts": FIRST})

    assert cloud.hosts[FIRST].state == CONVERTED, mistral.tree(run["id"])
    assert [server["uuid"] for server in cloud.hosts[OTHER].servers] == ["vm-1"]


class _Later:
    """A clock of which a look takes a minute."""

    def __init__(self) -> None:
        self._now = 0

    def time(self) -> float:
        """Return a time that is 40 s after the last one."""
        self._now += 40
        return self._now

    @staticmethod
    def sleep(pause_s: float) -> None:
        """Do not."""


def test_without_it_hosts_with_instances_are_refused_as_before(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    cloud.hosts[FIRST].servers = [{"uuid": "vm-1"}]

    run = mistral.run("novadocker.deploy")

    assert run["output"]["report"]["state"] == "refused"
    assert "or set drain to skip or migrate." in run["output"]["message"]

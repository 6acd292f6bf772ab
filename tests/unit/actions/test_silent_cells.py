# SPDX-License-Identifier: Apache-2.0
"""Hosts of a cell that does not answer Nova, of which it tells no more than their names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from novadocker_actions.actions import base, nova, recovery, report
from novadocker_actions.plan import rows
from novadocker_actions.plan.rows import FAILED, OK, SKIPPED, UNKNOWN, HostRow

RUN = "this-run"
OURS = f"novadocker: {RUN}"
SETTINGS = {"run_id": RUN, "aggregate": "docker-hosts", "workflow": "deploy"}
CHANGED = {"needs": ["configure_compute"], "done": ["configure_compute"], "left_by": "a-lost-run"}


class Compute:
    """Nova with two hosts, of which one is of a cell that does not answer, or that is gone."""

    def __init__(self, silent: int = 1_000, gone: bool = False) -> None:
        self.silent, self.gone = silent, gone
        self.puts: list[str] = []

    def get(self, path: str, params: Any = None) -> Any:
        """Return services, and nothing else."""
        if path != "/os-services":
            return {"hypervisors": [], "aggregates": []}
        items = [
            {
                "id": host,
                "host": host,
                "status": "disabled",
                "disabled_reason": f"novadocker: {RUN}",
            }
            for host in ("c1", "c2")
        ]
        if self.silent > 0:
            self.silent -= 1
            items[0] = {"binary": "nova-compute", "host": "c1", "status": "UNKNOWN"}
        return {"services": items[1:] if self.gone else items}

    def put(self, path: str, json: Any) -> None:
        """Note what is changed."""
        self.puts.append(path.rpartition("/")[2])


def cloud_of(compute: Compute) -> Any:
    return SimpleNamespace(compute=compute, workflow=None)


def lived_in(by: list[Any]) -> Any:
    """Return what tells of all hosts who lives there."""
    return lambda _cloud, looked: ({row.host: by for row in looked}, {})


def host(name: str, **more: Any) -> HostRow:
    return HostRow(name, "compute", parked=True, **more)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a cell no longer than a moment."""
    monkeypatch.setattr(base, "LONG_PATIENCE_S", 0.05)
    monkeypatch.setattr(nova, "FIRST_POLL_S", 0.01)


def enabled(compute: Compute) -> list[HostRow]:
    """Return the two hosts after the end of their batch."""
    given = rows.write([host("c1"), host("c2")])
    act = nova.EnableCompute(given, SETTINGS).act
    return rows.read(act(cloud_of(compute))["rows"])


def test_a_host_is_not_well_that_was_left_out_of_service_since_its_cell_is_silent() -> None:
    compute = Compute()
    first, second = enabled(compute)
    assert (first.state, first.step) == (UNKNOWN, "enable_compute")
    assert "does not answer" in first.reason
    assert "left out of service; the next run takes it up" in first.reason
    assert second.state == OK
    assert compute.puts == ["c2"]


def test_a_cell_is_waited_for() -> None:
    compute = Compute(silent=2)
    assert [row.state for row in enabled(compute)] == [OK, OK]
    assert compute.puts == ["c1", "c2"]


def test_a_host_that_nova_has_no_service_of_any_more_is_not_well() -> None:
    first, second = enabled(Compute(silent=0, gone=True))
    assert (first.state, second.state) == (FAILED, OK)
    assert "no compute service for it any more" in first.reason


def test_hosts_that_are_given_back_do_not_depend_on_a_silent_cell() -> None:
    compute = Compute()
    occupied = [host("c1", state=SKIPPED), host("c2", state=SKIPPED)]
    nova.give_back(cloud_of(compute), occupied)
    assert [row.parked for row in occupied] == [True, False]


def test_nobody_is_taken_out_of_service_whose_cell_is_silent() -> None:
    needs = {"needs": ["configure_compute"]}
    given = [HostRow(name, "compute", **needs) for name in ("c1", "c2")]
    nova._take_out(cloud_of(Compute()), given, RUN, "disable_compute")
    assert [(row.state, row.parked) for row in given] == [(UNKNOWN, False), (OK, True)]


def test_nothing_is_said_to_be_left_on_a_host_that_nova_does_not_tell_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery.runs, "is_asked_to_stop", lambda *_: False)
    monkeypatch.setattr(recovery.runs, "fate", lambda _mistral, _run: "lost")
    told = {
        "docker": {"installed": True},
        "novadocker": {"driver_version": "1.0"},
        "nova": {"compute_driver": "novadocker.virt.docker.DockerDriver"},
        "journals": {"configure_compute": "a-lost-run"},
    }
    given = rows.write([HostRow("c1", "compute", facts=told)])
    act = recovery.FindLeft(given, SETTINGS).act
    (row,) = rows.read(act(cloud_of(Compute()))["rows"])
    assert (row.state, row.done) == (SKIPPED, [])


def test_no_host_is_put_back_of_which_its_silent_cell_does_not_tell_who_lives_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nova, "QUIET_S", 0)
    monkeypatch.setattr(nova, "who_lives", lived_in([]))
    given = [HostRow(name, "compute", state=FAILED, **CHANGED) for name in ("c1", "c2")]
    recovery.TakeBack([], SETTINGS)._ask_again(cloud_of(Compute()), given)
    assert [row.to_roll_back for row in given] == [False, True]
    assert "does not answer" in given[0].reason


def test_what_a_lost_executor_took_out_of_service_is_given_back_by_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Containers live there, so it stays what it is."""
    monkeypatch.setattr(nova, "QUIET_S", 0)
    monkeypatch.setattr(nova, "who_lives", lived_in(["web"]))
    row = HostRow("c2", "compute", state=FAILED, damaged=True, hypervisor_type="docker", **CHANGED)
    compute = Compute(silent=0)
    recovery.TakeBack([], SETTINGS)._ask_again(cloud_of(compute), [row])
    assert (row.mended, row.parked, compute.puts) == (True, False, ["c2"])


def test_a_host_is_told_that_a_silent_cell_keeps_from_being_put_right() -> None:
    left = {"left_by": "a-lost-run"}
    compute = Compute()
    given = rows.write([HostRow(name, "compute", **left) for name in ("c1", "c2")])
    first, second = rows.read(recovery.PutRight(given, SETTINGS).act(cloud_of(compute))["rows"])
    assert (first.state, second.state) == (UNKNOWN, OK)
    assert compute.puts == ["c2"]


def test_a_host_of_a_silent_cell_is_not_as_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    member = {"name": "docker-hosts", "hosts": ["c1"], "metadata": {}}
    monkeypatch.setattr(report.nova, "unsettled", lambda *_, docker: {})
    monkeypatch.setattr(report.aggregates, "find", lambda *_: member)
    monkeypatch.setattr(report.glance, "accepts_docker", lambda _: True)
    monkeypatch.setattr(report.pages, "read", lambda _, page: page)
    monkeypatch.setattr(report.pages, "keep", lambda _mistral, _run, lists: lists)
    batch = {"rows": rows.write([HostRow("c1", "compute")])}
    cloud = SimpleNamespace(**vars(cloud_of(Compute())), image=None)
    seen = report.Audit({"images": []}, [batch], SETTINGS).act(cloud)
    (row,) = rows.read(seen["batches"][0]["rows"])
    assert (row.state, "does not answer" in row.reason) == (FAILED, True)

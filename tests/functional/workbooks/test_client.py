# SPDX-License-Identifier: Apache-2.0
"""The client library with Mistral's own API and engine, and the workbook in them."""

from __future__ import annotations

import io
import itertools
import threading
import time
from typing import Any

import pytest
from rich.console import Console

from lab.stage import demo
from novadocker_actions.actions import steps
from novadocker_actions.cloud import ended, messages
from novadocker_client import events
from novadocker_client.again import failed_inputs
from novadocker_client.connection import Cloud
from novadocker_client.errors import BadInput, NotFound
from novadocker_client.osc import follow
from novadocker_client.progress import Progress
from novadocker_client.runs import Run, Runs
from tests.functional.workbooks.fake_cloud import FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.mistral_api import MistralApi, client
from tests.functional.workbooks.results import CONVERTED


@pytest.fixture(scope="module")
def api(engine: Mistral) -> MistralApi:
    """Mistral's REST API."""
    return MistralApi()


@pytest.fixture
def client_cloud(api: MistralApi, cloud: FakeCloud) -> Cloud:
    """The cloud as the client sees it."""
    return client(api, cloud)


def test_a_run_is_begun_followed_and_listed_through_mistral_s_api(
    client_cloud: Cloud, api: MistralApi
) -> None:
    runs = Runs(client_cloud)
    begun = runs.start("deploy", {"match": "docker"}, description="the first")
    looks = []
    run = runs.wait(begun.id, timeout_s=300, on_progress=lambda _, progress: looks.append(progress))
    assert (run.outcome, run.description, run.inputs["match"]) == ("done", "the first", "docker")
    assert "2 of 2 compute hosts are Docker hypervisors" in run.message
    progress = looks[-1]
    hosts = {host.host: host for host in progress.hosts()}
    assert set(hosts) == {"controller", "compute-docker-1", "compute-docker-2"}
    assert {host.state for host in hosts.values()} == {"ok"}
    assert all(task.ended and task.started_at and task.finished_at for task in progress.tasks)
    said = [event.sentence() for event in events.of(progress)]
    assert any("compute-docker-1" in sentence for sentence in said)
    assert all(event.ok for event in events.of(progress))
    # What it ran within is no run.
    assert [listed.id for listed in runs.list()] == [begun.id]
    assert runs.list()[0].message == run.message
    # What has ended is not asked for again.
    api.requests.clear()
    runs.progress(begun.id, progress)
    assert len(api.requests) == 3


def test_a_run_outlives_its_execution(
    client_cloud: Cloud, cloud: FakeCloud, mistral: Mistral, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(client_cloud)
    run = runs.wait(runs.start("plan", {"match": "docker"}).id, timeout_s=300)
    # Its actions have written that into the stand-in, and not into this Mistral.
    (kept,) = [row for name, row in cloud.environments.items() if ended.run_of(name)]
    environments = client_cloud.mistral.environments
    environments.create(**{name: kept[name] for name in ("name", "description", "variables")})
    # Without Keystone's middleware all is of a project that the session does not know.
    project_id = environments.get(kept["name"]).project_id
    monkeypatch.setattr(client_cloud, "project_id", lambda: project_id)
    try:
        later = runs.start("plan")
        runs.wait(later.id, timeout_s=300)
        mistral.forget()
        shown = runs.get(run.id)
        assert (shown.kept, shown.outcome, shown.message) == (True, run.outcome, run.message)
        assert (shown.report, shown.inputs["match"]) == (run.report, "docker")
        assert [listed.id for listed in runs.list()] == [run.id]
        assert runs.list(marker=run.id) == []
        newest = runs.start("plan")
        assert [listed.id for listed in runs.list()] == [newest.id, run.id]
        assert [listed.id for listed in runs.list(limit=1, marker=newest.id)] == [run.id]
        runs.wait(newest.id, timeout_s=300)
    finally:
        environments.delete(kept["name"])


def test_a_host_that_fails_is_seen_at_the_step_that_failed(
    client_cloud: Cloud, cloud: FakeCloud
) -> None:
    cloud.hosts["compute-docker-1"].faults["install_driver", "apply"] = "fail"
    runs = Runs(client_cloud)
    run = runs.wait(runs.start("deploy").id, timeout_s=300)
    assert run.outcome == "failed"
    failed = {host.host: host for host in runs.progress(run.id).hosts()}["compute-docker-1"]
    assert failed.state == "failed"
    assert "install_driver broke on purpose" in failed.reason
    (row,) = [row for row in run.report.rows if row.host == "compute-docker-1"]
    assert (row.state, row.step, row.rolled_back) == ("failed", "install_driver", True)


def test_only_the_hosts_that_failed_are_converted_by_a_run_that_is_made_of_the_first(
    client_cloud: Cloud, cloud: FakeCloud
) -> None:
    bad, good = cloud.hosts["compute-docker-1"], cloud.hosts["compute-docker-2"]
    bad.faults["install_driver", "apply"] = 1
    runs = Runs(client_cloud)
    first = runs.wait(runs.start("deploy", {"max_failed": 1, "batch_size": 1}).id, timeout_s=300)
    assert first.outcome == "partial"
    # Tenants have come to the other one, where containers run by now.
    good.servers = [{"uuid": "s1"}]
    said, cloud.requests = len(good.outcomes), []

    inputs = failed_inputs(runs.get(first.id), "deploy")
    again = runs.wait(runs.start("deploy", inputs).id, timeout_s=300)

    assert (inputs["hosts"], inputs["max_failed"]) == ([bad.name], 1)
    assert again.outcome == "done", again.message
    assert (bad.state, bad.status) == (CONVERTED, "enabled")
    assert len(good.outcomes) == said
    assert ("PUT", f"/nova/v2.1/os-services/{good.service_id}") not in cloud.requests
    # And by then nothing is left that had failed.
    with pytest.raises(BadInput, match="has no compute host that failed"):
        failed_inputs(again, "deploy")


def test_a_run_is_seen_while_it_is_under_way_and_is_stopped(
    client_cloud: Cloud, cloud: FakeCloud
) -> None:
    stopped_it = threading.Event()
    cloud.holds = lambda host: not stopped_it.is_set()
    runs = Runs(client_cloud)
    begun = runs.start("plan")
    while not [host for host in runs.progress(begun.id).hosts() if host.state == "running"]:
        assert not runs.get(begun.id).ended
    assert runs.get(begun.id).outcome == "running"
    stopped = runs.stop(begun.id)
    stopped_it.set()
    assert stopped.outcome == "stopped"
    with pytest.raises(BadInput, match="has ended already"):
        runs.stop(begun.id)
    # Mistral cancels what is below a run one after the other, and has answered before.
    until = time.monotonic() + 60
    while left := [task for task in runs.progress(begun.id).tasks if not task.ended]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


def test_the_step_of_a_recipe_that_a_host_is_at_is_seen_while_it_is_under_way(
    client_cloud: Cloud, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Staged and out of service alike, in the host's own words alone."""
    monkeypatch.setattr(steps, "COLLECT_WAIT_S", 0.5)
    forged = {"signature": "bm9ib2R5J3M="}
    seen: dict[str, set[tuple[str, str, int, int]]] = {}
    messages_said = 0

    def say(host: FakeHost, config: dict[str, Any]) -> None:
        nonlocal messages_said
        steps = messages.parse(config["config"])["steps"]
        if host.compute and len(steps) > 1:
            messages_said += host.name == "compute-docker-1"
            cloud.say(host, config, 2, **(forged if host.name == "compute-docker-2" else {}))

    def is_unseen(host: FakeHost) -> bool:
        # Each of its messages with steps is of another task.
        return host.name == "compute-docker-1" and len(seen.get(host.name, ())) < messages_said

    cloud.after_push, cloud.holds = say, is_unseen
    collected = itertools.count()
    look_at_all = steps.mailbox.look_at_all

    def counted(*args: Any) -> Any:
        next(collected)
        return look_at_all(*args)

    monkeypatch.setattr(steps.mailbox, "look_at_all", counted)
    runs = Runs(client_cloud)
    begun = runs.start("deploy", {"images": []})
    shown = set()

    def look(run: Run, told: Progress) -> None:
        for host in told.hosts():
            if host.doing:
                doing = (host.step, host.doing.step, host.doing.number, host.doing.of)
                seen.setdefault(host.host, set()).add(doing)
                lines = Console(file=io.StringIO(), width=200, record=True)
                lines.print(follow.view(run, told, rows=9))
                shown.update(line.strip() for line in lines.export_text().splitlines())

    run = runs.wait(begun.id, timeout_s=300, on_progress=look)

    assert run.outcome == "done"
    assert set(seen) == {"compute-docker-1"}
    assert {("stage", "install_driver", 2, 2), ("switch", "verify_host", 2, 2)} <= seen[
        "compute-docker-1"
    ]
    assert [line for line in shown if "Stage: Install the driver (2 of 2)" in line]
    # One question tells of a whole pool, and only where somebody waits.
    asked = [path for _, path in cloud.requests if path.endswith("/progress/metadata")]
    assert 0 < len(asked) < next(collected)


def test_the_demonstration_shows_what_happens_and_the_report(client_cloud: Cloud) -> None:
    shown = io.StringIO()
    demonstration = demo.Demo(client_cloud.connection, Console(file=shown, width=160))
    demonstration.report(demonstration.deploy())
    text = shown.getvalue()
    for said in (
        "s  ok      compute-docker-1: out of service",
        "2 of 2 compute hosts are Docker hypervisors",
        "Report: done",
        "0 failed",
    ):
        assert said in text


def test_a_run_that_is_none_is_not_found(client_cloud: Cloud) -> None:
    with pytest.raises(NotFound):
        Runs(client_cloud).get("0b7e3f5c-8c7e-4a5e-9d6e-0e7c0a1b2c3d")

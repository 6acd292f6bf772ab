# SPDX-License-Identifier: Apache-2.0
"""How far a run has come."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from novadocker_client.connection import Cloud
from novadocker_client.progress import Doing, HostRow, Progress, Task
from novadocker_client.runs import Runs
from novadocker_client.tests.fake_cloud import FakeCloud


def rows(*hosts: str, **more: Any) -> list[dict[str, Any]]:
    """Return rows of hosts, all alike."""
    return [{"host": host, "role": "compute", **more} for host in hosts]


def cells(progress: Progress) -> list[tuple[str, str, str]]:
    """Return what a grid shows."""
    return [(cell.host, cell.step, cell.state) for cell in progress.cells()]


def test_a_host_is_at_the_step_that_is_under_way(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run()
    fake.add_task(run, "select_hosts")
    prepare = fake.add_below(run, run, "prepare", "_prepare")
    fake.add_task(prepare, "describe_hosts", rows=rows("c1", "c2"))
    batch = fake.add_below(
        run, run, "switch_batch", "_switch_batch", "RUNNING", input={"rows": rows("c1")}
    )
    fake.add_task(batch, "disable_compute", rows=rows("c1"))
    fake.add_below(run, batch, "install_docker", "_recipe", "RUNNING", input={"rows": rows("c1")})
    progress = Runs(cloud).progress(run)
    assert cells(progress) == [
        ("c1", "describe_hosts", "ok"),
        ("c2", "describe_hosts", "ok"),
        ("c1", "disable_compute", "ok"),
        ("c1", "install_docker", "running"),
    ]
    assert progress.steps() == ["describe_hosts", "disable_compute", "install_docker"]
    first, second = progress.hosts()
    assert (first.host, first.state, first.step) == ("c1", "running", "install_docker")
    assert (second.host, second.state, second.step) == ("c2", "ok", "describe_hosts")
    assert first.since


def test_an_action_that_is_under_way_is_about_its_batch(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run()
    batch = fake.add_below(
        run, run, "switch_batch", "_switch_batch", "RUNNING", input={"rows": rows("c1")}
    )
    fake.add_task(batch, "disable_compute", "RUNNING")
    assert cells(Runs(cloud).progress(run)) == [("c1", "disable_compute", "running")]


def test_a_host_fails_at_the_step_that_failed_and_is_put_back(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run = fake.add_run(state="ERROR")
    batch = fake.add_below(run, run, "switch_batch", "_switch_batch")
    broken = {"state": "failed", "step": "install_driver", "reason": "pip <b>broke</b>"}
    fake.add_task(batch, "install_docker", rows=rows("c1", "c2"))
    fake.add_task(batch, "install_driver", rows=[*rows("c1", **broken), *rows("c2")])
    fake.add_task(batch, "configure_compute", rows=[*rows("c1", **broken), *rows("c2")])
    fake.add_task(batch, "roll_back", rows=[*rows("c1", **broken, rolled_back=True)])
    progress = Runs(cloud).progress(run)
    assert [cell for cell in cells(progress) if cell[0] == "c1"] == [
        ("c1", "install_docker", "ok"),
        ("c1", "install_driver", "failed"),
        ("c1", "roll_back", "ok"),
    ]
    failed = next(host for host in progress.hosts() if host.host == "c1")
    assert (failed.state, failed.step) == ("failed", "install_driver")
    assert failed.reason == "pip <b>broke</b>"


def test_a_recipe_is_told_by_the_task_that_has_hosts_run_it(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run(state="ERROR")
    recipe = fake.add_below(run, run, "stage", "_recipe")
    fake.add_task(recipe, "push", rows=rows("c1", "c2"))
    lost = {"state": "unknown", "step": "collect", "reason": "Heat was away"}
    fake.add_task(recipe, "collect", rows=[*rows("c1", **lost), *rows("c2")])

    progress = Runs(cloud).progress(run)

    assert progress.steps() == ["stage"]
    # Of what nobody knows it is not told that it went well.
    assert {host.host: (host.state, host.reason) for host in progress.hosts()} == {
        "c1": ("failed", "Heat was away"),
        "c2": ("ok", ""),
    }


def test_a_host_that_is_left_as_it_is_is_at_no_step(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run(state="SUCCESS")
    batch = fake.add_below(run, run, "switch_batch", "_switch_batch")
    fake.add_task(batch, "recheck_instances", rows=rows("c1", state="skipped", step="x"))
    assert cells(Runs(cloud).progress(run)) == []


def test_a_look_asks_no_more_for_a_thousand_hosts_than_for_one(
    fake: FakeCloud, cloud: Cloud
) -> None:
    def requests(count: int) -> int:
        hosts = [f"c{number}" for number in range(count)]
        run = fake.add_run()
        prepare = fake.add_below(run, run, "prepare", "_prepare")
        fake.add_task(prepare, "describe_hosts", rows=rows(*hosts))
        batch = fake.add_below(
            run, run, "switch_batch", "_switch_batch", "RUNNING", input={"rows": rows(*hosts)}
        )
        fake.add_below(
            run, batch, "install_docker", "_recipe", "RUNNING", input={"rows": rows(*hosts)}
        )
        fake.requests.clear()
        progress = Runs(cloud).progress(run)
        assert len(progress.hosts()) == count
        return len(fake.requests)

    assert requests(1000) == requests(1) == 7


def test_a_host_is_at_the_step_of_its_message_that_it_has_told(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run = fake.add_run()
    batch = fake.add_below(
        run, run, "switch_batch", "_switch_batch", "RUNNING", input={"rows": rows("c1", "c2")}
    )
    recipe = fake.add_below(
        run, batch, "switch", "_recipe", "RUNNING", input={"rows": rows("c1", "c2")}
    )
    steps = ["configure_compute", "verify_host"]
    silent = rows("c2", pending={"steps": steps, "at": 0})
    fake.add_task(recipe, "push", rows=[*rows("c1", pending={"steps": steps, "at": 0}), *silent])
    fake.add_task(recipe, "collect", rows=[*rows("c1", pending={"steps": steps, "at": 2}), *silent])
    fake.add_task(recipe, "collect", "RUNNING")

    hosts = {host.host: host for host in Runs(cloud).progress(run).hosts()}

    assert (hosts["c1"].step, hosts["c1"].state) == ("switch", "running")
    assert hosts["c1"].doing == Doing("verify_host", 2, 2)
    assert hosts["c2"].doing is None


@pytest.mark.parametrize("at", [0, 3, -1, "2", None, [1]])
def test_a_place_among_the_steps_that_is_none_is_passed_over(
    fake: FakeCloud, cloud: Cloud, at: Any
) -> None:
    run = fake.add_run()
    recipe = fake.add_below(run, run, "stage", "_recipe", "RUNNING", input={"rows": rows("c1")})
    fake.add_task(recipe, "push", rows=rows("c1", pending={"steps": ["a", "b"], "at": at}))
    (host,) = Runs(cloud).progress(run).hosts()
    assert (host.step, host.state, host.doing) == ("stage", "running", None)


def test_what_has_ended_is_not_asked_for_again(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run()
    for number in range(5):
        done = fake.add_below(run, run, "switch_batch", "_switch_batch")
        fake.add_task(done, "disable_compute", rows=rows(f"c{number}"))
    now = fake.add_below(
        run, run, "switch_batch", "_switch_batch", "RUNNING", input={"rows": rows("c5")}
    )
    runs = Runs(cloud)
    before = runs.progress(run)
    fake.add_task(now, "disable_compute", rows=rows("c5"))
    fake.requests.clear()
    after = runs.progress(run, before)
    assert [host.host for host in after.hosts()] == [f"c{number}" for number in range(6)]
    tasks = [path for _, path, _ in fake.requests if path.endswith("/tasks")]
    assert tasks == [f"/mistral/v2/executions/{key}/tasks" for key in (run, now)]


def test_long_lists_are_read_to_their_end(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run(state="SUCCESS")
    for number in range(150):
        fake.add_below(run, run, f"batch_{number}", "_switch_batch")
    assert len(Runs(cloud).progress(run).tasks) == 150


def test_what_is_no_row_is_left_out(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run(state="SUCCESS")
    fake.add_task(run, "odd", rows=[None, "c1", {"host": ""}, {"host": "c2"}])  # type: ignore[list-item]
    assert cells(Runs(cloud).progress(run)) == [("c2", "odd", "ok")]


def test_a_host_whose_outcome_is_yet_to_come_is_at_the_step_until_it_does(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run = fake.add_run()
    batch = fake.add_below(run, run, "prepare", "_prepare", "RUNNING", input={"rows": []})
    asked = rows("c1", "c2", pending={"push_id": "p"})
    fake.add_task(batch, "describe_hosts", rows=asked)
    assert cells(Runs(cloud).progress(run)) == [
        ("c1", "describe_hosts", "running"),
        ("c2", "describe_hosts", "running"),
    ]
    # Two looks: the first host has answered at the first, the other at none.
    for _ in range(2):
        fake.add_task(batch, "describe_hosts", rows=[*rows("c1"), *asked[1:]])
    progress = Runs(cloud).progress(run)
    assert cells(progress) == [("c1", "describe_hosts", "ok"), ("c2", "describe_hosts", "running")]
    first, second = progress.cells()
    assert first.started_at == second.started_at
    fake.executions[run]["state"] = "CANCELLED"
    assert cells(Runs(cloud).progress(run)) == [
        ("c1", "describe_hosts", "ok"),
        ("c2", "describe_hosts", "unknown"),
    ]


def test_an_outcome_of_the_second_in_which_it_was_asked_for_stays(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run = fake.add_run(state="ERROR")
    batch = fake.add_below(run, run, "prepare", "_prepare")
    broken = rows("c1", state="failed", reason="gone")
    fake.add_task(batch, "describe_hosts", rows=[*broken, *rows("c2")])
    fake.add_task(batch, "describe_hosts", rows=rows("c1", "c2", pending={"push_id": "p"}))
    progress = Runs(cloud).progress(run)
    assert cells(progress) == [("c1", "describe_hosts", "failed"), ("c2", "describe_hosts", "ok")]
    assert [host.reason for host in progress.hosts()] == ["gone", ""]


@pytest.mark.parametrize("ended_is_told_last", [False, True])
def test_what_is_under_way_came_after_what_ended_in_the_same_second(
    ended_is_told_last: bool,
) -> None:
    """Mistral lists tasks of one second in any order, and its times are whole seconds."""
    second = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    row = (HostRow("c1"),)
    ended = Task("t1", "recheck_instances", "ACTION", "SUCCESS", "", second, second, row)
    going_on = Task("t2", "switch", "WORKFLOW", "RUNNING", "", second, None, row)
    tasks = (going_on, ended) if ended_is_told_last else (ended, going_on)
    (host,) = Progress(tasks).hosts()
    assert (host.step, host.state) == ("switch", "running")


def test_a_step_that_went_well_and_then_failed_has_failed(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run()
    batch = fake.add_below(run, run, "prepare", "_prepare", "RUNNING", input={"rows": []})
    fake.add_task(batch, "verify_host", rows=rows("c1", "c2"))
    fake.add_task(batch, "isolate", rows=rows("c1"))
    broken = rows("c1", state="failed", reason="gone")
    fake.add_task(batch, "verify_host", rows=[*broken, *rows("c2")])
    progress = Runs(cloud).progress(run)
    assert cells(progress) == [
        ("c2", "verify_host", "ok"),
        ("c1", "isolate", "ok"),
        ("c1", "verify_host", "failed"),
    ]
    # As the run came to them.
    assert [(host.host, host.reason) for host in progress.hosts()] == [("c1", "gone"), ("c2", "")]


def test_tasks_of_sub_workflows_follow_their_task(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run()
    fake.add_task(run, "a")
    below = fake.add_below(run, run, "sub", "_prepare")
    fake.add_task(below, "inner")
    fake.add_task(run, "b")
    tasks = Runs(cloud).progress(run).tasks
    assert [(task.name, task.batch) for task in tasks] == [
        ("a", ""),
        ("sub", ""),
        ("inner", "sub"),
        ("b", ""),
    ]


def test_sub_workflow_is_read_again_until_it_has_ended(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run()
    below = fake.add_below(run, run, "sub", "_prepare", "RUNNING")
    fake.add_task(below, "one")
    progress, seen = None, []
    for name in ("two", "must not be read", ""):
        progress = Runs(cloud).progress(run, progress)
        seen.append([task.name for task in progress.tasks])
        fake.executions[below]["state"] = "SUCCESS"
        fake.add_task(below, name)
    assert seen == [["sub", "one"], ["sub", "one", "two"], ["sub", "one", "two"]]


def test_published_values_are_read_by_task(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run()
    below = fake.add_below(run, run, "sub", "_prepare")
    fake.add_task(below, "a", rows=rows("c1"))
    fake.add_task(below, "b", rows=rows("c2"))
    hosts = {task.name: [row.host for row in task.rows] for task in Runs(cloud).progress(run).tasks}
    assert hosts == {"sub": [], "a": ["c1"], "b": ["c2"]}

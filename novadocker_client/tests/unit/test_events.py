# SPDX-License-Identifier: Apache-2.0
"""What happened in a run."""

from __future__ import annotations

from novadocker_client import events
from novadocker_client.connection import Cloud
from novadocker_client.runs import Runs
from novadocker_client.tests.fake_cloud import FakeCloud


def rows(*hosts: str, **more: object) -> list[dict[str, object]]:
    """Return rows of hosts, all alike."""
    return [{"host": host, "role": "compute", **more} for host in hosts]


def test_what_has_ended_is_told_once_in_words_and_in_order(fake: FakeCloud, cloud: Cloud) -> None:
    run = fake.add_run()
    fake.add_task(run, "begin")
    fake.add_task(run, "a_task_without_words")
    batch = fake.add_below(
        run, run, "switch_batch", "_switch_batch", "RUNNING", input={"rows": rows("c1")}
    )
    many = [f"c{number}" for number in range(9)]
    fake.add_task(batch, "disable_compute", rows=rows(*many))
    broken = rows("c0", state="failed", step="install_driver", reason="pip broke")
    fake.add_task(batch, "install_driver", rows=[*broken, *rows("c1")])
    fake.add_task(batch, "verify_host", "RUNNING")
    told = events.of(Runs(cloud).progress(run))
    assert [event.sentence() for event in told] == [
        "the inputs are in order",
        "c0, c1, c2, c3 and 5 more: out of service",
        "c1: the driver is in Nova's environment",
        "c0: Install the driver: pip broke",
    ]
    assert [event.ok for event in told] == [True, True, True, False]
    assert len({event.key for event in told}) == 4
    started = Runs(cloud).get(run).created_at
    assert [event.elapsed_s(started) for event in told] == sorted(
        event.elapsed_s(started) for event in told
    )
    assert told[0].elapsed_s(None) == 0


def test_a_task_that_failed_is_told_with_the_hosts_at_which_it_was(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run = fake.add_run(state="ERROR")
    fake.add_task(run, "lock", "ERROR")
    fake.add_task(run, "stage_hosts", "ERROR", rows=rows("c1"))
    told = events.of(Runs(cloud).progress(run))
    assert [event.sentence() for event in told] == [
        "Look for other runs failed",
        "c1: Stage hosts failed",
    ]


def test_a_host_is_told_once_for_a_step_and_not_before_its_outcome_is_there(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run = fake.add_run()
    batch = fake.add_below(run, run, "stage", "_recipe", "RUNNING", input={"rows": []})
    waiting = rows("c2", pending={"push_id": "p"})
    fake.add_task(batch, "describe_host", rows=[*rows("c1", pending={"push_id": "p"}), *waiting])
    fake.add_task(batch, "describe_host", rows=[*rows("c1"), *waiting])
    fake.add_task(batch, "describe_host", rows=rows("c1", "c2"))
    assert [event.sentence() for event in events.of(Runs(cloud).progress(run))] == [
        "c1: the host has described itself",
        "c2: the host has described itself",
    ]


def test_what_has_ended_in_one_second_is_told_as_it_was_begun(
    fake: FakeCloud, cloud: Cloud
) -> None:
    run = fake.add_run()
    later, first = fake.add_task(run, "select_hosts", "ERROR"), fake.add_task(run, "begin")
    fake.tasks[first].update(started_at="2026-11-28 05:00:00", finished_at="2026-11-28 05:00:01")
    fake.tasks[later].update(started_at="2026-11-28 05:00:01", finished_at="2026-11-28 05:00:01")
    assert [event.sentence() for event in events.of(Runs(cloud).progress(run))] == [
        "the inputs are in order",
        "Select hosts failed",
    ]

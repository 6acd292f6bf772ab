# SPDX-License-Identifier: Apache-2.0
"""The figures of the deployment benchmark are made from the right spans of time."""

from __future__ import annotations

import datetime

from benchmarks.deploy_phases import (
    COMPUTES,
    CONTROLLERS,
    Run,
    Span,
    deploy_seconds,
    direct_seconds,
    named,
    spans_of,
    steps_of,
    table,
)
from benchmarks.figures import rounded
from novadocker_client.progress import Progress, Task, moment

SPANS = (
    Span(COMPUTES, "install_docker", 7.0, "a"),
    Span(COMPUTES, "install_docker", 8.5, "b"),
    Span(CONTROLLERS, "install_docker", 6.0, "c"),
)


def test_batches_come_one_after_another() -> None:
    assert deploy_seconds(SPANS) == {
        (COMPUTES, "install_docker"): 15.5,
        (CONTROLLERS, "install_docker"): 6.0,
    }


def test_directly_the_slowest_host_counts() -> None:
    assert direct_seconds(SPANS) == {
        (COMPUTES, "install_docker"): 8.5,
        (CONTROLLERS, "install_docker"): 6.0,
    }


def test_hosts_are_given_what_a_deployment_gives_them() -> None:
    computes, controllers = steps_of(COMPUTES), steps_of(CONTROLLERS)
    assert [step["name"] for step in computes] == [
        "install_docker",
        "install_driver",
        "configure_compute",
    ]
    assert [step["name"] for step in controllers] == ["install_docker", "configure_glance"]
    settings = computes[0]["inputs"]["settings"]
    assert settings["users"] == ["nova"]
    assert settings["daemon_settings"]["bridge"] == "none"
    assert controllers[0]["inputs"]["settings"]["users"] == []
    assert computes[1]["config"].endswith('novadocker-host.pyz)" install_driver\n')


def test_moments_are_of_utc() -> None:
    told = moment("2026-11-22 18:46:47")
    assert told
    assert told.timestamp() == 1795373207.0


def test_only_tasks_that_change_hosts_have_spans() -> None:
    began = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
    ended = began + datetime.timedelta(seconds=7)

    def task(name: str, batch: str = "", *, ends: bool = True) -> Task:
        finished_at = ended if ends else None
        return Task(name, name, "ACTION", "SUCCESS", batch, began, finished_at)

    told = Progress(
        (
            task("select_hosts"),
            task("describe_hosts", "prepare"),
            task("install_docker", "convert_controllers"),
            task("stage"),
            task("push", "stage"),
            task("switch", "switch_batch"),
            task("verify_compute", "switch_batch", ends=False),
        )
    )
    assert list(spans_of(told)) == [
        Span(CONTROLLERS, "install_docker", 7.0, "install_docker"),
        Span(COMPUTES, "stage", 7.0, "stage"),
        Span(COMPUTES, "switch", 7.0, "switch"),
    ]


def test_table_shows_both_runs_side_by_side() -> None:
    deployed = Run(30.0, (*SPANS, Span(COMPUTES, "isolate", 1.0, "d")))
    lines = [line.split() for line in table(deployed, Run(10.0, SPANS)).splitlines()]
    assert ["computes", "install_docker", "15.5", "8.5"] in lines
    assert ["computes", "isolate", "1.0", "-"] in lines
    assert lines[-1][-2:] == ["30.0", "10.0"]


def test_phases_have_one_name_in_the_record() -> None:
    assert named({(COMPUTES, "isolate"): 1.0}) == {"computes: isolate": 1.0}


def test_figures_are_rounded_everywhere() -> None:
    assert rounded({"a": {"b": 1.23456}, "c": [3, 0.0004], "d": "x"}) == {
        "a": {"b": 1.235},
        "c": [3, 0.0],
        "d": "x",
    }

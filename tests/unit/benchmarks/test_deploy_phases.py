# SPDX-License-Identifier: Apache-2.0
"""The figures of the deployment benchmark are made from the right spans of time."""

from typing import Any

from benchmarks.deploy_phases import Run, Span, alone, phase_seconds, step_name, table
from benchmarks.figures import rounded


def step(name: str, mode: str = "apply", **settings: Any) -> dict[str, Any]:
    return {
        "name": f"novadocker-{name}",
        "config": "#!/bin/sh\n",
        "inputs": {"mode": mode, "settings": settings, "timeout_s": 60},
    }


def test_a_phase_lasts_from_the_first_begin_to_the_last_end() -> None:
    spans = [
        Span("b", "install_docker", "apply", 12.0, 30.0),
        Span("a", "install_docker", "apply", 10.0, 20.0),
        Span("a", "install_docker", "check", 1.0, 2.5),
    ]
    assert phase_seconds(spans) == {"install_docker (check)": 1.5, "install_docker": 20.0}


def test_only_work_of_the_host_alone_is_run_directly() -> None:
    chosen = alone(
        [
            step("describe_host", mode="check"),
            step("install_docker", users=["nova"]),
            step("upload_image", image_id="i"),
            step("verify_host", images=["i"], wait_s=60),
        ]
    )
    assert [one["name"] for one in chosen] == ["install_docker", "verify_host"]
    assert chosen[0]["inputs"]["settings"] == {"users": ["nova"]}
    assert chosen[1]["inputs"]["settings"] == {"images": [], "wait_s": 60}


def test_alone_leaves_the_history_as_it_is() -> None:
    ran = [step("verify_host", images=["i"])]
    alone(ran)
    assert ran == [step("verify_host", images=["i"])]


def test_steps_are_named_without_the_prefix() -> None:
    assert step_name({"name": "novadocker-install_docker"}) == "install_docker"


def test_table_shows_both_runs_side_by_side() -> None:
    deployed = Run(30.0, (Span("a", "install_docker", "apply", 0, 12.0),))
    direct = Run(10.0, (Span("a", "install_docker", "apply", 0, 8.0),))
    lines = [line.split() for line in table(deployed, direct).splitlines()]
    assert ["install_docker", "12.00", "8.00"] in lines
    assert lines[-1][-2:] == ["30.00", "10.00"]


def test_figures_are_rounded_everywhere() -> None:
    assert rounded({"a": {"b": 1.23456}, "c": [3, 0.0004], "d": "x"}) == {
        "a": {"b": 1.235},
        "c": [3, 0.0],
        "d": "x",
    }

# SPDX-License-Identifier: Apache-2.0
"""How steps reach hosts through Heat, and which outcomes are believed."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from novadocker_actions import mailbox
from novadocker_actions.errors import CloudError, HostBusy
from novadocker_actions.outcomes import FAILED, OK, HostRun

SIGNAL = {"name": "deploy_signal_id", "type": "String", "value": "http://signal"}


class Heat:
    """Heat's software configs and deployments in memory; it keeps outputs that nobody replaces."""

    def __init__(self) -> None:
        self.keeps_configs = False
        self.numbers = itertools.count()
        self.configs: dict[str, dict[str, Any]] = {
            "first": {"id": "first", "name": "mailbox", "inputs": [SIGNAL], "config": "", "n": 0}
        }
        self.deployment: dict[str, Any] = {
            "config_id": "first",
            "status": "COMPLETE",
            "output_values": {"deploy_result": "ok"},
        }

    def get(self, path: str, params: dict[str, str] | None = None) -> Any:
        if path == "/software_deployments/d":
            return {"software_deployment": self.deployment}
        if path.startswith("/software_configs/"):
            return {"software_config": self.configs[path.split("/")[-1]]}
        raise CloudError("orchestration", path, 404, "not found")

    def post(self, path: str, json: dict[str, Any]) -> Any:
        config = {**json, "id": f"config-{next(self.numbers)}"}
        self.configs[config["id"]] = config
        return {"software_config": config}

    def put(self, path: str, json: dict[str, Any]) -> Any:
        self.deployment.update({name: value for name, value in json.items() if value})

    def delete(self, path: str) -> None:
        assert path != f"/software_configs/{self.deployment['config_id']}", "it is in use"
        if self.keeps_configs:
            raise CloudError("orchestration", path, 400, "in use")
        self.configs.pop(path.split("/")[-1])

    @property
    def held(self) -> dict[str, Any]:
        config = self.configs[self.deployment["config_id"]]
        return {entry["name"]: entry["value"] for entry in config["inputs"]}

    def signal(self, push_id: str, result: str = "ok", **outputs: str) -> None:
        if self.deployment["status"] == "IN_PROGRESS":
            self.deployment["status"] = "COMPLETE"
            self.deployment["output_values"] = {
                **self.deployment["output_values"],
                "deploy_result": result,
                "changed": "true",
                "report": "{}",
                "push_id": push_id,
                **outputs,
            }


@pytest.fixture
def heat() -> Any:
    return Heat()


@pytest.fixture
def run() -> HostRun:
    return HostRun("c1", "compute", deployment_id="d", needs=["install_docker"])


def push(heat: Any, run: HostRun, push_id: str = "mine", timeout_s: int = 60) -> None:
    mailbox.push(
        heat, run, "install_docker", {"a": 1}, mode="apply", timeout_s=timeout_s, push_id=push_id
    )


def test_a_push_replaces_the_config_and_keeps_its_signal(heat: Any, run: HostRun) -> None:
    push(heat, run)

    assert heat.deployment["status"] == "IN_PROGRESS"
    assert heat.held["deploy_signal_id"] == "http://signal"
    assert (heat.held["mode"], heat.held["settings"], heat.held["timeout_s"]) == (
        "apply",
        {"a": 1},
        60,
    )
    assert "first" not in heat.configs
    assert run.pending is not None
    assert run.pending.deadline > time.time() + 60


def test_a_host_is_told_in_which_run_a_step_is_done(heat: Any, run: HostRun) -> None:
    step, mode = "install_docker", "roll_back"
    mailbox.push(heat, run, step, {}, mode=mode, timeout_s=9, push_id="p", run_id="the-run")

    assert (heat.held["run_id"], heat.held["mode"]) == ("the-run", "roll_back")


def test_what_is_pushed_is_whole_and_signs_its_outcome(heat: Any, run: HostRun) -> None:
    push(heat, run)

    text = heat.configs[heat.deployment["config_id"]]["config"]
    compile(text, "install_docker", "exec")
    assert 'run_step("install_docker"' in text
    assert '".push_id"' in text


def test_outputs_of_the_run_before_are_not_believed(heat: Any, run: HostRun) -> None:
    push(heat, run)
    heat.deployment["status"] = "COMPLETE"

    mailbox.look(heat, run)

    assert run.state == FAILED


def test_an_outcome_is_taken_over(heat: Any, run: HostRun) -> None:
    push(heat, run)
    mailbox.look(heat, run)
    assert run.pending is not None

    heat.signal("mine", report='{"facts": {"x": 1}, "log": "/l"}')
    mailbox.look(heat, run)

    assert (run.state, run.pending, run.facts) == (OK, None, {"x": 1})


def test_the_same_push_is_made_once(heat: Any, run: HostRun) -> None:
    push(heat, run)
    config_id = heat.deployment["config_id"]
    heat.signal("mine")

    push(heat, run)

    assert heat.deployment["config_id"] == config_id
    mailbox.look(heat, run)
    assert run.state == OK


def test_a_late_signal_of_an_earlier_push_is_not_ours(heat: Any, run: HostRun) -> None:
    push(heat, run)
    before = heat.deployment["config_id"]
    heat.signal("theirs")

    mailbox.look(heat, run)

    # It was pushed anew, since Heat would not take our signal any more.
    assert run.pending is not None
    assert heat.deployment["status"] == "IN_PROGRESS"
    assert heat.deployment["config_id"] != before
    heat.signal("mine")
    mailbox.look(heat, run)
    assert run.state == OK


def test_foreign_signals_without_end_are_a_failure(heat: Any, run: HostRun) -> None:
    push(heat, run)
    for _ in range(4):
        heat.signal("theirs")
        mailbox.look(heat, run)

    assert run.state == FAILED
    assert "other runs" in run.reason


def test_a_step_of_another_run_is_let_alone(heat: Any, run: HostRun) -> None:
    push(heat, HostRun("c1", "compute", deployment_id="d"), "theirs")

    with pytest.raises(HostBusy, match="install_docker of another run is under way on c1"):
        push(heat, run)

    assert heat.held["push_id"] == "theirs"


def test_a_step_of_another_run_whose_time_is_over_is_replaced(heat: Any, run: HostRun) -> None:
    push(heat, HostRun("c1", "compute", deployment_id="d"), "theirs", timeout_s=-100)

    push(heat, run)

    assert heat.held["push_id"] == "mine"


def test_a_mailbox_that_another_run_took_is_told(heat: Any, run: HostRun) -> None:
    push(heat, run, timeout_s=-100)
    push(heat, HostRun("c1", "compute", deployment_id="d"), "theirs")

    mailbox.look(heat, run)

    assert "another run has put its own step" in run.reason


def test_a_host_that_does_not_answer_in_time(heat: Any, run: HostRun) -> None:
    push(heat, run, timeout_s=-100)

    mailbox.look(heat, run)

    assert (run.state, run.done) == (FAILED, ["install_docker"])
    assert "os-collect-config" in run.reason


def test_a_mailbox_that_is_gone_fails_its_host_only(heat: Any) -> None:
    run = HostRun("c1", "compute", deployment_id="gone")

    push(heat, run)

    assert run.state == FAILED
    assert "enrol it again" in run.reason


def test_all_are_looked_at_until_the_time_is_over(heat: Any, run: HostRun) -> None:
    push(heat, run)

    assert mailbox.look_at_all(heat, [run], 0.4) == 1
    heat.signal("mine")
    assert mailbox.look_at_all(heat, [run], 5) == 0


def test_an_unreadable_report_is_no_crash(heat: Any, run: HostRun) -> None:
    push(heat, run)
    heat.signal("mine", "failed", report="{cut off")

    mailbox.look(heat, run)

    assert run.reason == "the host's report cannot be read"


def test_a_config_that_heat_will_not_delete_stops_nothing(heat: Any, run: HostRun) -> None:
    heat.keeps_configs = True

    push(heat, run)

    assert heat.held["push_id"] == "mine"

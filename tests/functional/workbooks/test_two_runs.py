# SPDX-License-Identifier: Apache-2.0
"""Two runs at the same time: a host belongs to one of them, and the other breaks nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from novadocker_actions.actions import steps
from tests.functional.workbooks.fake_cloud import FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, rows

DONE, AT_WORK = "compute-docker-1", "compute-docker-2"


@pytest.fixture
def deploy(mistral: Mistral, cloud: FakeCloud) -> Iterator[str]:
    """A run in which one host of a batch has ended, and the other is still at work."""
    begun: list[str] = []
    real = cloud.run_recipe

    def run_recipe(host: FakeHost, config: dict[str, object]) -> object:
        outcome = real(host, config)
        late = host.name == AT_WORK and host.runs[-1] == ("install_driver", "apply")
        cloud.step_s = 8 if late else 0
        if late:
            begun.append(host.name)
        return outcome

    cloud.run_recipe = run_recipe  # type: ignore[method-assign, assignment]
    run_id = mistral.begin("novadocker.deploy", {"batch_size": 2})
    until = time.monotonic() + 60
    while not begun:
        assert time.monotonic() < until
        time.sleep(0.1)
    # It has told that it was done; the run has yet to come to the next recipe.
    time.sleep(1)
    yield run_id
    mistral.cancel(run_id)


@pytest.mark.parametrize("workflow", ["plan", "verify"])
def test_a_run_that_only_looks_beside_a_deploy_breaks_nothing(
    mistral: Mistral,
    cloud: FakeCloud,
    deploy: str,
    monkeypatch: pytest.MonkeyPatch,
    workflow: str,
) -> None:
    monkeypatch.setattr(steps, "BUSY_WAIT_S", 1)

    other = mistral.run(f"novadocker.{workflow}", {"hosts": DONE}, 120)

    # It is told who has the host.
    assert other["output"]["report"]["state"] == "refused"
    assert (
        f"{DONE} belongs to run {deploy}, which has done install_docker, install_driver"
        in (other["output"]["message"])
    )
    run = mistral.wait(deploy, 120)
    assert run["state"] == "SUCCESS", mistral.tree(deploy)
    assert run["output"]["report"]["totals"]["failed"] == 0
    for name in (DONE, AT_WORK):
        assert cloud.hosts[name].state == CONVERTED
        assert cloud.hosts[name].status == "enabled"


def test_a_run_that_only_looks_waits_until_the_deploy_has_ended(
    mistral: Mistral, cloud: FakeCloud, deploy: str
) -> None:
    other = mistral.run("novadocker.plan", {"hosts": DONE}, 120)

    assert other["state"] == "SUCCESS", mistral.tree(other["id"])
    assert rows(other)[DONE]["state"] == "unchanged"
    assert mistral.read(deploy)["state"] == "SUCCESS"


def test_undeploy_takes_nothing_from_controllers_that_another_run_needs(
    mistral: Mistral, cloud: FakeCloud, deploy: str
) -> None:
    other = mistral.run("novadocker.undeploy", {"hosts": "compute-3"}, 120)

    assert other["state"] == "SUCCESS", mistral.tree(other["id"])
    assert f"controllers were kept: run {deploy} is under way" in other["output"]["message"]
    assert cloud.hosts["controller"].state == (True, False, False, True)
    assert mistral.wait(deploy, 120)["state"] == "SUCCESS"

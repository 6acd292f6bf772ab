# SPDX-License-Identifier: Apache-2.0
"""Running deploy again changes nothing and restarts nothing; two at a time are not let through."""

from __future__ import annotations

from typing import Any

import pytest
from openstack.connection import Connection

from lab.client import workflows
from lab.hosts import listing
from lab.hosts.access import Host

DEPLOY = "novadocker.deploy"

Hosts = dict[str, Host]


@pytest.fixture
def converted(run_workflow: Any) -> Any:
    """A cloud that a deployment has gone over."""
    execution = run_workflow(DEPLOY)
    assert execution.state == "SUCCESS", execution.message
    return execution


def test_second_deploy_changes_and_restarts_nothing(
    converted: Any, lab: Hosts, run_workflow: Any
) -> None:
    before = listing.take_all(lab)
    execution = run_workflow(DEPLOY)
    after = listing.take_all(lab)

    assert execution.state == "SUCCESS", execution.message
    assert execution.report["totals"]["changed"] == 0
    assert [row for row in execution.report["rows"] if row.get("changed")] == []
    assert listing.touched(before, after) == {}
    print(f"figures: {len(lab)} hosts, 0 changes, 0 restarts in the second deploy")


def test_second_deploy_keeps_the_images(
    converted: Any, cloud: Connection, run_workflow: Any
) -> None:
    def images() -> list[str]:
        return sorted(image.id for image in cloud.image.images(container_format="docker"))

    before = images()
    assert before
    run_workflow(DEPLOY)
    assert images() == before


def test_one_of_two_deploys_at_once_is_refused(converted: Any, cloud: Connection) -> None:
    started = [workflows.start(cloud, DEPLOY) for _ in range(2)]
    ended = [workflows.wait(cloud, run.id, timeout_s=300) for run in started]

    # Mistral tells the time of creation in whole seconds, so either can count as the earlier.
    by_state = {run.state: run for run in ended}
    assert sorted(by_state) == ["ERROR", "SUCCESS"], [run.message for run in ended]
    assert by_state["SUCCESS"].id in by_state["ERROR"].message

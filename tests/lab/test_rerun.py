# SPDX-License-Identifier: Apache-2.0
"""Running deploy again changes nothing and restarts nothing; two at a time are not let through."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from openstack.connection import Connection

from lab.hosts import listing
from lab.hosts.access import Host
from novadocker_client.runs import Run, Runs

DEPLOY = "deploy"

Hosts = dict[str, Host]


@dataclasses.dataclass(frozen=True)
class Deploy:
    """A deployment over a converted cloud, with what there was before and after it."""

    execution: Run
    hosts_before: dict[str, listing.Listing]
    hosts_after: dict[str, listing.Listing]
    images_before: list[str]
    images_after: list[str]


@pytest.fixture(scope="module")
def second(converted: None, lab: Hosts, cloud: Connection, run_workflow: Any) -> Deploy:
    """The second deployment."""

    def images() -> list[str]:
        return sorted(image.id for image in cloud.image.images(container_format="docker"))

    hosts_before, images_before = listing.take_all(lab), images()
    execution = run_workflow(DEPLOY)
    return Deploy(execution, hosts_before, listing.take_all(lab), images_before, images())


def test_second_deploy_changes_and_restarts_nothing(second: Deploy, lab: Hosts) -> None:
    execution = second.execution
    assert execution.state == "SUCCESS", execution.message
    assert execution.report.totals["changed"] == 0
    assert [row for row in execution.report.rows if row.changed] == []
    assert listing.touched(second.hosts_before, second.hosts_after) == {}
    print(f"figures: {len(lab)} hosts, 0 changes, 0 restarts in the second deploy")


def test_second_deploy_keeps_the_images(second: Deploy) -> None:
    assert second.execution.state == "SUCCESS", second.execution.message
    assert second.images_before
    assert second.images_after == second.images_before


def test_one_of_two_deploys_at_once_is_refused(converted: None, runs: Runs) -> None:
    started = [runs.start(DEPLOY) for _ in range(2)]
    ended = [runs.wait(run.id, timeout_s=300) for run in started]

    # Mistral tells the time of creation in whole seconds, so either can count as the earlier.
    by_state = {run.state: run for run in ended}
    assert sorted(by_state) == ["ERROR", "SUCCESS"], [run.message for run in ended]
    assert by_state["SUCCESS"].id in by_state["ERROR"].message

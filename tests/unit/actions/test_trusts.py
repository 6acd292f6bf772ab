# SPDX-License-Identifier: Apache-2.0
"""Trusts that ended runs have left are ended, and no others."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from novadocker_actions.cloud import trusts
from novadocker_actions.errors import NovadockerError


class Task:
    """A task of Mistral's."""

    def __init__(self, trust_id: str) -> None:
        self._published = json.dumps({"settings": {"trust_id": trust_id}})

    def to_dict(self) -> dict[str, Any]:
        """Return it as its client gives it."""
        return {"name": "begin", "published": self._published}


class FakeCloud:
    """A cloud with runs, each of which has the trust of its name."""

    def __init__(self, *runs: tuple[str, str, str], left: list[str]) -> None:
        self.left, self.revoked, self.asked = left, [], []
        listed = [SimpleNamespace(id=i, workflow_name=name, state=state) for i, name, state in runs]
        executions = SimpleNamespace(list=lambda **query: listed)
        tasks = SimpleNamespace(list=self._tasks)
        self.workflow = SimpleNamespace(executions=executions, tasks=tasks)

    def _tasks(self, run_id: str, name: str) -> list[Task]:
        assert name == "begin"
        self.asked.append(run_id)
        return [Task(run_id)]

    def trusts(self) -> list[str]:
        """Return the trusts that there are."""
        return self.left

    def revoke(self, trust_id: str) -> None:
        """End one."""
        self.revoked.append(trust_id)


def test_only_those_of_ended_runs_of_this_workbook_are_ended() -> None:
    cloud = FakeCloud(
        ("under-way", "novadocker.deploy", "RUNNING"),
        ("paused", "novadocker.undeploy", "PAUSED"),
        ("cancelled", "novadocker.deploy", "CANCELLED"),
        ("another-tool", "backups.nightly", "SUCCESS"),
        ("broken", "novadocker.plan", "ERROR"),
        left=["under-way", "paused", "cancelled", "another-tool", "broken", "of-a-cron-trigger"],
    )
    assert trusts.sweep(cloud) == ["cancelled", "broken"]
    assert cloud.revoked == ["cancelled", "broken"]


def test_no_run_is_asked_when_nothing_is_left_or_all_is_known() -> None:
    runs = [(f"run-{n}", "novadocker.plan", "SUCCESS") for n in range(5)]
    nothing = FakeCloud(*runs, left=[])
    assert trusts.sweep(nothing) == []
    assert nothing.asked == []
    first = FakeCloud(*runs, left=["run-0"])
    assert trusts.sweep(first) == ["run-0"]
    assert first.asked == ["run-0"]


def test_that_mistral_does_not_tell_ends_no_run() -> None:
    cloud = FakeCloud(left=["one"])

    def away(**_query: Any) -> Any:
        raise NovadockerError("Mistral is away")

    cloud.workflow.executions.list = away
    assert trusts.sweep(cloud) == []

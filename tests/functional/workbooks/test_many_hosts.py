# SPDX-License-Identifier: Apache-2.0
"""A thousand hosts, all of them fakes: what the workflow carries stays within Mistral's limits."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from mistral.db.v2 import api as db_api
from oslo_config import cfg

from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral

HOSTS = 1000


def size_of(field: Any) -> int:
    """Return how large a field is, by its text in the database or as Mistral measures it."""
    return max(len(json.dumps(field)), sys.getsizeof(str(field)))


@pytest.mark.slow
def test_a_thousand_fake_hosts_of_which_many_fail(mistral: Mistral, cloud: FakeCloud) -> None:
    for number in range(HOSTS - 2):
        host = cloud.add_host(f"rack-{number:04}-docker.region-one.cloud.test", "compute")
        if number >= HOSTS // 2:
            host.faults["configure_compute", "apply"] = "fail"

    nova = {"version": "34.0.0 \N{GRINNING FACE}", "host": host.name}
    host.told = {"nova": {**nova, "compute_driver": "fake.FakeDriver"}}

    run = mistral.run("novadocker.deploy", {"max_failed": HOSTS, "batch_size": 100}, 600)

    report = run["output"]["report"]
    assert run["state"] == "SUCCESS", mistral.tree(run["id"])[-3000:]
    assert report["totals"]["failed"] == HOSTS - 2 - HOSTS // 2
    assert len(report["hosts"]["selected"]) == HOSTS
    assert len(run["output"]["message"]) < 4000
    limit = cfg.CONF.engine.execution_field_size_limit_kb * 1024
    largest = 0
    with db_api.transaction(read_only=True):
        for task in db_api.get_task_executions():
            largest = max(largest, size_of(dict(task.published or {})))
        for action in db_api.get_action_executions():
            largest = max(largest, size_of(action.input), size_of(action.output))
        for execution in db_api.get_workflow_executions():
            largest = max(largest, size_of(execution.input), size_of(execution.output))
    # A third of the limit is left for reasons and names that are longer than here.
    assert largest < limit * 2 / 3, f"{largest} of {limit} bytes"

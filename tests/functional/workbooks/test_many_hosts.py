# SPDX-License-Identifier: Apache-2.0
"""A thousand hosts, all of them fakes: what the workflow carries stays within Mistral's limits."""

from __future__ import annotations

import json

import pytest
from mistral.db.v2 import api as db_api
from oslo_config import cfg

from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral

HOSTS = 1000


@pytest.mark.slow
def test_a_thousand_fake_hosts_of_which_many_fail(mistral: Mistral, cloud: FakeCloud) -> None:
    for number in range(HOSTS - 2):
        host = cloud.add_host(f"rack-{number:04}-docker.region-one.cloud.test", "compute")
        if number >= HOSTS // 2:
            host.faults["configure_compute", "apply"] = "fail"

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
            largest = max(largest, len(json.dumps(dict(task.published or {}))))
        for action in db_api.get_action_executions():
            largest = max(largest, len(json.dumps(action.input)), len(json.dumps(action.output)))
        for execution in db_api.get_workflow_executions():
            largest = max(largest, len(json.dumps(execution.input)))
            largest = max(largest, len(json.dumps(execution.output)))
    # A third of the limit is left for reasons and names that are longer than here.
    assert largest < limit * 2 / 3, f"{largest} of {limit} bytes"

# SPDX-License-Identifier: Apache-2.0
"""How many requests a deploy costs for each host, by their kinds: a number that only goes down."""

from __future__ import annotations

import collections
import re

import pytest

from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral

HOSTS = 20
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=os-aggregates/)\d+")

# A host gets five messages: described, checked, staged, switched, and asked for its images. For
# each of them Heat is asked what is in the mailbox, given a config, told of it, and relieved of
# the one before; and asked for the outcome until that is there.
MESSAGES = 5
# Requests that are made for each host, and how many of them. What is not named here is made for
# a batch or for the run.
EACH: dict[str, float] = {
    "GET /heat/v1/project/software_deployments/ID": 2 * MESSAGES,
    "GET /heat/v1/project/software_configs/ID": 1,
    "POST /heat/v1/project/software_configs": MESSAGES,
    "PUT /heat/v1/project/software_deployments/ID": MESSAGES,
    "DELETE /heat/v1/project/software_configs/ID": MESSAGES,
    "PUT /nova/v2.1/os-services/ID": 2,
    "POST /nova/v2.1/os-aggregates/ID/action": 1,
    "GET /nova/v2.1/servers/detail": 1,
    "GET /nova/v2.1/os-migrations": 1,
    "GET /placement/resource_providers/ID/allocations": 1,
}
# Of the run and of its batches together: the controller has messages of its own. At each gate, and
# when the plan is made, Mistral is asked whether the run is to stop.
SHARED = 125


@pytest.mark.slow
def test_a_deploy_makes_no_more_requests_for_a_host_than_are_named(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    for index in range(HOSTS - 2):
        cloud.add_host(f"rack-{index:05}-docker", "compute")
    cloud.requests.clear()

    run = mistral.run("novadocker.deploy", {"batch_size": HOSTS // 2})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    counted = collections.Counter(f"{verb} {_ID.sub('ID', path)}" for verb, path in cloud.requests)
    # One host more or less is the controller, whose messages are of the same kinds.
    over = {
        kind: count / HOSTS
        for kind, count in counted.items()
        if count > EACH.get(kind, 0) * HOSTS + (2 * MESSAGES + 5 if kind in EACH else SHARED)
    }
    assert over == {}
    assert sum(count for kind, count in counted.items() if kind not in EACH) < SHARED

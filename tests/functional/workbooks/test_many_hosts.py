# SPDX-License-Identifier: Apache-2.0
"""A thousand hosts, all of them fakes: what the workflow carries stays within Mistral's limits."""

from __future__ import annotations

import pytest

from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.fields import largest
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import whole_report

HOSTS = 1000


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
    whole = whole_report(cloud, report)
    assert len(whole["hosts"]["selected"]) == HOSTS
    assert len(whole["rows"]) == HOSTS + 1
    assert len(run["output"]["message"]) < 4000
    # Of what it carries, no field is larger than of a few hosts.
    bytes_, field = largest()
    assert bytes_ < 64 * 1024, f"{field} has {bytes_} bytes"
    assert cloud.largest_environment < 64 * 1024

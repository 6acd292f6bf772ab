# SPDX-License-Identifier: Apache-2.0
"""The deploy workflow in a real Mistral, with a fake cloud behind HTTP."""

from __future__ import annotations

from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral


def test_matching_hosts_become_docker_hypervisors(mistral: Mistral, cloud: FakeCloud) -> None:
    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["report"]["state"] == "done"

# SPDX-License-Identifier: Apache-2.0
"""A host that is a controller and a compute host: one mailbox, and a row for each of the two."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.workbooks.fake_cloud import FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral


@pytest.fixture
def both(cloud: FakeCloud) -> FakeHost:
    return cloud.add_host("both-docker", "controller", "glance", "compute")


def rows_of(run: dict[str, Any], host: FakeHost) -> dict[str, dict[str, Any]]:
    """Return the host's rows of a report, by role."""
    entries = run["output"]["report"]["rows"]
    return {entry["role"]: entry for entry in entries if entry["host"] == host.name}


def test_a_host_of_two_roles_is_asked_for_both_before_anything_changes(
    mistral: Mistral, cloud: FakeCloud, both: FakeHost
) -> None:
    both.faults["install_driver", "check"] = "fail"

    run = mistral.run("novadocker.deploy", {"hosts": both.name})

    assert "install_driver would fail on both-docker" in run["output"]["message"]
    assert {mode for _, mode in both.runs} == {"check"}


def test_what_a_host_of_two_roles_has_lost_is_told_of_the_right_one(
    mistral: Mistral, cloud: FakeCloud, both: FakeHost
) -> None:
    first = mistral.run("novadocker.deploy", {"hosts": both.name})
    assert first["state"] == "SUCCESS", mistral.tree(first["id"])
    both.driver = False

    run = mistral.run("novadocker.verify", {"hosts": both.name})

    told = rows_of(run, both)
    assert "both-docker has drifted: install_driver would change it" in run["output"]["message"]
    assert told["compute"]["step"] == "install_driver"
    assert told["controller,glance"]["state"] == "unchanged"


def test_a_controller_is_reported_whose_compute_role_is_not_begun(
    mistral: Mistral, cloud: FakeCloud, both: FakeHost
) -> None:
    both.faults["configure_glance", "apply"] = "fail"

    run = mistral.run("novadocker.deploy", {"hosts": both.name})

    told = rows_of(run, both)
    assert told["controller,glance"]["step"] == "configure_glance"
    assert (told["compute"]["state"], told["compute"]["reason"]) == ("skipped", "not started")

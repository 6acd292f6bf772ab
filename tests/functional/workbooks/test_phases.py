# SPDX-License-Identifier: Apache-2.0
"""A deploy in parts: hosts are staged under their tenants, and switched another day."""

from __future__ import annotations

from typing import Any

from tests.functional.workbooks.fake_cloud import FakeCloud, FakeHost
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED, refused, rows, writes

COMPUTES = ("compute-docker-1", "compute-docker-2")
STAGED = (True, True, False, False)
STAGE = {"phase": "stage"}


def staged(mistral: Mistral, cloud: FakeCloud, **inputs: Any) -> list[FakeHost]:
    """Return hosts with tenants that were staged."""
    hosts = [cloud.hosts[name] for name in COMPUTES]
    for host in hosts:
        host.servers = [{"uuid": f"on-{host.name}"}]
    run = mistral.run("novadocker.deploy", {**STAGE, **inputs})
    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    said = "2 of 2 compute hosts are staged (compute-docker-1, compute-docker-2); none was switched"
    assert run["output"]["message"].startswith(said)
    row = rows(run)[COMPUTES[0]]
    assert (row["state"], row["changed"], row["reason"]) == ("ok", True, "staged, not switched")
    assert [host.state for host in hosts] == [STAGED, STAGED]
    return hosts


def test_hosts_are_staged_under_their_tenants_and_a_later_deploy_goes_on_from_there(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    hosts = staged(mistral, cloud)

    # Nova and Glance were asked for nothing, and controllers for nothing but what they are.
    assert writes(cloud) == []
    assert {mode for _, mode in cloud.hosts["controller"].runs} == {"check"}
    assert [host.out_of_service for host in hosts] == [[], []]
    assert [host.servers for host in hosts] == [[{"uuid": f"on-{name}"}] for name in COMPUTES]
    again = mistral.run("novadocker.deploy", STAGE)
    assert again["output"]["report"]["state"] == "unchanged", again["output"]["message"]

    # Its tenants have left one of them by now, and it alone is switched.
    hosts[0].servers = []
    run = mistral.run("novadocker.deploy", {"drain": "skip"})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert (hosts[0].state, hosts[0].status) == (CONVERTED, "enabled")
    assert (hosts[1].state, hosts[1].status) == (STAGED, "enabled")
    assert rows(run)[hosts[1].name]["state"] == "skipped"


def test_what_was_staged_is_taken_back_by_undeploy_under_the_tenants(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    hosts = staged(mistral, cloud)

    run = mistral.run("novadocker.undeploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert [host.state for host in hosts] == [UNTOUCHED, UNTOUCHED]
    assert [host.out_of_service for host in hosts] == [[], []]
    assert [host.servers for host in hosts] == [[{"uuid": f"on-{name}"}] for name in COMPUTES]


def test_only_staged_hosts_are_switched_and_what_is_staged_is_left_alone(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    said = refused(mistral, cloud, {"phase": "switch"})
    assert "phase: nothing is staged on compute-docker-1, compute-docker-2. Give stage" in said
    hosts = staged(mistral, cloud)
    for host in hosts:
        host.servers, host.runs = [], []
    hosts[1].faults["verify_host", "apply"] = "fail"

    run = mistral.run("novadocker.deploy", {"phase": "switch", "max_failed": 1})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    for host in hosts:
        switched = [("configure_compute", "apply"), ("verify_host", "apply")]
        assert [at for at in host.out_of_service if at[1] == "apply"] == switched
        assert ("install_driver", "apply") not in host.runs
        assert host.status == "enabled"
    # One that fails is again what this run found.
    assert [host.state for host in hosts] == [CONVERTED, STAGED]
    assert rows(run)[hosts[1].name]["rolled_back"] is True
    assert cloud.hosts["controller"].glance_docker


def test_hosts_that_cannot_be_staged_are_put_back_and_the_others_stay_staged(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    bad, good = (cloud.hosts[name] for name in COMPUTES)
    bad.faults["install_driver", "apply"] = "fail"

    run = mistral.run("novadocker.deploy", STAGE)

    assert run["state"] == "ERROR"
    assert "compute-docker-1 failed at install_driver: " in run["output"]["message"]
    assert "1 of 2 compute hosts are staged (compute-docker-2)" in run["output"]["message"]
    assert (bad.state, good.state) == (UNTOUCHED, STAGED)
    assert writes(cloud) == []


def test_a_plan_of_staging_shows_what_is_staged(mistral: Mistral, cloud: FakeCloud) -> None:
    plan = mistral.run("novadocker.plan", STAGE)

    assert plan["state"] == "SUCCESS", mistral.tree(plan["id"])
    assert "2 of 2 compute hosts would be staged" in plan["output"]["message"]
    assert rows(plan)[COMPUTES[0]]["step"] == "install_docker, install_driver"
    staged(mistral, cloud, plan_digest=plan["output"]["report"]["plan_digest"])

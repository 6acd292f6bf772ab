# SPDX-License-Identifier: Apache-2.0
"""Bad input is refused with a message that names the field and the remedy; nothing is changed."""

from __future__ import annotations

import time
from typing import Any

import pytest
from mistral import exceptions

from novadocker_actions.actions import plan, steps
from novadocker_actions.cloud import mailbox
from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import refused, writes


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"batch_size": -1}, "batch_size: -1 is less than the minimum of 1. Give 1 to 100 hosts"),
        ({"batch_size": 10**9}, "batch_size: 1000000000 is greater than the maximum of 100."),
        ({"batch_size": "two"}, "batch_size: 'two' is not of type 'integer', 'null'."),
        ({"step_timeout_s": -5}, "step_timeout_s: -5 is less than the minimum of 30. Give 30 to"),
        ({"step_timeout_s": 10**7}, "step_timeout_s: 10000000 is greater than the maximum"),
        ({"agent_timeout_s": 0}, "agent_timeout_s: 0 is less than the minimum of 5."),
        ({"max_failed": -1}, "max_failed: -1 is less than the minimum of 0."),
        ({"images": "Bad Image!"}, "images: 'Bad Image!' is not a Docker image reference."),
        ({"images": "no-such"}, "images: the registry does not give no-such:latest (manifest"),
        ({"hosts": "compute-9"}, "hosts: Nova knows no compute host compute-9. Compute hosts are:"),
        ({"hosts": []}, "hosts: [] should be non-empty. Give a list"),
        ({"exclude": ["x"]}, "exclude: Nova knows no compute host x."),
        (
            {"match": "gpu", "if_none_match": "fail"},
            "match: no compute host has 'gpu' in its name, and if_none_match is fail.",
        ),
        ({"where": "$.nope("}, "where: '$.nope(' cannot be evaluated for host"),
        ({"where": "$.instances > 5"}, "hosts: no compute host is selected"),
        ({"plan_digest": "abc"}, "plan_digest: 'abc' is not of the expected form."),
        ({"driver_index": "--index-url=x"}, "driver_index: '--index-url=x' is not"),
    ],
)
def test_bad_inputs(mistral: Mistral, cloud: FakeCloud, inputs: dict[str, Any], said: str) -> None:
    assert said in refused(mistral, cloud, inputs)


def test_an_unknown_input_is_refused_by_mistral_itself(mistral: Mistral, cloud: FakeCloud) -> None:
    with pytest.raises(exceptions.InputException) as refusal:
        mistral.begin("novadocker.deploy", {"batchsize": 3})

    assert "unexpected=['batchsize']" in str(refusal.value)


def test_a_host_without_an_agent(mistral: Mistral, cloud: FakeCloud) -> None:
    del cloud.deployments[cloud.hosts["compute-docker-2"].deployment_id]

    said = refused(mistral, cloud, {})

    assert "no agent is enrolled on compute-docker-2." in said
    assert "novadocker-enroll add" in said


def test_an_agent_that_does_not_answer(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "GRACE_S", -3)
    cloud.hosts["compute-docker-2"].faults["describe_host", "check"] = "hang"

    said = refused(mistral, cloud, {"agent_timeout_s": 5})

    assert "compute-docker-2 could not be described: the host did not answer in time" in said
    assert "compute-docker-1" not in said


def test_a_compute_that_runs_instances(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.hosts["compute-docker-1"].servers = [{"uuid": "1", "name": "vm"}] * 2

    said = refused(mistral, cloud, {})

    assert "instances run on compute-docker-1 (2)." in said
    assert "Migrate or delete them" in said


def test_a_nova_that_is_too_old(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.hosts["compute-docker-1"].nova = "30.1.0"

    assert "compute-docker-1 runs Nova 30.1.0, older than 2025.1" in refused(mistral, cloud, {})


def test_no_controller_is_enrolled(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.hosts["controller"].roles = ["glance"]

    assert "no enrolled host has the role controller" in refused(mistral, cloud, {})


@pytest.mark.field_case("K5.6")
@pytest.mark.parametrize("workflow", ["novadocker.plan", "novadocker.deploy"])
def test_a_controller_that_cannot_upload_to_glance(
    mistral: Mistral, cloud: FakeCloud, workflow: str
) -> None:
    cloud.hosts["controller"].no_glance = "its certificate is not trusted: self-signed"

    run = mistral.run(workflow)

    assert run["output"]["report"]["state"] == "refused", mistral.tree(run["id"])
    assert (
        "controllers: controller cannot upload to Glance at http://cloud.test/glance: its "
        "certificate is not trusted: self-signed." in run["state_info"]
    )
    assert "update-ca-certificates" in run["state_info"]
    assert writes(cloud) == []


def test_a_second_run_on_the_same_hosts(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.hosts["compute-docker-1"].faults["install_docker", "apply"] = "hang"
    first = mistral.begin("novadocker.deploy")
    try:
        _until_at_work(cloud)
        second = mistral.run("novadocker.deploy")
        other = mistral.run("novadocker.deploy", {"hosts": "compute-3"})
    finally:
        mistral.cancel(first)

    assert second["state"] == "ERROR"
    assert second["output"]["report"]["state"] == "refused"
    assert (
        "compute-docker-1, compute-docker-2 are being changed by novadocker.deploy "
        f"{first}. Wait for it to end" in second["state_info"]
    )
    assert other["state"] == "SUCCESS", mistral.tree(other["id"])


def _until_at_work(cloud: FakeCloud) -> None:
    until = time.monotonic() + 120
    while ("install_docker", "apply") not in cloud.hosts["compute-docker-1"].runs:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_host_on_which_another_run_is_at_work(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "BUSY_WAIT_S", 0)
    cloud.hosts["compute-docker-1"].faults["install_docker", "apply"] = "hang"
    first = mistral.begin("novadocker.deploy")
    try:
        _until_at_work(cloud)
        plan = mistral.run("novadocker.plan")
    finally:
        mistral.cancel(first)

    assert plan["state"] == "ERROR"
    assert (
        "install_docker, install_driver of another run is under way on compute-docker-1."
        in (plan["state_info"])
    )
    assert cloud.hosts["compute-docker-1"].runs[-1] == ("install_docker", "apply")


def test_what_mistral_cannot_keep_is_told_with_its_reason(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = plan.FindNeeds.act

    def too_much(self: plan.FindNeeds, services: Any) -> dict[str, Any]:
        return {**real(self, services), "more": "x" * 1_200_000}

    monkeypatch.setattr(plan.FindNeeds, "act", too_much)

    run = mistral.run("novadocker.plan")

    assert run["output"]["report"]["state"] == "failed", mistral.tree(run["id"])
    assert "it gave no reason" not in run["state_info"]
    assert "Field size limit exceeded" in run["state_info"]
    assert len(run["state_info"]) < 3000


def test_hosts_that_nobody_named_and_that_cannot_be_converted_are_left_out(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    cloud.hosts["compute-3"].hypervisor_type = "ironic"
    for number in range(9):
        cloud.add_host(f"more-{number}", "compute")

    planned = mistral.run("novadocker.plan", {"match": "gpu"})
    refusal = mistral.run("novadocker.deploy", {"match": "gpu"})

    assert planned["state"] == "SUCCESS", mistral.tree(planned["id"])
    hosts = planned["output"]["report"]["hosts"]
    assert hosts["rule"] == "all, but for compute-3 (ironic), since no name contains 'gpu'"
    assert len(hosts["selected"]) == 11
    assert "compute-3" in hosts["unselected"]
    assert "plan_digest: 11 compute hosts are selected" in refusal["state_info"]

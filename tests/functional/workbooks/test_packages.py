# SPDX-License-Identifier: Apache-2.0
"""A release's package of host steps comes to hosts by the run that needs it."""

from __future__ import annotations

import pytest

from novadocker_actions import host_package
from novadocker_actions.cloud import messages
from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, refused, rows, writes

OLD = "0" * 64


def pushed(cloud: FakeCloud, host: str) -> list[str]:
    """Return the steps that a host has run."""
    return [step for step, _ in cloud.hosts[host].runs]


def test_hosts_of_an_earlier_release_get_the_package_beside_theirs(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    for name in ("controller", "compute-docker-1"):
        cloud.hosts[name].packages = {OLD}

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    for name in ("controller", "compute-docker-1"):
        assert cloud.hosts[name].packages == {OLD, host_package.digest()}
        assert pushed(cloud, name)[0] == "install_package"
    assert "install_package" not in pushed(cloud, "compute-docker-2")
    assert cloud.hosts["compute-docker-1"].state == CONVERTED
    # It is sent once: what lies in a mailbox is asked for every minute.
    cloud.hosts["compute-docker-1"].runs.clear()
    second = mistral.run("novadocker.deploy")
    assert second["output"]["report"]["state"] == "unchanged"
    assert "install_package" not in pushed(cloud, "compute-docker-1")


@pytest.mark.parametrize("workflow", ["plan", "verify"])
def test_a_run_that_changes_nothing_brings_it_and_changes_nothing_else(
    mistral: Mistral, cloud: FakeCloud, workflow: str
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.packages = {OLD}

    run = mistral.run(f"novadocker.{workflow}")

    assert host.packages == {OLD, host_package.digest()}
    assert {step for step, mode in host.runs if mode != "check"} == {"install_package"}
    assert writes(cloud) == []
    # What a host runs steps from is no change of it, and nothing to put back.
    assert rows(run)[host.name]["changed"] is False
    held = cloud.configs[cloud.deployments[host.deployment_id]["config_id"]]
    assert len(held["config"]) < 6_000


def test_a_host_on_which_it_cannot_be_installed_is_named_before_anything_changes(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.packages = {OLD}
    host.faults["install_package", "apply"] = "no space left on device"

    told = refused_but_for_the_package(mistral, cloud)

    assert "compute-docker-1 could not be given this release's package of steps" in told
    assert "no space left on device" in told


def test_a_host_that_refuses_for_another_reason_is_sent_no_package(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.faults["describe_host", "check"] = "its clock is wrong"
    told = refused(mistral, cloud, {})
    assert "its clock is wrong" in told
    assert "install_package" not in pushed(cloud, host.name)


def test_executors_of_two_releases_use_a_host_in_turns(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.packages = {OLD}
    mistral.run("novadocker.plan", {"hosts": [host.name]})
    host.runs.clear()
    monkeypatch.setattr(messages.host_package, "digest", lambda: OLD)
    for other in cloud.hosts.values():
        other.packages.add(OLD)
    run = mistral.run("novadocker.plan", {"hosts": [host.name]})
    assert run["state"] == "SUCCESS"
    assert "install_package" not in pushed(cloud, host.name)


def refused_but_for_the_package(mistral: Mistral, cloud: FakeCloud) -> str:
    """Run deploy, see that no host and no service was changed, and return what it said."""
    run = mistral.run("novadocker.deploy")
    assert run["state"] == "ERROR"
    assert run["output"]["report"]["state"] == "refused"
    assert writes(cloud) == []
    changed = {step for h in cloud.hosts.values() for step, mode in h.runs if mode != "check"}
    assert changed == {"install_package"}
    return str(run["output"]["message"])

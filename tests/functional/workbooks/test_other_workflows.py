# SPDX-License-Identifier: Apache-2.0
"""undeploy, verify and preload_images in a real Mistral, with a fake cloud behind HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from novadocker_actions.actions import nova as nova_actions
from novadocker_actions.cloud import mailbox, nova
from novadocker_actions.plan.rows import HostRow
from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED, rows, writes


@pytest.mark.usefixtures("converted")
def test_undeploy_gives_everything_back(mistral: Mistral, cloud: FakeCloud) -> None:
    run = mistral.run("novadocker.undeploy", {"remove_images": True})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["report"]["state"] == "done"
    assert {host.state for host in cloud.hosts.values()} == {UNTOUCHED}
    assert {host.status for host in cloud.hosts.values()} == {"enabled"}
    assert cloud.aggregates == {}
    assert cloud.glance_images == {}
    assert "2 of 2 compute hosts are as they were before" in run["output"]["message"]


@pytest.mark.usefixtures("converted")
def test_a_second_undeploy_changes_and_restarts_nothing(mistral: Mistral, cloud: FakeCloud) -> None:
    assert mistral.run("novadocker.undeploy")["output"]["report"]["state"] == "done"
    restarts = {host.name: host.restarts for host in cloud.hosts.values()}
    cloud.requests.clear()
    for host in cloud.hosts.values():
        host.runs.clear()

    run = mistral.run("novadocker.undeploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["report"]["state"] == "unchanged"
    assert "nothing had to be changed" in run["output"]["message"]
    assert {host.name: host.restarts for host in cloud.hosts.values()} == restarts
    assert {mode for host in cloud.hosts.values() for _, mode in host.runs} == {"check"}
    assert writes(cloud) == []


@pytest.mark.usefixtures("converted")
def test_controllers_are_given_back_though_images_cannot_be_removed(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    cloud.failures += [("GET", "/glance/v2/images$", 403)]

    run = mistral.run("novadocker.undeploy", {"remove_images": True})

    assert run["state"] == "ERROR"
    assert {host.state for host in cloud.hosts.values()} == {UNTOUCHED}
    assert len(cloud.glance_images) == 1
    assert run["output"]["report"]["errors"][0]["task"] == "remove_images"
    assert "Task remove_images failed: " in run["output"]["message"]


@pytest.mark.usefixtures("converted")
def test_undeploy_keeps_images_unless_asked(mistral: Mistral, cloud: FakeCloud) -> None:
    mistral.run("novadocker.undeploy")

    assert len(cloud.glance_images) == 1


@pytest.mark.usefixtures("converted")
def test_undeploy_of_some_hosts_keeps_the_controllers(mistral: Mistral, cloud: FakeCloud) -> None:
    run = mistral.run("novadocker.undeploy", {"hosts": "compute-docker-1"})

    assert run["state"] == "SUCCESS"
    assert cloud.hosts["compute-docker-1"].state == UNTOUCHED
    assert cloud.hosts["compute-docker-2"].state == CONVERTED
    assert cloud.hosts["controller"].state == (True, False, False, True)
    assert next(iter(cloud.aggregates.values()))["hosts"] == ["compute-docker-2"]


@pytest.mark.usefixtures("converted")
def test_undeploy_refuses_hosts_with_instances(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.hosts["compute-docker-2"].servers = [{"uuid": "1", "name": "container"}]

    run = mistral.run("novadocker.undeploy")

    assert run["state"] == "ERROR"
    assert "instances run on compute-docker-2 (1)" in run["state_info"]
    assert cloud.hosts["compute-docker-1"].state == CONVERTED


def test_undeploy_where_nothing_was_deployed_changes_nothing(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    run = mistral.run("novadocker.undeploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["report"]["state"] == "unchanged"
    assert writes(cloud) == []


def test_undeploy_gives_back_every_node_of_glance(mistral: Mistral, cloud: FakeCloud) -> None:
    # Neither of them has an engine: one controller exports the images.
    others = [
        cloud.add_host("controller-2", "controller", "glance"),
        cloud.add_host("glance-3", "glance"),
    ]
    mistral.run("novadocker.deploy")
    plan = mistral.run("novadocker.plan")

    run = mistral.run("novadocker.undeploy")

    assert {(rows(plan)[host.name]["state"], host.state) for host in others} == {
        ("unchanged", UNTOUCHED)
    }
    assert {rows(run)[host.name]["state"] for host in others} == {"ok"}


def test_undeploy_takes_back_what_an_undo_that_broke_off_has_left(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    # The engine is gone; not all of what it kept is.
    host = cloud.hosts["compute-docker-1"]
    host.records = {"install_docker"}

    run = mistral.run("novadocker.undeploy", {"hosts": host.name})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert ("install_docker", "undo") in host.runs
    assert host.records == set()


def test_what_a_run_that_was_lost_has_staged_is_removed_beside_instances(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.docker = host.driver = True
    host.servers = [{"uuid": "1", "name": "vm"}]

    run = mistral.run("novadocker.undeploy", {"hosts": host.name})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert (host.state, host.restarts, host.out_of_service) == (UNTOUCHED, 0, [])
    assert writes(cloud) == []


def test_an_engine_of_the_operators_beside_instances_is_nothing_to_undo(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-2"]
    host.docker = host.operators_docker = True
    host.servers = [{"uuid": "1", "name": "vm"}]

    run = mistral.run("novadocker.undeploy")

    assert run["output"]["report"]["state"] == "unchanged", run["output"]["message"]
    assert {mode for _, mode in host.runs} == {"check"}


@pytest.mark.usefixtures("converted")
def test_undeploy_tells_of_a_host_that_could_not_be_put_back(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    bad = cloud.hosts["compute-docker-1"]
    bad.faults["configure_compute", "undo"] = "fail"

    run = mistral.run("novadocker.undeploy", {"max_failed": 1})

    assert rows(run)["compute-docker-1"]["state"] == "failed"
    assert bad.status == "disabled"
    assert ("install_driver", "undo") not in bad.runs
    assert cloud.hosts["compute-docker-2"].state == UNTOUCHED


def test_deploy_after_undeploy(mistral: Mistral, cloud: FakeCloud) -> None:
    mistral.run("novadocker.deploy")
    mistral.run("novadocker.undeploy")

    run = mistral.run("novadocker.deploy")

    assert run["output"]["report"]["state"] == "done"
    assert len(cloud.glance_images) == 1


@pytest.mark.usefixtures("converted")
def test_verify_of_a_converted_cloud_finds_no_drift(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.requests.clear()

    run = mistral.run("novadocker.verify")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["report"]["state"] == "unchanged"
    assert "3 of 3 hosts are as wanted; nothing was changed" in run["output"]["message"]
    assert writes(cloud) == []


@pytest.mark.usefixtures("converted")
def test_verify_tells_what_has_drifted(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.hosts["compute-docker-2"].driver = False
    cloud.glance_images.clear()
    next(iter(cloud.aggregates.values()))["hosts"].remove("compute-docker-1")

    run = mistral.run("novadocker.verify")

    assert run["state"] == "ERROR"
    assert run["output"]["report"]["state"] == "drift"
    said = run["output"]["message"]
    assert "compute-docker-2 has drifted: install_driver would change it" in said
    assert "compute-docker-1 failed at isolate: it is not in the aggregate" in said
    assert "image busybox:latest is not in Glance" in said
    assert cloud.hosts["compute-docker-2"].driver is False


def test_what_is_left_to_the_operator_of_isolation_is_told_before_anything_changes(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    cloud.hosts["controller"].isolates = False
    cloud.add_image(name="own", owner="a-tenant")

    plan = mistral.run("novadocker.plan")

    for told in (plan["output"]["message"], " ".join(plan["output"]["report"]["notes"])):
        assert "nova-scheduler on controller may put images for virtual machines on" in told
        assert "set [scheduler] enable_isolated_aggregate_filtering = true" in told
        assert "may be put on hosts without Docker: own (" in told
    assert writes(cloud) == []

    # It is the operator's: what we make is as it was made.
    mistral.run("novadocker.deploy")
    verified = mistral.run("novadocker.verify")
    assert verified["output"]["report"]["state"] == "unchanged", verified["output"]["message"]
    assert len(verified["output"]["report"]["notes"]) == 2

    next(iter(cloud.aggregates.values()))["metadata"].clear()
    verified = mistral.run("novadocker.verify")
    assert verified["output"]["report"]["state"] == "drift"
    assert "the aggregate docker-hosts has lost its trait" in verified["output"]["message"]


@pytest.mark.usefixtures("converted")
def test_images_are_published_and_fetched_onto_converted_hosts(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    run = mistral.run("novadocker.preload_images", {"images": "nginx, busybox"})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert "2 images are on 2 of 2 hosts" in run["output"]["message"]
    assert len(cloud.glance_images) == 2
    assert cloud.hosts["compute-docker-1"].images == set(cloud.glance_images)


@pytest.mark.usefixtures("converted")
def test_images_are_published_and_no_compute_host_is_asked(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    hosts = [host for host in cloud.hosts.values() if "compute" in host.roles]
    before = [(list(host.runs), set(host.images)) for host in hosts]

    given = {"images": "nginx, busybox", "preload": False}
    run = mistral.run("novadocker.preload_images", given)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert "2 images in Glance, 1 published by this run" in run["output"]["message"]
    assert run["output"]["report"]["state"] == "done"
    assert len(cloud.glance_images) == 2
    assert [(host.runs, host.images) for host in hosts] == before

    again = mistral.run("novadocker.preload_images", given)
    assert again["output"]["report"]["state"] == "unchanged"
    assert "2 images in Glance, 0 published by this run" in again["output"]["message"]
    assert len(cloud.glance_images) == 2


def test_images_are_not_fetched_onto_other_hypervisors(mistral: Mistral, cloud: FakeCloud) -> None:
    run = mistral.run("novadocker.preload_images")

    assert run["state"] == "ERROR"
    assert "compute-docker-1, compute-docker-2 are not Docker hypervisors." in run["state_info"]
    assert cloud.glance_images == {}


@pytest.mark.usefixtures("converted")
def test_undeploy_leaves_a_host_out_of_service_that_it_took_half_apart(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = cloud.hosts["compute-docker-1"]
    real = mailbox.push

    def push(heat: Any, row: HostRow, steps: Any, **more: Any) -> None:
        real(heat, row, steps, **more)
        if (row.host, more["mode"]) == (bad.name, "undo"):
            # Nobody hears how it ended.
            cloud.deployments.pop(bad.deployment_id, None)

    monkeypatch.setattr(mailbox, "push", push)

    run = mistral.run("novadocker.undeploy", {"hosts": bad.name})

    row = rows(run)[bad.name]
    assert (row["state"], row["step"]) == ("failed", "configure_compute")
    assert (bad.docker, bad.driver, bad.configured) == (True, True, False)
    assert (bad.status, bad.disabled_reason) == (
        "disabled",
        f"novadocker failed: see {run['id']}",
    )


@pytest.mark.usefixtures("converted")
def test_undeploy_leaves_a_host_out_of_service_that_nova_shows_down_afterwards(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = cloud.hosts["compute-docker-1"]
    monkeypatch.setattr(nova_actions, "VERIFY_WAIT_S", 0)
    monkeypatch.setattr(nova, "unsettled", lambda *_, **__: {bad.name: "it is down"})

    run = mistral.run("novadocker.undeploy", {"hosts": bad.name}, 240)

    assert rows(run)[bad.name]["step"] == "verify_compute"
    assert (bad.status, bad.disabled_reason) == (
        "disabled",
        f"novadocker failed: see {run['id']}",
    )


@pytest.mark.usefixtures("converted")
def test_undeploy_puts_a_host_into_service_before_the_rest_is_removed(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    bad = cloud.hosts["compute-docker-1"]
    bad.out_of_service.clear()
    bad.faults["install_driver", "undo"] = "fail"

    run = mistral.run("novadocker.undeploy", {"hosts": bad.name})

    # It is what it was, with something left on it that disturbs nobody.
    assert (bad.configured, bad.status) == (False, "enabled")
    assert bad.out_of_service == [("configure_compute", "undo")]
    assert ("install_docker", "undo") not in bad.runs
    row = rows(run)[bad.name]
    assert (row["state"], row["step"]) == ("failed", "install_driver")

# SPDX-License-Identifier: Apache-2.0
"""The deploy workflow in a real Mistral, with a fake cloud behind HTTP."""

from __future__ import annotations

import pytest

from novadocker_actions import driver_wheel
from novadocker_actions.cloud import mailbox
from tests.functional.workbooks.fake_cloud import REGISTRY, TOKEN, FakeCloud
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import CONVERTED, UNTOUCHED, refused, rows, writes


def test_matching_hosts_become_docker_hypervisors(mistral: Mistral, cloud: FakeCloud) -> None:
    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["message"].startswith(
        "2 of 2 compute hosts are Docker hypervisors (compute-docker-1, compute-docker-2); "
        "Glance accepts docker images; 1 image preloaded. See http"
    )
    assert run["output"]["url"].endswith(f"/executions/{run['id']}")
    report = run["output"]["report"]
    assert report["state"] == "done"
    assert report["totals"] == {"ok": 3, "failed": 0, "changed": 3, "unchanged": 0, "skipped": 0}
    for name in ("compute-docker-1", "compute-docker-2"):
        host = cloud.hosts[name]
        assert host.state == CONVERTED
        assert (host.status, host.disabled_reason) == ("enabled", None)
        assert host.images == {report["images"][0]["id"]}
    assert cloud.hosts["controller"].state == (True, False, False, True)
    aggregate = next(iter(cloud.aggregates.values()))
    assert aggregate["name"] == "docker-hosts"
    assert aggregate["hosts"] == ["compute-docker-1", "compute-docker-2"]
    assert aggregate["metadata"] == {
        "trait:CUSTOM_HYPERVISOR_DOCKER": "required",
        "novadocker:aggregate": "made",
    }


def test_a_host_that_is_not_selected_is_not_touched(mistral: Mistral, cloud: FakeCloud) -> None:
    run = mistral.run("novadocker.deploy")

    assert run["output"]["report"]["hosts"]["unselected"] == ["compute-3"]
    other = cloud.hosts["compute-3"]
    assert (other.runs, other.state, other.images) == ([], UNTOUCHED, set())
    assert ("PUT", f"/nova/v2.1/os-services/{other.service_id}") not in cloud.requests


@pytest.mark.field_case("K3.2")
def test_steps_are_given_what_their_group_needs(mistral: Mistral, cloud: FakeCloud) -> None:
    mirrors = {"registry-mirrors": ["https://mirror.test"]}
    places = {"driver_url": "https://wheels.test/", "driver_index": "https://index.test/simple"}
    mistral.run("novadocker.deploy", {"docker": mirrors, **places})

    compute = cloud.hosts["compute-docker-1"].settings
    assert compute["install_docker"]["users"] == ["nova"]
    assert compute["install_docker"]["daemon_settings"]["bridge"] == "none"
    assert compute["install_docker"]["daemon_settings"]["registry-mirrors"] == [
        "https://mirror.test"
    ]
    assert compute["install_driver"] == {
        **driver_wheel.settings(),
        "url": "https://wheels.test/",
        "index": "https://index.test/simple",
    }
    controller = cloud.hosts["controller"].settings
    assert controller["install_docker"]["users"] == []
    # Neither gets a network of its own, nor makes its host a router.
    for given in (compute, controller):
        daemon = given["install_docker"]["daemon_settings"]
        assert daemon["bridge"] == "none"
        assert [daemon[key] for key in ("iptables", "ip6tables", "ip-forward")] == [False] * 3
    assert controller["upload_image"]["glance_url"] == "http://cloud.test/glance"
    # What the plan was made of is what is published, wherever the tag has gone since.
    assert controller["export_image"] == {
        "image": "busybox:latest",
        "digest": REGISTRY["busybox:latest"],
    }


@pytest.mark.usefixtures("converted")
def test_the_published_image_can_be_found_by_its_digest(cloud: FakeCloud) -> None:
    (image,) = cloud.glance_images.values()
    assert image["name"] == "busybox"
    assert image["visibility"] == "public"
    assert (image["container_format"], image["disk_format"]) == ("docker", "raw")
    assert image["img_hv_type"] == "docker"
    assert image["docker_reference"] == "busybox:latest"
    assert image["docker_digest"] == REGISTRY["busybox:latest"]
    assert image["status"] == "active"


@pytest.mark.usefixtures("converted")
def test_the_token_is_never_in_clear_in_what_a_host_is_sent(cloud: FakeCloud) -> None:
    for host in cloud.hosts.values():
        assert TOKEN not in str(host.settings)


def test_a_project_that_may_not_publish_keeps_its_image_to_itself(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    cloud.may_publish = False

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS"
    assert [image["visibility"] for image in cloud.glance_images.values()] == ["private"]


@pytest.mark.usefixtures("converted")
def test_a_second_run_changes_and_restarts_nothing(mistral: Mistral, cloud: FakeCloud) -> None:
    restarts = [host.restarts for host in cloud.hosts.values()]
    cloud.requests.clear()
    for host in cloud.hosts.values():
        host.runs.clear()

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS"
    assert run["output"]["report"]["state"] == "unchanged"
    assert run["output"]["report"]["totals"]["changed"] == 0
    assert "nothing had to be changed" in run["output"]["message"]
    assert [host.restarts for host in cloud.hosts.values()] == restarts
    assert {mode for host in cloud.hosts.values() for _, mode in host.runs} == {"check"}
    # Nova is asked for the images again, and skips what is there.
    assert [request for request in writes(cloud) if not request[1].endswith("/images")] == []
    assert len(cloud.glance_images) == 1


@pytest.mark.usefixtures("converted")
def test_only_what_is_missing_is_done(mistral: Mistral, cloud: FakeCloud) -> None:
    damaged = cloud.hosts["compute-docker-2"]
    damaged.driver = False
    # It looks unconverted, so every step is applied; the steps find what is there.
    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS"
    assert damaged.state == CONVERTED
    assert rows(run)["compute-docker-1"]["state"] == "unchanged"
    assert rows(run)["compute-docker-2"]["changed"] is True


def test_a_host_that_fails_is_put_back_and_the_others_go_on(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    bad = cloud.hosts["compute-docker-1"]
    bad.faults["configure_compute", "apply"] = "fail"

    run = mistral.run("novadocker.deploy", {"max_failed": 1})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["report"]["state"] == "partial"
    assert bad.state == UNTOUCHED
    assert bad.status == "enabled"
    assert bad.runs[-3:] == [
        ("configure_compute", "roll_back"),
        ("install_driver", "roll_back"),
        ("install_docker", "roll_back"),
    ]
    row = rows(run)["compute-docker-1"]
    assert (row["state"], row["step"]) == ("failed", "configure_compute")
    assert row["reason"] == "configure_compute broke on purpose"
    assert row["log"] == "/var/log/novadocker/configure_compute.log"
    assert row["rolled_back"] is True
    assert cloud.hosts["compute-docker-2"].state == CONVERTED
    assert "compute-docker-1 failed at configure_compute" in run["output"]["message"]


@pytest.mark.usefixtures("converted")
def test_a_repair_that_fails_leaves_the_docker_hypervisor_that_it_found(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    bad = cloud.hosts["compute-docker-1"]
    bad.servers = [{"uuid": "a-container", "name": "vm"}]
    bad.runs = []
    # The step is asked whether it is needed, says so, and then fails when it is applied.
    bad.changes_again = {"configure_compute"}
    bad.faults["configure_compute", "apply"] = "fail"

    run = mistral.run("novadocker.deploy")

    assert rows(run)["compute-docker-1"]["rolled_back"] is True
    assert "undo" not in {mode for _, mode in bad.runs}
    assert bad.runs[-1] == ("configure_compute", "roll_back")
    assert bad.state == CONVERTED
    assert bad.status == "enabled"


@pytest.mark.usefixtures("converted")
def test_a_docker_hypervisor_that_is_mended_under_instances_is_never_put_back(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    bad = cloud.hosts["compute-docker-1"]
    bad.servers = [{"uuid": "a-container", "name": "vm"}]
    bad.driver, bad.runs = False, []
    bad.faults["configure_compute", "apply"] = "fail"

    run = mistral.run("novadocker.deploy")

    assert {mode for _, mode in bad.runs} <= {"check", "apply"}
    assert bad.state == CONVERTED
    assert bad.status == "disabled"
    assert "not put back, as 1 instances live on it" in rows(run)["compute-docker-1"]["reason"]


def test_hosts_are_told_which_run_it_is(mistral: Mistral, cloud: FakeCloud) -> None:
    run = mistral.run("novadocker.deploy")

    told = {run_id for host in cloud.hosts.values() for run_id, _ in host.journal}
    assert told == {run["id"]}


def test_the_run_stops_when_too_many_hosts_failed(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.hosts["compute-docker-1"].faults["install_driver", "apply"] = "fail"

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "ERROR"
    assert cloud.hosts["compute-docker-1"].state == UNTOUCHED
    assert cloud.hosts["compute-docker-2"].state == UNTOUCHED
    assert cloud.hosts["compute-docker-2"].status == "enabled"
    assert rows(run)["compute-docker-2"]["reason"] == "not started"
    assert "1 hosts failed and max_failed is 0: 1 batches were not started" in run["state_info"]
    assert run["output"]["report"]["totals"]["failed"] == 1


def test_a_host_that_cannot_be_put_back_stays_out_of_service(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    bad = cloud.hosts["compute-docker-1"]
    bad.faults["configure_compute", "apply"] = "fail"
    bad.faults["install_driver", "roll_back"] = "fail"

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "ERROR"
    assert (bad.status, bad.disabled_reason) == (
        "disabled",
        f"novadocker failed: see {run['id']}",
    )
    assert "undoing install_driver failed" in rows(run)["compute-docker-1"]["reason"]
    assert "left disabled" in rows(run)["compute-docker-1"]["reason"]
    assert "rolled_back" not in rows(run)["compute-docker-1"]


def test_a_service_that_its_operator_disabled_stays_disabled(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.status, host.disabled_reason = "disabled", "new memory on Friday"

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "SUCCESS"
    assert host.state == CONVERTED
    assert (host.status, host.disabled_reason) == ("disabled", "new memory on Friday")


def test_a_service_that_a_lost_run_left_disabled_is_enabled(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.status, host.disabled_reason = "disabled", "novadocker: an-earlier-execution"

    mistral.run("novadocker.deploy")

    assert host.status == "enabled"


def test_a_host_that_does_not_answer_in_the_middle_fails(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "GRACE_S", -24)
    lost = cloud.hosts["compute-docker-1"]
    lost.faults["install_driver", "apply"] = "hang"

    run = mistral.run("novadocker.deploy", {"step_timeout_s": 30, "agent_timeout_s": 30})

    assert run["state"] == "ERROR"
    # Nobody can tell which of them it was at.
    assert rows(run)["compute-docker-1"]["step"] == "install_docker, install_driver"
    assert "did not answer in time" in rows(run)["compute-docker-1"]["reason"]
    # The step may have been half done when it was lost, so it is undone as well.
    assert ("install_driver", "roll_back") in lost.runs
    assert lost.state == UNTOUCHED


def test_an_empty_signal_is_no_success(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "GRACE_S", -24)
    cloud.hosts["compute-docker-1"].faults["install_docker", "apply"] = "unsigned"

    run = mistral.run("novadocker.deploy", {"step_timeout_s": 30, "agent_timeout_s": 30})

    assert run["state"] == "ERROR"
    assert rows(run)["compute-docker-1"]["step"] == "install_docker, install_driver"
    assert rows(run)["compute-docker-1"]["state"] == "failed"
    assert "no outcome with this host's signature" in rows(run)["compute-docker-1"]["reason"]


def test_computes_are_left_alone_when_a_controller_fails(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    cloud.hosts["controller"].faults["configure_glance", "apply"] = "fail"

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "ERROR"
    assert cloud.hosts["controller"].state == UNTOUCHED
    assert cloud.hosts["compute-docker-1"].state == UNTOUCHED
    assert rows(run)["controller"]["step"] == "configure_glance"
    assert rows(run)["compute-docker-1"]["reason"] == "not started"


def test_computes_are_left_alone_when_an_image_cannot_be_published(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    cloud.hosts["controller"].faults["export_image", "apply"] = "fail"

    run = mistral.run("novadocker.deploy")

    assert run["state"] == "ERROR"
    assert "export_image on controller: export_image broke on purpose" in run["state_info"]
    assert cloud.hosts["compute-docker-1"].state == UNTOUCHED
    assert cloud.glance_images == {}


def test_a_service_s_bad_moment_is_tried_again(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.failures += [
        ("GET", "os-services", 503),
        ("GET", "software_deployments", 502),
        ("PUT", "software_deployments", 500),
        ("POST", "os-aggregates$", 500),
    ]

    run = mistral.run("novadocker.deploy", timeout_s=120)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert cloud.failures == []


def test_hosts_are_put_back_when_a_service_stays_away(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.failures += [("POST", "os-aggregates$", 500)] * 1000

    run = mistral.run("novadocker.deploy", timeout_s=120)

    assert run["state"] == "ERROR"
    host = cloud.hosts["compute-docker-1"]
    assert (host.state, host.status) == (UNTOUCHED, "enabled")
    assert rows(run)["compute-docker-1"]["step"] == "isolate"
    # It is none of the host's doing.
    assert rows(run)["compute-docker-1"]["state"] == "unknown"
    assert run["output"]["report"]["totals"]["failed"] == 0
    assert "compute answered POST /os-aggregates with 500" in run["state_info"]


def test_all_computes_when_no_name_matches(mistral: Mistral, cloud: FakeCloud) -> None:
    run = mistral.run("novadocker.plan", {"match": "gpu"})

    hosts = run["output"]["report"]["hosts"]
    assert hosts["selected"] == ["compute-3", "compute-docker-1", "compute-docker-2"]
    assert hosts["rule"] == "all, since no name contains 'gpu'"


def test_a_plan_shows_and_changes_nothing(mistral: Mistral, cloud: FakeCloud) -> None:
    run = mistral.run("novadocker.plan")

    assert run["state"] == "SUCCESS"
    assert run["output"]["report"]["state"] == "planned"
    assert rows(run)["compute-docker-1"]["step"] == (
        "install_docker, install_driver, configure_compute"
    )
    assert writes(cloud) == []
    assert {mode for host in cloud.hosts.values() for _, mode in host.runs} == {"check"}


def test_a_run_can_be_held_to_a_plan(mistral: Mistral, cloud: FakeCloud) -> None:
    digest = mistral.run("novadocker.plan")["output"]["report"]["plan_digest"]

    other = mistral.run("novadocker.deploy", {"plan_digest": digest, "images": ["nginx"]})
    approved = mistral.run("novadocker.deploy", {"plan_digest": digest})

    assert other["state"] == "ERROR"
    assert "plan_digest: the plan is now sha256:" in other["state_info"]
    assert approved["state"] == "SUCCESS"


def test_a_dry_run_is_a_plan(mistral: Mistral, cloud: FakeCloud) -> None:
    said = refused(mistral, cloud, {"dry_run": True})

    assert "dry_run: True is not of type 'null'." in said
    assert "novadocker.plan shows what deploy would do" in said


def test_occupied_hosts_can_be_left_out(mistral: Mistral, cloud: FakeCloud) -> None:
    cloud.hosts["compute-docker-1"].servers = [{"uuid": "1", "name": "vm"}]

    run = mistral.run("novadocker.deploy", {"drain": "skip"})

    assert run["state"] == "SUCCESS"
    assert rows(run)["compute-docker-1"]["state"] == "skipped"
    assert cloud.hosts["compute-docker-1"].state == UNTOUCHED
    assert cloud.hosts["compute-docker-2"].state == CONVERTED


def test_the_operator_s_url_is_told(mistral: Mistral, cloud: FakeCloud) -> None:
    run = mistral.run("novadocker.plan", {"report_url": "https://horizon.test/runs"})

    assert run["output"]["url"] == "https://horizon.test/runs"
    assert run["output"]["message"].endswith("See https://horizon.test/runs")


def test_batches_and_what_may_fail_of_them_are_given_as_shares(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    for number in range(8):
        cloud.add_host(f"rack-{number}-docker", "compute")
    # Two of the ten fail, in the second and in the third batch.
    for name in ("compute-docker-2", "rack-3-docker"):
        cloud.hosts[name].faults["configure_compute", "apply"] = "fail"
    given = {"batch_sizes": "1,20%,50%", "images": []}

    run = mistral.run("novadocker.deploy", {**given, "max_failed": "20%"})

    assert run["output"]["report"]["state"] == "partial", mistral.tree(run["id"])
    batches = [task for task in mistral.tasks(run["id"]) if task["name"] == "switch_batch"]
    assert len(batches) == 4
    assert run["output"]["report"]["totals"]["failed"] == 2

    run = mistral.run("novadocker.undeploy", {**{"batch_sizes": [1, "50%"]}, "max_failed": "10%"})
    assert run["output"]["report"]["state"] == "done"
    run = mistral.run("novadocker.deploy", {**given, "max_failed": "10%"})
    assert "2 hosts failed and max_failed is 1" in run["output"]["message"]

# SPDX-License-Identifier: Apache-2.0
"""All that would keep hosts from being converted, of all hosts at once."""

from __future__ import annotations

from typing import Any

import pytest
from oslo_config import cfg

from novadocker_actions.actions import steps
from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import rows, writes

FIRST, SECOND = "compute-docker-1", "compute-docker-2"


def precheck(mistral: Mistral, cloud: FakeCloud, **inputs: Any) -> dict[str, Any]:
    """Return a run of precheck that has changed nothing."""
    run = mistral.run("novadocker.precheck", inputs)
    assert writes(cloud) == []
    assert {mode for host in cloud.hosts.values() for _, mode in host.runs} <= {"check"}
    return run


def findings(run: dict[str, Any]) -> dict[str, list[str]]:
    """Return what was found, and on which hosts."""
    return {item["finding"]: item["hosts"] for item in run["output"]["report"]["findings"]}


def test_a_cloud_that_can_be_converted_is_ready(mistral: Mistral, cloud: FakeCloud) -> None:
    run = precheck(mistral, cloud)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert run["output"]["report"]["state"] == "ready"
    assert findings(run) == {}
    assert (
        "nothing is in the way; 2 of 2 compute hosts can be converted" in run["output"]["message"]
    )
    # It has left nothing.
    assert cloud.trusts == {}


def test_all_findings_of_all_hosts_are_told_at_once_and_alike_ones_once(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "COLLECT_WAIT_S", 1)
    both = [cloud.hosts[FIRST], cloud.hosts[SECOND]]
    for host in both:
        host.faults["install_docker", "check"] = f"/var/lib/docker of {host.name} has no room"
    both[0].faults["install_driver", "check"] = "no wheel"
    both[0].nova = "30.1.0"
    both[1].servers = [{"uuid": "vm"}]
    cloud.hosts["compute-3"].faults["describe_host", "check"] = "hang-up"
    cloud.agents = [{"host": SECOND, "binary": "neutron-ovs-agent", "alive": False}]

    run = precheck(mistral, cloud, hosts=[FIRST, SECOND, "compute-3"], images=["no-such"])

    assert run["state"] == "ERROR"
    assert run["output"]["report"]["state"] == "findings", mistral.tree(run["id"])
    told, room = findings(run), "/var/lib/docker of this host has no room"
    assert told == {
        f"install_docker would fail on {FIRST}, {SECOND}: {room}": [FIRST, SECOND],
        f"{FIRST}: {FIRST} runs Nova 30.1.0, older than 2025.1 (31.0)": [FIRST],
        f"{FIRST}: install_driver would fail: no wheel": [FIRST],
        f"{SECOND}: 1 instances run on it: migrate or delete them": [SECOND],
        f"{SECOND}: neutron-ovs-agent of Neutron is not alive there": [SECOND],
        "compute-3 could not be described: hang-up": ["compute-3"],
        "images: the registry does not give no-such:latest (manifest unknown). Correct the "
        "reference, push the image, or let the controllers reach its registry.": [],
    }
    row = rows(run)[FIRST]
    assert row["state"] == "failed"
    assert "no room; compute-docker-1 runs Nova 30.1.0" in row["reason"]
    assert "7 findings" in run["output"]["message"]


@pytest.mark.parametrize(
    ("match", "told"),
    [
        ("docker", "alone: compute-docker-1, compute-docker-2"),
        ("gpu", "alone: compute-3, compute-docker-1, compute-docker-2"),
    ],
)
def test_a_cloud_on_which_nothing_is_enrolled_is_looked_at_through_its_apis(
    mistral: Mistral, cloud: FakeCloud, match: str, told: str
) -> None:
    cloud.deployments.clear()

    run = precheck(mistral, cloud, match=match)

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    assert f"looked at through the cloud's APIs {told}" in run["output"]["message"]
    assert all(host.runs == [] for host in cloud.hosts.values())


def test_what_is_wrong_with_services_is_told_together(
    mistral: Mistral, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.deployments.clear()
    cloud.engines = [{"binary": "heat-engine", "status": "down"}]
    cloud.resource_types.remove("OS::Heat::DeployedServer")
    cloud.failures += [("GET", "/neutron/v2.0/agents", 500)] * 30
    cloud.hosts[FIRST].servers = cloud.hosts[SECOND].servers = [{"uuid": "vm"}]
    monkeypatch.setattr(cloud, "_post_trust", lambda *_: (403, {"error": {"message": "no"}}))
    key = cfg.CONF.novadocker.message_key_file
    cfg.CONF.set_override("message_key_file", "/nowhere/message.key", group="novadocker")
    cfg.CONF.set_override("execution_field_size_limit_kb", 32, group="engine")
    try:
        run = precheck(mistral, cloud)
    finally:
        cfg.CONF.clear_override("execution_field_size_limit_kb", group="engine")
        cfg.CONF.set_override("message_key_file", key, group="novadocker")

    assert run["output"]["report"]["state"] == "findings", mistral.tree(run["id"])
    told = findings(run)
    text = "\n".join(told)
    for said in (
        "Heat: none of its engines is up",
        "Heat: it does not let you use OS::Heat::DeployedServer",
        "Neutron: network answered GET /v2.0/agents with 500",
        "Keystone: you cannot let Mistral's service user act for you",
        "message_key_file /nowhere/message.key: cannot be read by the Mistral executor",
        "Mistral: [engine] execution_field_size_limit_kb is 32, and a run needs 64",
    ):
        assert said in text
    both = f"{FIRST}, {SECOND}: 1 instances run on it: migrate or delete them"
    assert told[both] == [FIRST, SECOND]

# SPDX-License-Identifier: Apache-2.0
"""A host is taken out of the cloud's knowledge with its agent, and enrolled again."""

from __future__ import annotations

from typing import Any

from lab.hosts.access import Host

# Never converted by other tests: an agent cannot be taken off a host that is.
HOST = "compute-3"
PLAN = "plan"
# A predicate over host records; the match alone selects every compute.
WHERE = "$.availability_zone = 'nova' and $.name.endsWith('-3')"
AGENT = ("/opt/heat-agent", "/etc/os-collect-config.conf", "/var/lib/heat-config")

Hosts = dict[str, Host]


def test_a_host_is_taken_out_and_enrolled_again(
    lab: Hosts, run_workflow: Any, operator: Any
) -> None:
    try:
        operator("novadocker-enroll", "remove", HOST, timeout_s=300)
        listed = operator("novadocker-enroll", "list")
        left = lab[HOST].run(["find", *AGENT, "-maxdepth", "0"], check=False).stdout.split()
        refused = run_workflow(PLAN, {"hosts": [HOST]})
    finally:
        operator(
            *("novadocker-enroll", "add", "--pool", "computes", "--role", "compute"),
            *("--polling-interval", "2", "--wheels", "/srv/wheelhouse", HOST),
            timeout_s=600,
        )
    assert HOST not in listed
    assert "compute-docker-1" in listed
    assert left == []
    assert refused.state == "ERROR"
    assert f"no agent is enrolled on {HOST}" in refused.message
    assert "novadocker-enroll add" in refused.message

    assert HOST in operator("novadocker-enroll", "list")
    planned = run_workflow(PLAN, {"match": "compute", "where": WHERE})
    assert planned.state == "SUCCESS", planned.message
    assert planned.report.data["hosts"]["selected"] == [HOST]
    assert WHERE in planned.report.rule

# SPDX-License-Identifier: Apache-2.0
"""The node groups' configuration declared in a stack, without a workflow, and taken back by it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openstack.connection import Connection

from lab.hosts import listing
from lab.hosts.access import Host
from lab.machine import parallel

STACK = "test-node-groups"
TEMPLATE = ("-t", "node_groups.yaml")
SELECTED = ["compute-docker-1", "compute-docker-2"]
POOLS = ("controllers", "computes")

Hosts = dict[str, Host]


@pytest.fixture
def server_ids(cloud: Connection) -> dict[str, str]:
    """Heat's server of each enrolled host, as the stacks of the enrolment tell it."""
    servers = {}
    for pool in POOLS:
        stack = cloud.orchestration.get_stack(f"novadocker-hosts-{pool}")
        outputs = {output["output_key"]: output["output_value"] for output in stack.outputs}
        servers.update({name: host["server_id"] for name, host in outputs["inventory"].items()})
    return servers


@pytest.fixture
def stacks_may_push(lab: Hosts, operator: Any) -> Iterator[None]:
    """The hosts run what a stack pushes to them, and afterwards only what is signed, again."""

    def enrol(*options: str) -> None:
        def add(pool: str, names: list[str]) -> None:
            command = ("novadocker-enroll", "add", "--pool", pool, "--polling-interval", "2")
            operator(*command, *options, *names, timeout_s=600)

        pools = {"controllers": ["controller"], "computes": [n for n in lab if n != "controller"]}
        parallel.each(list(pools.items()), lambda pool: add(*pool))

    enrol("--trust-stacks")
    yield
    enrol()


@pytest.fixture
def no_stack_left(
    stacks_may_push: None,
    unconverted: None,
    cloud: Connection,
    run_workflow: Any,
    docker_hosts: Any,
) -> Iterator[None]:
    """Whatever becomes of the stack, there is none and no Docker hypervisor afterwards."""
    yield
    stack = cloud.orchestration.find_stack(STACK)
    if stack:
        cloud.orchestration.delete_stack(stack)
        cloud.orchestration.wait_for_delete(stack, wait=120)
        # By their records, hosts know what was done on them, whoever had it done.
        run_workflow("undeploy")


def parameters(server_ids: dict[str, str]) -> list[str]:
    """Return the stack's parameters as the command line takes them."""
    groups = {"controllers": ["controller"], "glance": ["controller"], "computes": SELECTED}
    values = {
        group: json.dumps({name: server_ids[name] for name in names})
        for group, names in groups.items()
    }
    values["batch_size"] = str(len(SELECTED))
    return [word for name, value in values.items() for word in ("--parameter", f"{name}={value}")]


def image_formats(cloud: Connection) -> list[str]:
    """Return the container formats that Glance's API takes."""
    schema = cloud.image.get("/schemas/image").json()
    return list(schema["properties"]["container_format"]["enum"])


def test_a_stack_converts_the_node_groups_and_gives_them_back(
    no_stack_left: None,
    server_ids: dict[str, str],
    lab: Hosts,
    cloud: Connection,
    operator: Any,
    await_stack: Any,
    docker_hosts: Any,
    eventually: Any,
) -> None:
    before = listing.take_all(lab)
    formats = image_formats(cloud)

    operator("openstack", "stack", "create", *TEMPLATE, *parameters(server_ids), STACK)
    await_stack(STACK, "CREATE")
    between = listing.take_all(lab)
    assert eventually(docker_hosts, lambda hosts: hosts == SELECTED) == SELECTED
    assert "docker" in image_formats(cloud)
    assert set(listing.touched(before, between)) == {"controller", *SELECTED}
    assert "docker.io" in between["controller"].packages

    # Heat waits for no host when it deletes a stack, so what was done is undone first.
    operator(
        *("openstack", "stack", "update", "--existing", "--parameter", "state=absent"),
        *(*TEMPLATE, STACK),
    )
    await_stack(STACK, "UPDATE")
    operator("openstack", "stack", "delete", "--yes", "--wait", STACK)
    assert eventually(docker_hosts, lambda hosts: hosts == []) == []
    assert image_formats(cloud) == formats
    assert listing.differing(before, listing.take_all(lab)) == {}

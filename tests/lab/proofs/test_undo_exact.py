# SPDX-License-Identifier: Apache-2.0
"""What was done is undone exactly: by each step, by the whole, and of runs that were cut short."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from openstack.connection import Connection

from lab.hosts.access import Host
from novadocker_actions import recipes
from novadocker_actions.plan import inputs
from novadocker_client.runs import Runs
from tests.lab.proofs import whole

pytestmark = pytest.mark.proof

BY_HAND = "compute-3"
HOSTS = ["compute-docker-1", "compute-docker-2"]
PACKAGE = "/usr/local/lib/novadocker/novadocker-host.pyz"
CUT_SHORT_IN = ("convert_controllers", "stage", "switch_batch")
STEPS = (
    *((BY_HAND, step) for step in recipes.for_role("compute")),
    *(("controller", step) for step in recipes.for_role("controller,glance")),
)

Hosts = dict[str, Host]
figures: dict[str, int] = {}


def run_step(host: Host, step: str, mode: str) -> dict[str, Any]:
    """Have a host run one step by hand, as its operator would; return its outputs."""
    settings = {**inputs.validate("deploy", {}), "workflow": "deploy"}
    role = "compute" if host.name == BY_HAND else "controller,glance"
    environment = {"mode": mode, "timeout_s": "600", "run_id": "by-hand"}
    if mode == "apply":
        environment["settings"] = json.dumps(recipes.settings_of(step, role, settings))
    argv = ["python3", "-I", PACKAGE, step]
    done = host.run(argv, env=environment, timeout_s=700, check=False)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["deploy_result"] == "ok", f"{mode} of {step}: {done.stdout} {done.stderr}"
    return dict(told)


@pytest.fixture(scope="module")
def cleared(run_workflow: Any, docker_hosts: Any) -> None:
    """A cloud without a Docker hypervisor, and controllers without Docker."""
    execution = run_workflow("undeploy", {"hosts": docker_hosts() or HOSTS})
    assert execution.state == "SUCCESS", execution.message


def undone_in_reverse(host: Host, steps: list[str]) -> None:
    """Require that undoing goes back through what each step had found."""
    states = [whole.take(host)]
    for step in steps:
        assert run_step(host, step, "apply")["changed"] == "true", step
        states.append(whole.take(host))
    for step in reversed(steps):
        after = states.pop()
        assert whole.differences(states[-1], after), f"{step} has changed nothing"
        run_step(host, step, "undo")
        differences = whole.differences(states[-1], whole.take(host))
        print(f"undo of {step}: {len(differences)} differences {differences[:20]}")
        assert differences == [], step
        figures[f"{step} on {host.name}"] = len(states[-1])


def test_each_step_of_a_compute_host_is_undone_exactly(lab: Hosts) -> None:
    undone_in_reverse(lab[BY_HAND], [step for name, step in STEPS if name == BY_HAND])


def test_each_step_of_a_controller_is_undone_exactly(cleared: None, lab: Hosts) -> None:
    undone_in_reverse(lab["controller"], [step for name, step in STEPS if name == "controller"])


def placement(cloud: Connection) -> Mapping[str, str]:
    """Return what Placement and Nova's aggregates have of the hosts."""
    state = {}
    for provider in cloud.placement.get("/resource_providers").json()["resource_providers"]:
        path = f"/resource_providers/{provider['uuid']}/traits"
        traits = cloud.placement.get(path, microversion="1.6").json()["traits"]
        state[f"traits of {provider['name']}"] = " ".join(sorted(traits))
    state.update(
        {
            f"aggregate {aggregate.name}": str(aggregate.hosts)
            for aggregate in cloud.compute.aggregates()
        }
    )
    for service in cloud.compute.services(binary="nova-compute"):
        state[f"service {service.host}"] = f"{service.status} {service.disabled_reason or ''}"
    return state


@pytest.mark.field_case("K7.3")
@pytest.mark.parametrize("phase", [*CUT_SHORT_IN, ""], ids=[*CUT_SHORT_IN, "to its end"])
def test_a_run_is_undone_exactly(
    phase: str,
    cleared: None,
    lab: Hosts,
    cloud: Connection,
    runs: Runs,
    await_task: Any,
    run_workflow: Any,
) -> None:
    names = ["controller", *HOSTS]
    before = {name: whole.take(lab[name]) for name in names}
    cloud_before = placement(cloud)
    run = runs.start("deploy", {"hosts": HOSTS, "batch_size": 1})
    if phase:
        assert await_task(run.id, phase), runs.get(run.id).message
        runs.stop(run.id)
    ended = runs.wait(run.id, timeout_s=1200)
    assert ended.state == ("CANCELLED" if phase else "SUCCESS"), ended.message

    undone = run_workflow("undeploy", {"hosts": HOSTS, "remove_images": True}, 1200)

    assert undone.state == "SUCCESS", undone.message
    for name in names:
        differences = whole.differences(before[name], whole.take(lab[name]))
        print(f"{name}: {len(differences)} differences {differences[:20]}")
        assert differences == [], name
        figures[f"{phase or 'a whole run'} on {name}"] = len(before[name])
    differences = whole.differences(cloud_before, placement(cloud))
    print(f"the cloud: {len(differences)} differences {differences}")
    assert differences == []


def test_enough_was_compared() -> None:
    total = sum(figures.values())
    print(
        f"figures: {len(STEPS)} steps and {len(CUT_SHORT_IN) + 1} runs undone,"
        f" {total} files, units, packages, groups, users, settings and filters compared,"
        " 0 differences"
    )
    assert len(figures) == len(STEPS) + 3 * (len(CUT_SHORT_IN) + 1)

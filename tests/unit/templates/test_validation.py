# SPDX-License-Identifier: Apache-2.0
"""Every template and environment passes Heat's own validation, and says what we mean."""

from __future__ import annotations

import ast
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
import yaml
from heat.common import exception
from heat.engine import constraints, resource
from heat.engine.resources.openstack.nova import server

from novadocker_actions import host_package
from novadocker_actions.cloud import messages
from novadocker_actions.enrolment import pools

TEMPLATES = pathlib.Path(__file__).parents[3] / "heat_templates"
HOSTS = {"hosts": ["compute-4", "compute-5"], "host_count": 2}
POOL = {**HOSTS, "nova_settings": {"files": {"/etc/nova/nova.conf": {"DEFAULT": {"a": "b"}}}}}
GROUPS = {
    "controllers": {"controller": "id-0"},
    "glance": {"controller": "id-0"},
    "computes": {"compute-1": "id-1", "compute-2": "id-2"},
}
COMPUTE_STEPS = ["install_docker", "install_driver", "configure_compute"]


def test_enrolment_is_valid(validate):
    given = {"pool": "computes", "roles": ["compute"], "hosts": HOSTS["hosts"]}
    made = validate("enrolment.yaml", given)
    assert {"greeting"} == set(made)


def test_a_pool_of_hosts_is_valid_and_flat(validate):
    text = pools.template(HOSTS["hosts"])
    made = validate(text, {"pool": "computes", "hosts": HOSTS["hosts"]})
    assert set(made) == {
        "greeting",
        *("server-compute-4", "mailbox-compute-4", "server-compute-5", "mailbox-compute-5"),
    }
    assert {item.type() for item in made.values()} == {
        "OS::Heat::SoftwareConfig",
        "OS::Heat::DeployedServer",
        "OS::Heat::SoftwareDeployment",
    }


def test_a_host_more_changes_nothing_of_the_others():
    few, more = pools.template(["a", "b"]), pools.template(["a", "b", "c"])
    assert {name: more["resources"][name] for name in few["resources"]} == few["resources"]
    large = pools.template(f"compute-{number:059}" for number in range(pools.HOSTS_A_STACK))
    assert len(large["resources"]) < 1000
    assert len(json.dumps(large)) < 512 * 1024


def test_enrolment_refuses_a_pool_name_that_is_no_stack_name(validate):
    with pytest.raises(exception.StackValidationFailed, match="pool"):
        validate("enrolment.yaml", {"pool": "no/slash"})


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("kind", ["deployed_server", "nova_server"])
def test_compute_pool_is_valid(validate, kind, state, monkeypatch):
    # Whether the flavor, the image and the network exist is asked of a cloud.
    monkeypatch.setattr(constraints.CustomConstraint, "validate", lambda *args, **kwargs: None)
    monkeypatch.setattr(server.Server, "validate", resource.Resource.validate)
    made = validate("compute_pool.yaml", {**POOL, "state": state}, f"environments/{kind}.yaml")
    assert sorted(made) == ["members", "package"]


def test_compute_pool_needs_an_environment(validate):
    with pytest.raises(exception.StackValidationFailed, match="Novadocker::Pool::Server"):
        validate("compute_pool.yaml", POOL)


@pytest.mark.parametrize("state", ["present", "absent"])
def test_node_groups_are_valid(validate, state):
    made = validate("node_groups.yaml", {**GROUPS, "state": state})
    undone = {name for name in made if name.startswith("undo_")}
    assert bool(undone) == (state == "absent")


def _resources(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((TEMPLATES / name).read_text())["resources"])


def _chain(resources: dict[str, Any], last: str) -> list[str]:
    """Return the deployments that come before one, and itself, in order."""
    chain = [last]
    while resources[chain[0]].get("depends_on"):
        chain.insert(0, resources[chain[0]]["depends_on"])
    return chain


def _mode(item: dict[str, Any]) -> str:
    return str(item["properties"]["input_values"]["mode"])


def test_a_pool_host_is_undone_in_the_opposite_order():
    resources = _resources("compute_pool_host.yaml")
    done = _chain(resources, "mailbox")[:-1]
    undone = _chain(resources, "undo_install_nova_compute")
    assert done == ["install_package", "install_nova_compute", *COMPUTE_STEPS]
    # What is undone comes out of the package, too.
    assert undone == ["install_package", *(f"undo_{step}" for step in reversed(done[1:]))]
    undone = undone[1:]
    assert {_mode(resources[name]) for name in done} == {"apply"}
    assert {_mode(resources[name]) for name in undone} == {"undo"}


def test_node_groups_go_controllers_first_and_back_last():
    resources = _resources("node_groups.yaml")
    done = _chain(resources, "computes_verify_host")
    undone = _chain(resources, "undo_controllers_install_docker")
    assert done == [
        "install_package",
        "controllers_install_docker",
        "glance_configure_glance",
        *(f"computes_{step}" for step in [*COMPUTE_STEPS, "verify_host"]),
    ]
    assert undone == ["install_package", *(f"undo_{name}" for name in reversed(done[1:-1]))]


def _step(config: dict[str, Any]) -> str:
    """Return the step that a config runs out of the package."""
    program, step = config["config"].rsplit(maxsplit=1)
    assert program == (
        '#!/bin/sh\nexec python3 -I "$(readlink -f /usr/local/lib/novadocker/novadocker-host.pyz)"'
    )
    return str(step)


@pytest.mark.parametrize("template", ["compute_pool_host.yaml", "node_groups.yaml"])
def test_steps_come_out_of_the_package_and_get_text_inputs(template):
    configs = {
        name: item["properties"]
        for name, item in _resources(template).items()
        if item["type"] == "OS::Heat::SoftwareConfig"
    }
    assert configs
    for name, config in configs.items():
        assert f"{_step(config)}_config" == name
        assert (TEMPLATES / "configs" / f"{_step(config)}.py").is_file()
        types = {item["name"]: item["type"] for item in config["inputs"]}
        # The script hook of heat-agents hands numbers to the process as they are, which fails.
        assert types == {"mode": "String", "settings": "Json", "timeout_s": "String"}
        assert {"deploy_result", "changed", "report"} <= {
            item["name"] for item in config["outputs"]
        }


def test_a_new_mailbox_asks_for_nothing_and_any_host_answers():
    config = _resources("enrolment.yaml")["greeting"]["properties"]
    assert config["group"] == messages.GROUP
    assert json.loads(config["config"]) == {"format": messages.FORMAT, "steps": []}


def test_the_handle_beside_the_keys_keeps_the_last_word_of_each_host(validate, monkeypatch):
    made = validate("host_keys.yaml", {"public_keys": {"compute-4": "a-key"}})
    assert set(made) == {"progress"}
    handle, kept = made["progress"], {}

    def keep(metadata, merge_metadata):
        kept.update(merge_metadata(metadata, dict(kept)))

    monkeypatch.setattr(handle, "metadata_set", keep)
    for host, data in (("compute-4", "first"), ("compute-5", "other"), ("compute-4", "last")):
        word = {"id": host, "status": "SUCCESS", "reason": "is at step 2 of 4", "data": data}
        assert handle.handle_signal(word) == "status:SUCCESS reason:is at step 2 of 4"
    assert {host: entry["data"] for host, entry in kept.items()} == {
        "compute-4": "last",
        "compute-5": "other",
    }


def test_a_stack_brings_the_package_that_messages_ask_for(validate, tmp_path):
    made = validate("host_package.yaml", {})
    config = made["config"].properties
    script = tmp_path / "script"
    script.write_text(config["config"])
    types = {item["name"]: item["type"] for item in config["inputs"]}
    assert types == {"mode": "String", "timeout_s": "String"}
    environment = {
        **os.environ,
        "NOVADOCKER_ROOT": str(tmp_path / "root"),
        "heat_outputs_path": str(tmp_path / "out"),
        "mode": "apply",
        "timeout_s": "60",
    }
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False
    )
    assert (tmp_path / "out.deploy_result").read_text() == "ok", done.stderr
    place = tmp_path / "root/usr/local/lib/novadocker"
    assert (place / "novadocker-host.pyz").resolve() == place / f"{host_package.digest()}.pyz"
    assert (place / "novadocker-host.pyz").read_bytes() == host_package.build()


@pytest.mark.parametrize("name", ["compute_pool_host.yaml", "node_groups.yaml"])
def test_settings_in_templates_are_settings_of_the_steps(name):
    resources = _resources(name)
    for item in resources.values():
        values = item.get("properties", {}).get("input_values", {})
        settings = values.get("settings")
        if not settings or "get_param" in settings:
            continue
        config = resources[item["properties"]["config"]["get_resource"]]["properties"]
        schema = _schema(TEMPLATES / "configs" / f"{_step(config)}.py")
        assert set(settings) <= set(schema["properties"])


def _schema(path: pathlib.Path) -> dict[str, Any]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SETTINGS":
            return dict(ast.literal_eval(node.value))
    raise AssertionError(f"{path} declares no SETTINGS")


def test_every_parameter_and_output_is_described():
    for path in TEMPLATES.glob("*.yaml"):
        body = yaml.safe_load(path.read_text())
        for part in ("parameters", "outputs"):
            for name, item in body.get(part, {}).items():
                assert item.get("description"), f"{path.name}: {part} {name}"

# SPDX-License-Identifier: Apache-2.0
"""Host steps as the actions see them: scripts, schemas, and the settings that they are given."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from novadocker_actions import host_steps, recipes, resources
from novadocker_actions.actions import plan
from novadocker_actions.errors import MissingFile, Refused
from novadocker_actions.plan import inputs


@pytest.mark.parametrize("role", ["compute", "controller,glance"])
@pytest.mark.parametrize("step", [*recipes.CONVERTING_STEPS, *recipes.LOOKING_STEPS])
def test_the_settings_of_a_run_fit_the_step_s_schema(step: recipes.HostStep, role: str) -> None:
    settings = inputs.validate("deploy", {})

    host_steps.check_settings(step.name, step.settings(role, settings))


@pytest.mark.parametrize("name", ["url", "index"])
def test_an_address_that_a_run_takes_is_one_that_the_step_takes(name: str) -> None:
    declared = host_steps.settings_schema("install_driver")["properties"][name]

    assert inputs.FIELDS[f"driver_{name}"][1]["pattern"] == declared["pattern"]


def test_what_a_step_would_refuse_is_refused_before_a_run_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schema = {"type": "string", "maxLength": 200}
    monkeypatch.setitem(inputs.FIELDS, "driver_index", (None, schema, ""))
    given = {"driver_index": "ftp://index.test"}

    with pytest.raises(Refused, match="install_driver index: 'ftp://index.test'"):
        plan.checked("deploy", given)


def test_settings_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(Refused, match="install_docker users: 'nova' is not of type 'array'"):
        host_steps.check_settings("install_docker", {"users": "nova"})
    with pytest.raises(Refused, match="install_docker users"):
        host_steps.check_settings("install_docker", {"users": ["nova\n"]})


def test_the_operator_s_daemon_settings_win() -> None:
    settings = inputs.validate("deploy", {"docker": {"live-restore": False, "debug": True}})
    daemon = recipes.settings_of("install_docker", "compute", settings)["daemon_settings"]

    assert (daemon["live-restore"], daemon["debug"], daemon["bridge"]) == (False, True, "none")


@pytest.mark.field_case("K2.2")
@pytest.mark.parametrize(
    "docker",
    [
        {"icc": False, "no-new-privileges": True},
        {"bip": "10.1.0.1/24"},
        {"fixed-cidr": "10.1.0.0/24"},
        {"bridge": "br-ops"},
    ],
)
def test_settings_that_ask_for_the_engines_networks_keep_them(docker: dict[str, Any]) -> None:
    settings = inputs.validate("deploy", {"docker": docker})
    daemon = recipes.settings_of("install_docker", "compute", settings)["daemon_settings"]

    assert daemon == {"live-restore": True, **recipes._LOG_OPTIONS, **docker}


def test_the_steps_of_a_controller_depend_on_its_roles() -> None:
    assert recipes.for_role("controller") == ["install_docker"]
    assert recipes.for_role("glance") == ["configure_glance"]
    assert recipes.for_role("controller,glance") == ["install_docker", "configure_glance"]


def test_a_step_that_there_is_not() -> None:
    with pytest.raises(MissingFile, match="no_such_step.py is in none of"):
        host_steps.settings_schema("no_such_step")


def test_files_are_found_where_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "share" / "novadocker" / "workbooks"
    installed.mkdir(parents=True)
    (installed / "novadocker.yaml").write_text("x")
    monkeypatch.setattr(resources, "_CHECKOUT", tmp_path / "no-checkout")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    assert resources.text("workbooks/novadocker.yaml") == "x"

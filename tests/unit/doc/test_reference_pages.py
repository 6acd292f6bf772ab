# SPDX-License-Identifier: Apache-2.0
"""The reference is written from the code: nothing that the code has is left out of it."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import docutils.core
import docutils.nodes
import docutils.parsers.rst.roles
import pytest
import yaml
from oslo_config import cfg

from lab.stage.tempest import report, results
from lab.stage.tempest.results import TestResult as Result
from novadocker_actions.plan import inputs
from tests import tempest_run

TOP = Path(__file__).resolve().parents[3]


def module(name: str) -> Any:
    """Import a part of the Sphinx extension as Sphinx does."""
    path = str(TOP / "doc" / "ext")
    if path not in sys.path:
        sys.path.append(path)
    return importlib.import_module(f"novadocker_reference.{name}")


def check(page: str) -> None:
    """Fail where docutils has anything to say about a page (Sphinx's own directives aside)."""
    docutils.parsers.rst.roles.register_generic_role("ref", docutils.nodes.reference)
    text = page.replace(".. code-block:: console", "::").replace(".. code-block:: yaml", "::")
    docutils.core.publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 2})


WORKBOOK = """
version: '2.0'
name: book
workflows:
  deploy:
    description: Converts *hosts* of a_ cloud.
    input: [name, size: 3, hosts: null]
    output: {message: <% $.message %>}
    tasks:
      first:
        action: book.first name=<% $.name %>
        on-success: [second: <% $.size > 2 %>, fail]
      second:
        workflow: _inner
        on-complete: {publish: {branch: {a: 1}}, next: [first]}
  _inner:
    tasks:
      deep: {action: std.noop}
"""


def test_workflow_page_has_inputs_tasks_and_private_workflows(tmp_path: Path) -> None:
    (tmp_path / "book.yaml").write_text(WORKBOOK)
    pages = module("workflows").pages(tmp_path, {"size": "Give a number."})
    assert list(pages) == ["book.deploy"]
    page = pages["book.deploy"]
    check(page)
    for text in ("``name``", "*required*", "``3``", "``null``", "Give a number.", "``first``",
                 ":ref:`book.first <action-book.first>`", "on-success: ``second``, ``fail``",
                 "on-complete: ``first``", "``deep``",
                 "Converts \\*hosts\\* of a\\_ cloud."):  # fmt: skip
        assert text in page


@pytest.mark.parametrize("name", ["templates", "host_steps", "tempest"])
def test_empty_directory_is_an_error_not_an_empty_reference(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)):
        module(name).pages(tmp_path)


def test_host_step_page_shows_settings_without_running_the_script(tmp_path: Path) -> None:
    (tmp_path / "step.py").write_text(
        '"""Does it."""\nraise SystemExit(1)\n'
        'SETTINGS = {"required": ["a"], "properties": {"a": {"type": "string"},'
        ' "b": {"type": ["integer", "null"], "default": 7, "description": "How many."}}}\n'
    )
    page = module("host_steps").pages(tmp_path)["step"]
    check(page)
    for text in ("Does it.", "*required*", "``integer or null``", "``7``", "How many."):
        assert text in page


def test_template_page_has_parameters_with_constraints(tmp_path: Path) -> None:
    template = {
        "heat_template_version": "2021-04-16",
        "description": "A pool.",
        "parameters": {
            "state": {
                "type": "string",
                "default": "present",
                "description": "What is wanted.",
                "constraints": [{"allowed_values": ["present", "absent"]}],
            }
        },
        "resources": {"host": {"type": "OS::Heat::DeployedServer"}},
        "outputs": {"inventory": {"description": "Who is who.", "value": 1}},
    }
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump(template))
    page = module("templates").pages(tmp_path)["pool"]
    check(page)
    for text in ("``state``", "``present``", "Allowed values", "OS::Heat::DeployedServer",
                 "``inventory``", "Who is who."):  # fmt: skip
        assert text in page


def test_options_page_has_type_default_and_meaning() -> None:
    option = cfg.IntOpt("pids_limit", default=512, help="Processes of a *container*.")
    page = module("options").pages([("docker", [option])])["docker"]
    check(page)
    for text in ("``pids_limit``", "``512``", "Processes of a \\*container\\*."):
        assert text in page


def test_every_action_workflow_step_and_template_of_the_project_has_a_page() -> None:
    configs = TOP / "heat_templates" / "configs"
    places = {
        "actions": TOP / "pyproject.toml",
        "host_steps": configs,
        "templates": TOP / "heat_templates",
        "tempest": TOP / "doc" / "results",
    }
    made = [module(name).pages(where) for name, where in places.items()]
    made.append(module("workflows").pages(TOP / "workbooks", {}))
    for pages in made:
        assert pages
        for page in pages.values():
            check(page)


def test_every_input_of_a_workflow_says_what_it_takes() -> None:
    book = yaml.safe_load((TOP / "workbooks" / "novadocker.yaml").read_text())
    for name, workflow in book["workflows"].items():
        if not name.startswith("_"):
            taken = {key for key, _ in module("workflows").inputs(workflow)}
            assert taken <= set(inputs.FIELDS), name


def tempest_page(summary: results.Summary) -> str:
    """Return the page of a run, by way of the record as it is committed."""
    record = json.dumps(report.record(summary, "a machine", 120))
    return str(module("tempest").page(json.loads(record)))


def test_the_page_has_each_test_and_means_nothing_else_to_sphinx() -> None:
    text = tempest_page(tempest_run.summary())
    check(text)
    for test in tempest_run.LISTED:
        assert f"``{results.plain_name(test).replace('tempest.', '', 1)}``" in text
    assert r"a\_fault: \<x\>" in text
    assert "It took 2 minutes on a machine." in text


def test_the_page_is_the_same_whatever_the_order_of_the_tests() -> None:
    outcomes = (
        Result("tempest.b", "SKIPPED", "Found networks: [{'id': 'of this cloud'}]"),
        Result("tempest.c", "SKIPPED", "Found networks: [{'id': 'of another'}]"),
        Result("tempest.a", "ok"),
        Result("tempest.d", "SKIPPED", "another reason"),
    )
    pages = {
        tempest_page(results.Summary(ordered, (), (), (4, 1, 3)))
        for ordered in (outcomes, outcomes[::-1])
    }
    (text,) = pages
    assert "   * - Found networks\n     - 2\n   * - another reason\n     - 1\n" in text
    assert "'id'" not in text

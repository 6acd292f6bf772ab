# SPDX-License-Identifier: Apache-2.0
"""Tempest finds the plug-in, its options, its client and its tests."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
from oslo_config import cfg

from tempest_plugin.plugin import NovadockerTempestPlugin

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
TESTS = CHECKOUT / "tempest_plugin" / "tests"


def test_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield f"{path.name}:{node.name}", node


test_functions.__test__ = False  # type: ignore[attr-defined]


def test_each_test_has_an_id_of_its_own() -> None:
    names: dict[str, str] = {}
    for name, function in test_functions():
        decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
        ids = re.findall(r"decorators\.idempotent_id\('(.+?)'\)", "\n".join(decorators))
        assert len(ids) == 1, name
        assert str(uuid.UUID(ids[0])) == ids[0], name
        assert ids[0] not in names, f"{name} has the ID of {names.get(ids[0])}"
        names[ids[0]] = name
    assert len(names) >= 13


def test_options_register_with_their_groups() -> None:
    conf = cfg.ConfigOpts()
    plugin = NovadockerTempestPlugin()
    plugin.register_opts(conf)
    conf([])
    assert conf.service_available.novadocker is True
    assert conf.novadocker.catalog_type == "workflowv2"
    for group, options in plugin.get_opt_lists():
        for option in options:
            assert option.help, f"[{group}] {option.name} says nothing of itself"
            assert conf[group][option.dest] == option.default


def test_tests_are_where_the_plugin_says() -> None:
    directory, top = NovadockerTempestPlugin().load_tests()
    assert pathlib.Path(directory) == TESTS
    assert pathlib.Path(top) == CHECKOUT


@pytest.fixture
def tempest_env(tmp_path: pathlib.Path) -> dict[str, str]:
    """Give an environment in which the plug-in is installed, or as good as installed."""
    paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    entry_points = importlib.metadata.entry_points(group="tempest.test_plugins")
    if "novadocker" not in entry_points.names:
        info = tmp_path / "site" / "novadocker_deploy-0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: novadocker-deploy\n")
        (info / "entry_points.txt").write_text(
            "[tempest.test_plugins]\nnovadocker = tempest_plugin.plugin:NovadockerTempestPlugin\n"
        )
        paths.insert(0, str(info.parent))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_tempest_lists_every_test(tempest_env: dict[str, str], tmp_path: pathlib.Path) -> None:
    workspace = tmp_path / "workspace"
    tempest = [sys.executable, "-m", "tempest.cmd.main"]
    registry = ["--workspace-path", str(tmp_path / "workspaces.yaml")]
    subprocess.run(
        [*tempest, "init", *registry, str(workspace)],
        env=tempest_env,
        check=True,
        capture_output=True,
    )
    listed = subprocess.run(
        [*tempest, "run", "--regex", "^tempest_plugin", "--list-tests"],
        cwd=workspace,
        env=tempest_env,
        check=True,
        capture_output=True,
        text=True,
    )
    names = re.findall(r"^tempest_plugin\.tests\.\S+\.(test_\w+)\[", listed.stdout, re.MULTILINE)
    assert sorted(names) == sorted(function.name for _, function in test_functions())

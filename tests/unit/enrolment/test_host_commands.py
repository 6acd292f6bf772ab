# SPDX-License-Identifier: Apache-2.0
"""``openstack docker host add|attach|update|remove``."""

from __future__ import annotations

import argparse
import importlib
import tomllib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from novadocker_actions.cmd import enroll, hosts
from novadocker_actions.enrolment.stacks import Enrolment
from novadocker_actions.errors import CloudError, Refused
from novadocker_client.tests.commands import Ended, ended
from tests.fake_service import session_with

TOP = Path(__file__).parents[3]
POOLS = """
pools:
  controllers: {roles: [controller, glance], hosts: [controller-1]}
  computes: {transport: heat, hosts: [compute-1, compute-2=10.0.0.2]}
"""


Execute = Callable[..., Ended]


@pytest.fixture
def execute(capsys: pytest.CaptureFixture[str]) -> Execute:
    """Run a command as OpenStackClient does."""

    def run(command: type[Any], *argv: str) -> Ended:
        connection = types.SimpleNamespace(orchestration=session_with(lambda *_: (500, {})))
        manager = types.SimpleNamespace(sdk_connection=connection)
        return ended(command, argv, manager, capsys)

    return run


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[argparse.Namespace]:
    """What pools are enrolled with; Heat has one host more in the second."""
    told: list[argparse.Namespace] = []
    there = {"hosts": '["compute-1", "compute-2", "compute-9"]', "removed": "[]"}
    monkeypatch.setattr(enroll, "run_add", lambda _enrol, arguments: told.append(arguments))
    monkeypatch.setattr(
        Enrolment,
        "pools",
        lambda _enrol: [{"stack_name": "novadocker-hosts-computes", "parameters": there}],
    )
    return told


@pytest.fixture
def pools(tmp_path: Path) -> Path:
    """A file of pools."""
    path = tmp_path / "pools.yaml"
    path.write_text(POOLS)
    return path


def test_hosts_are_added_as_by_the_command_of_the_bundles_own(
    execute: Execute, added: list[argparse.Namespace]
) -> None:
    argv = ["--pool", "computes", "--role", "compute", "--ssh-user", "ops", "a", "b=10.0.0.9"]
    assert execute(hosts.Add, *argv).code == hosts.DONE
    (told,) = added
    wanted = enroll.build_parser().parse_args(["add", *argv])
    # Of the other command alone are the cloud's name and the function to be run.
    own = {name for name in vars(wanted) if name not in ("os_cloud", "run")}
    assert {name: getattr(told, name) for name in own} == {
        name: getattr(wanted, name) for name in own
    }


def test_a_file_enrols_its_pools_and_tells_which_hosts_it_does_not_name(
    execute: Execute, added: list[argparse.Namespace], pools: Path
) -> None:
    ended = execute(hosts.Add, "--file", str(pools), "--polling-interval", "7")
    assert ended.code == hosts.DONE
    assert [(x.pool, x.role, x.transport, x.hosts, x.polling_interval) for x in added] == [
        ("controllers", ["controller", "glance"], None, ["controller-1"], 7),
        ("computes", None, "heat", ["compute-1", "compute-2=10.0.0.2"], 7),
    ]
    assert f"computes: not in {pools}: compute-9. They stay enrolled" in ended.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pools: {a: {hosts: []}}", "pools.a.hosts"),
        ("pools: {a: {hosts: [x], role: compute}}", "pools.a: Additional properties"),
        ("pools: {a: {hosts: [x], roles: [king]}}", "pools.a.roles.0: 'king' is not one of"),
        ("pools: {a: {hosts: [x]}, b: {hosts: [x=10.0.0.1]}}", "x is in a and b. Have it in one."),
        ("[1", "cannot be read"),
        ("hosts: [x]", "the whole of it"),
    ],
)
def test_a_file_that_does_not_fit_enrols_nothing_and_names_the_place(
    execute: Execute, added: list[argparse.Namespace], tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "pools.yaml"
    path.write_text(text)
    ended = execute(hosts.Add, "-f", str(path))
    assert (ended.code, added) == (hosts.REFUSED, [])
    assert ended.told.startswith("Refused: --file")
    assert said in ended.told


@pytest.mark.parametrize("argv", [["host-1"], ["--pool", "p"], []])
def test_neither_a_pool_with_hosts_nor_a_file_is_refused(
    execute: Execute, added: list[argparse.Namespace], argv: list[str]
) -> None:
    assert execute(hosts.Add, *argv).code == hosts.REFUSED
    assert added == []


@pytest.mark.parametrize("more", [["host-1"], ["--pool", "p"], ["--role", "compute"]])
def test_a_file_and_what_it_says_are_not_both_taken(
    execute: Execute, added: list[argparse.Namespace], pools: Path, more: list[str]
) -> None:
    assert execute(hosts.Add, "-f", str(pools), *more).code == hosts.REFUSED
    assert added == []


@pytest.mark.parametrize(
    ("command", "function", "argv"),
    [
        (hosts.Attach, "run_attach", ["a-stack", "h=10.0.0.1"]),
        (hosts.Update, "run_update", ["h"]),
        (hosts.Remove, "run_remove", ["--forget", "h"]),
    ],
)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (None, hosts.DONE),
        (Refused("host", "h is not enrolled.", "See the list."), hosts.REFUSED),
        (CloudError("orchestration", "GET /stacks", 503, "away"), hosts.FAILED),
    ],
)
def test_a_command_ends_as_what_it_does_ends(
    execute: Execute,
    monkeypatch: pytest.MonkeyPatch,
    command: type[Any],
    function: str,
    argv: list[str],
    fault: Exception | None,
    code: int,
) -> None:
    called = mock.Mock(side_effect=fault)
    monkeypatch.setattr(enroll, function, called)
    ended = execute(command, *argv)
    assert ended.code == code
    called.assert_called_once()
    assert (str(fault) in ended.told) is (fault is not None)


def test_the_commands_are_those_of_the_group_that_the_client_loads() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    commands = project["entry-points"]["openstack.novadocker.v1"]
    assert set(commands) == {f"docker_host_{x}" for x in ("add", "attach", "update", "remove")}
    for place in commands.values():
        module, _, name = place.partition(":")
        assert getattr(importlib.import_module(module), name)

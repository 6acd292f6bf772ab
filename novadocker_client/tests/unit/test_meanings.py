# SPDX-License-Identifier: Apache-2.0
"""The words for workflows, inputs and steps."""

from __future__ import annotations

import pathlib
import tomllib

import pytest

from novadocker_client import meanings

ROOM = pathlib.Path(__file__).parents[2]


def test_each_input_that_a_workflow_takes_has_a_meaning() -> None:
    taken = {name for workflow in meanings.WORKFLOWS.values() for name in workflow.inputs}
    assert taken == set(meanings.INPUTS)


def test_meanings_are_sentences() -> None:
    for entry in (*meanings.INPUTS.values(), *meanings.WORKFLOWS.values()):
        assert entry.meaning[0].isupper()
        assert entry.meaning.endswith(".")
    for step in meanings.STEPS.values():
        assert step.title[0].isupper()
        assert not step.title.endswith(".")
        assert not step.done.endswith(".")


@pytest.mark.parametrize(("text", "share"), [("3", 3), ("0", 0), ("5%", "5%"), ("100%", "100%")])
def test_a_share_is_a_number_or_a_percentage(text: str, share: int | str) -> None:
    assert meanings.share(text) == share


@pytest.mark.parametrize("text", ["", "some", "-3", "5 %", "101%", "05%", "1.5", "%", "\u0663"])
def test_what_is_neither_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number nor a percentage"):
        meanings.share(text)


def test_a_step_without_words_is_called_by_its_name() -> None:
    assert meanings.step("_stage_hosts").title == "Stage hosts"
    assert meanings.step("").title == ""


def test_the_wheel_has_all_packages_but_the_tests() -> None:
    project = tomllib.loads((ROOM / "pyproject.toml").read_text())
    packages = {
        ".".join(("novadocker_client", *path.parent.relative_to(ROOM).parts))
        for path in ROOM.rglob("__init__.py")
        if not {"tests", "build"} & set(path.relative_to(ROOM).parts)
    }
    assert set(project["tool"]["setuptools"]["packages"]) == packages

# SPDX-License-Identifier: Apache-2.0
"""What pages show of runs was seen: commands that there are, with what they said."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[3]
TRANSCRIPTS = sorted((TOP / "doc/results/transcripts").glob("*.txt"))
MAKERS = ("test_no_stop_is_unclean.py", "test_command_line.py")
TYPED = re.compile(r"^\$ openstack (.+)$", re.MULTILINE)


def command(words: list[str]) -> tuple[type[Any], list[str]]:
    """Return the command that words begin with, and what it is given."""
    known = {}
    for path in ("novadocker_client/pyproject.toml", "pyproject.toml"):
        project = tomllib.loads((TOP / path).read_text())["project"]
        known.update(project["entry-points"]["openstack.novadocker.v1"])
    for count in (3, 2):
        target = known.get("_".join(words[:count]))
        if target:
            module, _, name = target.partition(":")
            return getattr(importlib.import_module(module), name), words[count:]
    raise AssertionError(f"there is no command {' '.join(words)}")


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=[path.stem for path in TRANSCRIPTS])
def test_a_transcript_has_commands_that_there_are_and_what_they_said(path: Path) -> None:
    text = path.read_text()
    assert TYPED.match(text)
    for typed, said in zip(TYPED.findall(text), TYPED.split(text)[2::2], strict=True):
        # The first word says whose command it is.
        if not typed.startswith("docker "):
            continue
        kind, given = command(shlex.split(typed))
        parser = kind(None, None).get_parser("openstack")
        if "argument --" in said:
            with pytest.raises(SystemExit):
                parser.parse_args(given)
        else:
            parser.parse_args(given)
    # Each of them has said something.
    assert all(said.strip() for said in TYPED.split(text)[2::2])


def test_each_transcript_is_on_a_page_and_was_made_by_a_test_of_the_lab() -> None:
    pages = "".join(page.read_text() for page in (TOP / "doc/source").rglob("*.rst"))
    shown = re.findall(r"^\.\. literalinclude:: /\.\./results/transcripts/(\w+)\.txt$", pages, re.M)
    assert sorted(set(shown)) == [path.stem for path in TRANSCRIPTS]
    makers = "".join((TOP / "tests/lab/proofs" / name).read_text() for name in MAKERS)
    made = re.findall(r'^    "test_\w+": "(\w+)",$', makers, re.M)
    assert sorted(made) == sorted(set(shown))

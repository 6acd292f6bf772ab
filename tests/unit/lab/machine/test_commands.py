# SPDX-License-Identifier: Apache-2.0
"""Running programs."""

from __future__ import annotations

import pathlib
import time

import pytest

from lab.errors import CommandError
from lab.machine import commands


def test_output_and_input_are_text() -> None:
    assert commands.run(["cat"], input="späße").stdout == "späße"


def test_a_failure_says_the_last_line_that_was_printed() -> None:
    with pytest.raises(CommandError, match="exit code 7: why") as raised:
        commands.run(["sh", "-c", "echo one; echo why >&2; exit 7"])
    assert raised.value.returncode == 7
    assert "one" in raised.value.output


def test_a_program_that_does_not_end_is_killed() -> None:
    began = time.monotonic()
    with pytest.raises(CommandError, match=r"no end after 0\.2 s"):
        commands.run(["sleep", "30"], timeout_s=0.2, check=False)
    assert time.monotonic() - began < 5


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandError, match="no-such-program is not installed"):
        commands.run(["no-such-program"])


def test_a_logged_program_leaves_its_output_and_code_in_the_log(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "deep" / "step.log"
    with pytest.raises(CommandError, match="the step: exit code 4") as raised:
        commands.run_logged(["sh", "-c", "echo seen; exit 4"], log, timeout_s=5, what="the step")
    assert raised.value.log == log
    assert "seen\n" in log.read_text()
    assert "the step: exit code 4" in log.read_text()

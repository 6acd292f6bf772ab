# SPDX-License-Identifier: Apache-2.0
"""What is shown while the lab works."""

from __future__ import annotations

import io

import pytest
import rich.console

from lab.machine.progress import Progress


def plain() -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    return Progress(rich.console.Console(file=out, soft_wrap=True, highlight=False)), out


def test_plain_lines_tell_begin_end_and_time() -> None:
    progress, out = plain()
    with progress.step("boot [controller]"):
        pass
    first, second = out.getvalue().splitlines()
    assert first.split() == ["...", "boot", "[controller]"]
    assert second.split() == ["done", "0.0", "s", "boot", "[controller]"]


def test_a_failed_step_says_so_and_the_error_goes_on() -> None:
    progress, out = plain()
    with pytest.raises(ValueError, match="broken"), progress.step("boot"):
        raise ValueError("broken")
    assert out.getvalue().splitlines()[-1].split()[0] == "failed"

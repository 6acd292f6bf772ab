# SPDX-License-Identifier: Apache-2.0
"""Whether this host's nova-scheduler keeps images off aggregates whose traits they do not ask."""

from __future__ import annotations

import getpass
import pathlib
import sys
from typing import Any

import describe_host
import pytest
from library import faults, services

from .conftest import Make


@pytest.fixture
def scheduler(tmp_path: pathlib.Path, make_step: Make, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that tells of a nova-scheduler with this configuration."""

    def tell(text: str, command: str = sys.executable) -> Any:
        (tmp_path / "nova.conf").write_text(text)
        program = [command, "/x/nova-scheduler", f"--config-file={tmp_path}/nova.conf"]
        state = (True, "active/running", getpass.getuser(), 0, 0, False)
        service = services.Service("nova-scheduler.service", *state, program, {})
        monkeypatch.setattr(describe_host, "find_service", lambda _step, _units: service)
        return describe_host.scheduler(make_step("describe_host", "check"))

    return tell


@pytest.mark.parametrize(
    ("value", "isolates"), [("true", True), ("True", True), ("1", True), ("false", False)]
)
def test_its_option_is_told_as_the_service_reads_it(
    scheduler: Any, value: str, isolates: bool
) -> None:
    text = f"[scheduler]\nenable_isolated_aggregate_filtering = {value}\n"
    assert scheduler(text) == {"unit": "nova-scheduler.service", "isolates": isolates}


def test_nova_s_default_is_not_to(scheduler: Any) -> None:
    assert scheduler("[DEFAULT]\n")["isolates"] is False


def test_one_that_cannot_be_asked_is_not_taken_for_none(scheduler: Any) -> None:
    with pytest.raises(faults.StepFailed, match=r"the Python of nova-scheduler\.service cannot"):
        scheduler("", "/no/such/program")


def test_a_host_without_one_has_none(make_step: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe_host, "find_service", lambda _step, _units: None)
    assert describe_host.scheduler(make_step("describe_host", "check")) is None

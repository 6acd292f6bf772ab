# SPDX-License-Identifier: Apache-2.0
"""Tempest is run on the controller, and what it prints is shown and understood."""

from __future__ import annotations

import pathlib

import pytest

from lab.hosts.access import Host
from lab.settings import LabSettings
from lab.stage.tempest import results, runner

SETTINGS = LabSettings()


class Controller(Host):
    """A controller that keeps what is put on it."""

    def put(
        self, path: str, data: str | bytes, mode: int = 0o644, owner: str | None = None
    ) -> None:
        FILES[path] = str(data)


FILES: dict[str, str] = {}


@pytest.fixture
def docker(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A program in the place of `docker`, which a test writes; it keeps its arguments."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(runner, "prepare", lambda *_: Controller("controller", SETTINGS))
    FILES.clear()
    return tmp_path / "docker"


def write(docker: pathlib.Path, script: str) -> None:
    docker.write_text(f'#!/bin/sh\necho "$@" >"{docker}.args"\n{script}\n')
    docker.chmod(0o755)


def test_outcomes_are_shown_with_the_progress(
    docker: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(docker, "echo '{0} pkg.A.test_b [0.1s] ... ok'; echo else; exit 0")
    outcomes = runner.run(SETTINGS, "^pkg", concurrency=2, tests=7)
    assert outcomes == [results.TestResult("pkg.A.test_b", "ok")]
    shown = capsys.readouterr().out
    assert "min, 1 of 7] {0} pkg.A.test_b [0.1s] ... ok\nelse\n" in shown
    said = pathlib.Path(f"{docker}.args").read_text()
    assert "ndlab-controller timeout --kill-after=10 1800" in said
    assert "run --regex ^pkg --concurrency 2" in said
    assert "--exclude-list" not in said


def test_what_is_left_out_is_told_to_tempest(docker: pathlib.Path) -> None:
    write(docker, "echo '{0} pkg.A.test_b [0.1s] ... ok'")
    runner.run(SETTINGS, "^pkg", left_out=[results.Rule("^pkg.B", "a reason")])
    assert FILES == {runner.EXCLUDE_LIST: "^pkg.B\n"}
    assert f"--exclude-list {runner.EXCLUDE_LIST}" in pathlib.Path(f"{docker}.args").read_text()


def test_what_spoils_other_tests_is_run_after_them(
    docker: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = """echo "$@" >>"$0.all"; echo "{0} pkg.A.test_$(wc -l <"$0.all") [0.1s] ... ok" """
    write(docker, script)
    outcomes = runner.run(SETTINGS, runner.COMPUTE_TESTS, tests=2)
    assert [result.test for result in outcomes] == ["pkg.A.test_1", "pkg.A.test_2"]
    assert "min, 2 of 2]" in capsys.readouterr().out
    assert FILES[runner.EXCLUDE_LIST] == f"{runner.APART[0]}\n"
    first, second = pathlib.Path(f"{docker}.all").read_text().splitlines()
    assert f"--exclude-list {runner.EXCLUDE_LIST}" in first
    assert "--exclude-list" not in second
    assert f"--regex {runner.APART[0]} " in second


def test_what_came_of_the_tests_is_kept_when_time_is_up(docker: pathlib.Path) -> None:
    write(docker, "echo '{0} pkg.A.test_b [0.1s] ... ok'; exit 124")
    with pytest.raises(runner.TempestTimeout, match="within 5 s") as caught:
        runner.run(SETTINGS, "^pkg", timeout_s=5)
    assert [result.test for result in caught.value.results] == ["pkg.A.test_b"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo no module; exit 2", r"ran no test \(exit code 2\)"),
        ("echo '{0} pkg.A.test_b [0.1s] ... ok'; exit 3", "exit code 3"),
    ],
)
def test_a_run_that_broke_off_is_a_fault(docker: pathlib.Path, script: str, message: str) -> None:
    write(docker, script)
    with pytest.raises(runner.TempestError, match=message):
        runner.run(SETTINGS, "^pkg")

# SPDX-License-Identifier: Apache-2.0
"""The lab's command line."""

from __future__ import annotations

import fcntl
import os
import pathlib
import socket

import pytest

from lab import cli, controlplane, lifecycle
from lab.errors import LabError
from lab.hosts import containers
from lab.hosts.access import Host
from lab.settings import LabSettings


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """A cache directory of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "novadocker-lab"


COMMANDS = ["build", "up", "down", "status", "env", "dashboard", "exec", "logs", "add-host"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main([command, "--help"])
    assert raised.value.code == 0
    assert command in capsys.readouterr().out


def test_a_failure_is_one_line_with_its_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise LabError("image base: mmdebstrap: exit code 25", log=pathlib.Path("/logs/base.log"))

    monkeypatch.setattr(lifecycle, "up", fail)
    assert cli.main(["up"]) == 1
    said = capsys.readouterr().err
    assert said == "lab: image base: mmdebstrap: exit code 25 (log: /logs/base.log)\n"


def test_an_unknown_host_is_refused_with_those_that_are_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Host, "state", lambda _self: "absent")
    monkeypatch.setattr(containers, "existing", lambda _s: list(LabSettings().hosts[:2]))
    assert cli.main(["exec", "nowhere", "--", "true"]) == 1
    assert "host nowhere is absent; hosts there are: controller, compute-docker-1" in (
        capsys.readouterr().err
    )


def test_an_interruption_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lifecycle, "up", interrupt)
    assert cli.main(["up"]) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_the_cloud_is_handed_to_the_stage_and_to_none_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed: list[object] = []
    monkeypatch.setattr(lifecycle, "up", lambda _settings, _progress, stage: handed.append(stage))
    stage = lifecycle.BareStage()
    assert cli.main(["up"], stage) == 0
    assert cli.main(["up"]) == 0
    assert handed[0] is stage
    assert isinstance(handed[1], lifecycle.BareStage)


def test_the_credentials_are_those_that_the_controller_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    openrc = "export OS_AUTH_URL=http://10.88.0.10:5000/v3\n"
    monkeypatch.setattr(Host, "state", lambda _self: "running")
    monkeypatch.setattr(Host, "read", lambda _self, path: {"/root/admin-openrc": openrc}[path])
    assert cli.main(["env"]) == 0
    assert capsys.readouterr().out == openrc


@pytest.fixture
def with_dashboard(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A controller whose Horizon answers; what was run on this machine."""
    commands: list[list[str]] = []
    monkeypatch.setattr(Host, "state", lambda _self: "running")
    monkeypatch.setattr(controlplane, "await_dashboard", lambda _controller: 8080)
    monkeypatch.setattr(os, "execvp", lambda _program, command: commands.append(command))
    return commands


def test_the_dashboard_is_led_to_from_the_loopback_and_its_user_told(
    with_dashboard: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert cli.main(["dashboard", "--port", str(port)]) == 0
    said = capsys.readouterr().out
    assert f"http://127.0.0.1:{port}/" in said
    assert "User: admin" in said
    assert "OS_PASSWORD" in said
    (command,) = with_dashboard
    assert command[command.index("-L") + 1] == f"127.0.0.1:{port}:127.0.0.1:8080"
    assert command[-1] == "controller"


def test_a_port_that_is_taken_is_told(
    with_dashboard: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["dashboard", "--port", str(port)]) == 1
    assert f"port {port} of 127.0.0.1 is taken" in capsys.readouterr().err
    assert with_dashboard == []


def test_a_lab_that_is_down_is_told_by_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "existing", lambda _s: [])
    assert cli.main(["status"]) == 3


def test_a_fault_of_the_lab_itself_is_one_line_too_and_its_trace_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: pathlib.Path
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(lifecycle, "up", fail)
    assert cli.main(["up"]) == 1
    log = cache / "logs" / "lab.log"
    assert capsys.readouterr().err == f"lab: ZeroDivisionError: by zero (log: {log})\n"
    assert "raise ZeroDivisionError" in log.read_text()


@pytest.mark.parametrize("argv", [["up"], ["down"], ["add-host", "blank-1"]])
def test_a_second_change_at_the_same_time_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    codes = []
    # The first one is at work when the second one comes.
    monkeypatch.setattr(lifecycle, "up", lambda *_: codes.append(cli.main(argv)))
    assert cli.main(["up"]) == 0
    assert codes == [1]
    assert capsys.readouterr().err == (
        f"lab: another 'up' is at work on the lab (process {os.getpid()}):"
        f" wait until it has ended (tail --pid={os.getpid()} -f /dev/null), then repeat\n"
    )


def test_looking_at_the_lab_does_not_wait_for_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = []
    monkeypatch.setattr(containers, "existing", lambda _s: [])
    monkeypatch.setattr(lifecycle, "up", lambda *_: codes.append(cli.main(["status"])))
    assert cli.main(["up"]) == 0
    assert codes == [3]


def test_a_change_that_failed_leaves_no_lock(
    monkeypatch: pytest.MonkeyPatch, cache: pathlib.Path
) -> None:
    def fail(*_: object) -> None:
        raise LabError("no")

    monkeypatch.setattr(lifecycle, "up", fail)
    assert cli.main(["up"]) == 1
    with open(cache / "lock") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("count", ["0", "2", "31"])
def test_fewer_computes_than_usual_and_too_many_are_refused(
    count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["up", "--computes", count])
    assert f"--computes: {count} is not from 3 to 30" in capsys.readouterr().err


def test_more_computes_come_after_the_usual_ones_with_addresses_of_their_own() -> None:
    usual, more = LabSettings(), LabSettings().with_computes(5)
    assert more.hosts[:4] == usual.hosts
    assert [host.name for host in more.hosts[4:]] == ["compute-docker-4", "compute-docker-5"]
    assert len({host.address for host in more.hosts}) == 6
    assert usual.with_computes(3) == usual

# SPDX-License-Identifier: Apache-2.0
"""The commands as an operator types them: OpenStackClient in a process of its own, over HTTP."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from novadocker_client.tests.fake_cloud import FakeCloud
from novadocker_client.tests.http_cloud import environment, served

# One that other tests run in may have coverage, or options of its own.
KEPT = ("PATH", "HOME", "LC_ALL", "VIRTUAL_ENV", "COVERAGE_PROCESS_CONFIG")
TIMEOUT_S = 300


@pytest.fixture
def cloud() -> Iterator[FakeCloud]:
    """A cloud on a port of this machine."""
    with served() as cloud:
        yield cloud


def openstack(cloud: FakeCloud, *argv: str, **options: object) -> subprocess.Popen[str]:
    """Start a command."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return subprocess.Popen(
        # Tests that a shell runs in the background have Ctrl-C ignored, and so would the command.
        ["env", "--default-signal=INT", sys.executable, "-m", "openstackclient.shell", *argv],
        env={**kept, **environment(cloud), "TERM": "xterm"},
        text=True,
        stdout=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )


def await_run(cloud: FakeCloud) -> str:
    """Return the run that a command has begun and has looked at."""
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        if [path for _, path, _ in list(cloud.requests) if path.endswith("/tasks")]:
            return next(iter(cloud.executions))
        time.sleep(0.05)
    raise AssertionError("no run was begun and looked at")


def test_a_run_that_is_refused_ends_with_2_and_its_report_is_on_standard_output(
    cloud: FakeCloud,
) -> None:
    command = openstack(
        *(cloud, "docker", "deploy", "--wait", "-f", "json"), stderr=subprocess.PIPE
    )
    run = await_run(cloud)
    output = {"message": "Refused: lock.", "report": {"state": "refused", "rows": []}}
    cloud.executions[run].update(state="ERROR", output=json.dumps(output))
    out, _ = command.communicate(timeout=TIMEOUT_S)
    assert command.returncode == 2
    shown = json.loads(out)
    assert (shown["id"], shown["state"], shown["report"]["state"]) == (run, "refused", "refused")


def read_until(terminal: int, text: str) -> str:
    """Return what a terminal shows, up to a text and with it."""
    seen = ""
    while text not in seen:
        ready, _, _ = select.select([terminal], [], [], TIMEOUT_S)
        assert ready, f"{text!r} is not shown, but: {seen}"
        seen += os.read(terminal, 4096).decode(errors="replace")
    return seen


def test_ctrl_c_on_a_terminal_leaves_the_run_running(cloud: FakeCloud) -> None:
    terminal, end = pty.openpty()
    command = openstack(cloud, "docker", "deploy", "--wait", stderr=end, stdin=end)
    os.close(end)
    run = await_run(cloud)
    batch = cloud.add_below(
        run, run, "switch_batch", "_switch_batch", "RUNNING", input={"rows": [{"host": "c1"}]}
    )
    cloud.add_task(batch, "disable_compute", rows=[{"host": "c1"}])
    seen = read_until(terminal, "out of service")
    command.send_signal(signal.SIGINT)
    # Who does not read what a terminal shows holds up its program.
    seen += read_until(terminal, "docker run stop")
    command.communicate(timeout=TIMEOUT_S)
    os.close(terminal)
    assert command.returncode == 130
    # A line of a host, on a screen that is drawn anew.
    assert "c1" in seen
    assert "\x1b[" in seen
    assert cloud.executions[run]["state"] == "RUNNING"


def test_a_shell_completes_the_commands(cloud: FakeCloud) -> None:
    command = openstack(cloud, "complete", stderr=subprocess.DEVNULL)
    out, _ = command.communicate(timeout=TIMEOUT_S)
    words = next(line for line in out.splitlines() if line.lstrip().startswith("cmds_docker="))
    commands = (
        "deploy",
        "host",
        "image",
        "plan",
        "recover",
        "run",
        "undeploy",
        "upgrade",
        "verify",
    )
    for word in (*commands, "dashboard"):
        assert word in words

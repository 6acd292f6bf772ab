# SPDX-License-Identifier: Apache-2.0
"""Files and commands on a host, without a host."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Sequence
from typing import Any

import pytest

from lab.errors import CommandError, HostError
from lab.hosts import access
from lab.hosts.access import Host, HostFile
from lab.machine import commands


class Docker:
    """Stands for the docker command: remembers calls, answers what it was told."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.calls: list[list[str]] = []
        self.answers = list(answers)

    def __call__(self, argv: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append(list(argv))
        code, out, err = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return subprocess.CompletedProcess(list(argv), code, out, err)


def docker(monkeypatch: pytest.MonkeyPatch, *answers: tuple[int, str, str]) -> Docker:
    fake = Docker(*answers)
    monkeypatch.setattr(commands, "run", fake)
    return fake


def test_an_archive_carries_mode_and_owner_by_name() -> None:
    data = access.archive(
        [
            HostFile("/etc/a", "text", 0o640, "root:nova"),
            HostFile("/etc/b", b"\x00", owner="nova"),
            HostFile("/etc/c", ""),
        ]
    )
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        entries = {entry.name: entry for entry in tar}
    owners = {name: (entry.uname, entry.gname) for name, entry in entries.items()}
    assert owners == {
        "etc/a": ("root", "nova"),
        "etc/b": ("nova", "nova"),
        "etc/c": ("root", "root"),
    }
    assert (entries["etc/a"].mode, entries["etc/c"].mode) == (0o640, 0o644)


def test_a_command_is_limited_in_time_on_the_node_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = docker(monkeypatch, (0, "out", ""))
    Host("compute-3").run(["true"], timeout_s=5, env={"A": "b"}, input="x")
    assert fake.calls == [
        [
            *("docker", "exec", "-i", "--env", "A=b", "ndlab-compute-3"),
            *("timeout", "--kill-after=5", "5", "true"),
        ]
    ]


def test_a_failed_command_names_host_code_and_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    docker(monkeypatch, (3, "first\n", "last words\n"))
    with pytest.raises(CommandError, match=r"compute-3: false: exit code 3: last words") as raised:
        Host("compute-3").run(["false"])
    assert raised.value.returncode == 3


def test_a_command_out_of_time_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    docker(monkeypatch, (124, "", ""))
    with pytest.raises(CommandError, match="no end after 2 s"):
        Host("compute-3").run(["sleep", "9"], timeout_s=2)


def test_a_failure_is_handed_back_when_it_is_not_to_be_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docker(monkeypatch, (1, "", ""))
    assert Host("compute-3").run(["false"], check=False).returncode == 1


def test_booted_when_its_base_units_are_active(monkeypatch: pytest.MonkeyPatch) -> None:
    starting, running = (3, "active\nactivating\n", ""), (0, "running\n", "")
    fake = docker(monkeypatch, starting, running, (0, "active\nactive\n", ""))
    Host("compute-3").wait_booted(timeout_s=5)
    assert fake.calls[-1][-4:] == ["is-active", *access.BASE_UNITS]


def test_a_host_that_died_while_booting_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    docker(monkeypatch, (1, "", "container is not running\n"), (0, "exited\n", ""))
    with pytest.raises(HostError, match="docker logs ndlab-compute-3"):
        Host("compute-3").wait_booted(timeout_s=30)


def test_a_container_that_is_not_there_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    docker(monkeypatch, (1, "", "no such object"))
    assert Host("compute-3").state() == "absent"

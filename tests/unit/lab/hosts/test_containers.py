# SPDX-License-Identifier: Apache-2.0
"""The command that creates a host's container."""

from __future__ import annotations

import json
import pathlib
import subprocess

import pytest

from lab.hosts import containers
from lab.machine import commands
from lab.settings import LabSettings

SETTINGS = LabSettings(cache_dir=pathlib.Path("/cache"))


def pairs(command: list[str], option: str) -> list[str]:
    return [command[n + 1] for n, word in enumerate(command) if word == option]


def test_a_host_has_its_name_address_and_role() -> None:
    command = containers.create_command(SETTINGS, SETTINGS.computes[0], "image:tag")
    assert pairs(command, "--name") == ["ndlab-compute-docker-1"]
    assert pairs(command, "--hostname") == ["compute-docker-1"]
    assert pairs(command, "--ip") == ["10.88.0.11"]
    assert pairs(command, "--label") == ["novadocker-lab=ndlab", "novadocker-lab.role=compute"]
    assert command[-2:] == ["image:tag", containers.BOOT]


def test_a_host_knows_all_others_by_name_and_not_itself() -> None:
    command = containers.create_command(SETTINGS, SETTINGS.controller, "image:tag")
    assert pairs(command, "--add-host") == [
        "compute-docker-1:10.88.0.11",
        "compute-docker-2:10.88.0.12",
        "compute-3:10.88.0.13",
    ]


@pytest.mark.parametrize("bounds", ["000001ffffffffff", "000001fffeffffff"])
def test_no_host_can_set_the_machines_clock_or_load_modules(bounds: str) -> None:
    status = f"Name:\tpython\nCapBnd:\t{bounds}\nCapAmb:\t0000000000000000\n"
    options = containers.privileges(status)
    assert pairs(options, "--cap-drop") == ["ALL"]
    assert not {"SYS_TIME", "SYS_MODULE", "SYS_RESOURCE"} & set(pairs(options, "--cap-add"))
    assert {"CHOWN", "SYS_ADMIN", "AUDIT_READ"} <= set(pairs(options, "--cap-add"))


def test_no_host_has_what_the_machine_lacks() -> None:
    options = containers.privileges("CapBnd:\t0000000000200001\n")
    assert pairs(options, "--cap-add") == ["CHOWN", "SYS_ADMIN"]


def test_a_host_is_not_privileged() -> None:
    command = containers.create_command(SETTINGS, SETTINGS.controller, "image:tag")
    assert set(containers.privileges()) <= set(command)
    assert "--privileged" not in command
    assert "/sys/fs/cgroup" not in " ".join(command)


def test_the_wheelhouse_is_read_only() -> None:
    command = containers.create_command(SETTINGS, SETTINGS.controller, "image:tag")
    assert "/cache/wheelhouse:/srv/wheelhouse:ro" in pairs(command, "--volume")


def test_one_more_host_gets_an_address_that_nobody_has() -> None:
    assert SETTINGS.free_address(set()) == "10.88.0.21"
    assert SETTINGS.free_address({"10.88.0.21", "10.88.0.22"}) == "10.88.0.23"


def inspected(name: str, hostname: str, role: str, planned: str | None) -> dict[str, object]:
    network = {"IPAMConfig": {"IPv4Address": planned} if planned else None, "IPAddress": ""}
    return {
        "Name": f"/{name}",
        "Config": {"Hostname": hostname, "Labels": {containers.ROLE_LABEL: role}},
        "NetworkSettings": {"Networks": {"ndlab": network}},
    }


def test_hosts_that_are_there_come_in_the_plans_order_then_added_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = [
        inspected("ndlab-added", "added", "blank", "10.88.0.21"),
        inspected("ndlab-compute-3", "compute-3", "compute", "10.88.0.13"),
        inspected("ndlab-controller", "controller", "controller", "10.88.0.10"),
        inspected("somebody-elses", "controller", "controller", None),
    ]

    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        out = json.dumps(records) if argv[1] == "inspect" else "a b c d\n"
        return subprocess.CompletedProcess(argv, 0, out, "")

    monkeypatch.setattr(commands, "run", run)
    hosts = containers.existing(SETTINGS)
    assert [host.name for host in hosts] == ["controller", "compute-3", "added"]
    assert hosts[0] == SETTINGS.controller
    assert hosts[-1].address == "10.88.0.21"

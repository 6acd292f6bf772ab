# SPDX-License-Identifier: Apache-2.0
"""The containers of a host that kolla-ansible has deployed."""

from __future__ import annotations

import configparser
import json
from unittest import mock

import pytest

from lab.controlplane.site import new_cloud
from lab.hosts import containers as lab_containers
from lab.hosts.access import Host
from lab.stage.kolla import host
from lab.stage.kolla.containers import CONTAINERS, CRON, NOVA_COMPUTE


def pairs(command: list[str], option: str) -> list[str]:
    return [command[n + 1] for n, word in enumerate(command) if word == option]


def test_nova_computes_container_has_what_kolla_ansible_gives_it() -> None:
    command = NOVA_COMPUTE.create_command()
    assert command[:2] == ["docker", "create"]
    assert command[-1] == NOVA_COMPUTE.image
    assert "--privileged" in command
    assert "--pid" not in command
    assert pairs(command, "--network") == pairs(command, "--ipc") == ["host"]
    assert {"KOLLA_CONFIG_STRATEGY=COPY_ALWAYS", "KOLLA_SERVICE_NAME=nova-compute"} <= set(
        pairs(command, "--env")
    )
    assert pairs(command, "--volume") == [
        "/etc/kolla/nova-compute/:/var/lib/kolla/config_files/:ro",
        "/lib/modules:/lib/modules:ro",
        "/run:/run:shared",
        "/dev:/dev",
        "kolla_logs:/var/log/kolla/",
        "libvirtd:/var/lib/libvirt",
        "nova_compute:/var/lib/nova/",
    ]


def test_another_container_has_no_privileges() -> None:
    command = CRON.create_command()
    assert not {"--privileged", "--ipc"} & set(command)
    assert pairs(command, "--volume") == [
        "/etc/kolla/cron/:/var/lib/kolla/config_files/:ro",
        "kolla_logs:/var/log/kolla/",
    ]


def test_a_container_is_started_by_its_unit() -> None:
    assert NOVA_COMPUTE.unit == "kolla-nova_compute-container.service"
    lines = NOVA_COMPUTE.unit_file().splitlines()
    assert "ExecStart=/usr/bin/docker start -a nova_compute" in lines
    assert "ExecStop=/usr/bin/docker stop nova_compute -t 60" in lines
    assert "Restart=always" in lines


def test_the_files_that_a_container_copies_are_in_its_folder() -> None:
    files = {file.path: file for file in host.container_files(new_cloud("10.0.0.1"), "an id\n")}
    for container in CONTAINERS:
        config = json.loads(str(files[f"{container.folder}/config.json"].data))
        for entry in config["config_files"]:
            name = entry["source"].rpartition("/")[2]
            assert files[f"{container.folder}/{name}"].mode == 0o660
    assert files["/etc/kolla/nova-compute/compute_id"].data == "an id\n"


def test_nova_has_the_settings_of_other_hosts_in_one_file_and_is_root_by_rootwrap() -> None:
    files = {file.path: file for file in host.container_files(new_cloud("10.0.0.1"), "")}
    written = configparser.ConfigParser(interpolation=None)
    written.read_string(str(files["/etc/kolla/nova-compute/nova.conf"].data))
    assert written["DEFAULT"]["compute_driver"] == "lab_fake.LabFakeDriver"
    assert written["DEFAULT"]["log_dir"] == "/var/log/kolla/nova"
    assert written["DEFAULT"]["transport_url"].endswith("@10.0.0.1:5672/")
    assert "nova-rootwrap" in written["privsep_entrypoint"]["helper_command"]
    assert not written.has_section("workarounds")


def test_the_engine_finds_the_program_that_trims_before_its_own() -> None:
    files = {file.path: file for file in host.engine_files()}
    assert files["/usr/local/sbin/runc"].mode == 0o755
    granted = str(files[host.CAPABILITIES].data).split()
    assert granted == [f"CAP_{name}" for name in lab_containers.capabilities()]
    assert f"{host.CONTEXT}/Dockerfile" in files


@pytest.mark.parametrize("differs", [0, 1])
def test_a_reconfigure_restarts_nova_where_what_it_was_started_with_differs(differs: int) -> None:
    there = mock.create_autospec(Host, instance=True)
    there.read.return_value = "an id"
    there.run.return_value.returncode = differs
    host.reconfigure(there, new_cloud("10.0.0.1"))
    (files,) = there.put_files.call_args.args
    assert "/etc/kolla/nova-compute/config.json" in {file.path for file in files}
    asked, *restarts = [call.args[0] for call in there.run.call_args_list]
    assert asked[-2:] == ["kolla_set_configs", "--check"]
    assert restarts == [["systemctl", "restart", NOVA_COMPUTE.unit]] * differs

# SPDX-License-Identifier: Apache-2.0
"""What a compute host has before the Docker driver comes."""

from __future__ import annotations

import configparser
from typing import Any
from unittest import mock

from lab.hosts.access import Host
from lab.stage import computes


def commands(host: Any) -> list[list[str]]:
    return [call.args[0] for call in host.run.call_args_list]


def test_nova_is_told_where_lxcfs_is_mounted_in_a_section_of_its_own() -> None:
    host = mock.create_autospec(Host, instance=True)
    computes.prepare(host)
    (append,) = (call for call in host.run.call_args_list if call.args[0][0] == "sh")
    assert append.args[0][-1] == "cat >> /etc/nova/nova.conf"
    conf = configparser.ConfigParser()
    conf.read_string("[DEFAULT]\nhost = a\n[vnc]\nenabled = false\n" + append.kwargs["input"])
    assert conf["docker"]["lxcfs_path"] == "/var/lib/lxcfs"
    assert "lxcfs_path" not in conf["vnc"]


def test_lxcfs_is_started_there_and_the_docker_sdk_is_gone() -> None:
    host = mock.create_autospec(Host, instance=True)
    computes.prepare(host)
    ((drop_in,),) = host.put_files.call_args.args
    assert drop_in.data.rstrip().endswith("--enable-cfs /var/lib/lxcfs")
    assert ["systemctl", "enable", "--now", "--quiet", "lxcfs"] in commands(host)
    assert commands(host)[-1][-3:] == ["docker", "python-zunclient", "openstack-heat"]

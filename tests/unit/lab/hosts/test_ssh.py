# SPDX-License-Identifier: Apache-2.0
"""The ssh configuration that the lab writes."""

from __future__ import annotations

from lab.hosts import ssh


def test_every_host_has_an_alias_and_a_checked_key() -> None:
    text = ssh.ssh_config({"a": "10.0.0.1", "b": "10.0.0.2"}, "/keys/id", "/keys/known")
    assert "Host a\n    HostName 10.0.0.1\n    HostKeyAlias a\n    User root\n" in text
    assert text.count("UserKnownHostsFile /keys/known\n") == 2
    assert "StrictHostKeyChecking" not in text


def test_known_hosts_hold_name_and_address_without_the_comment() -> None:
    hosts = {"b": ("10.0.0.2", "ssh-ed25519 BBB root@b\n"), "a": ("10.0.0.1", "ssh-ed25519 AAA")}
    assert ssh.known_hosts(hosts) == "a,10.0.0.1 ssh-ed25519 AAA\nb,10.0.0.2 ssh-ed25519 BBB\n"

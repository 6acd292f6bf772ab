# SPDX-License-Identifier: Apache-2.0
"""Two listings of a host tell what was changed and what was started anew."""

from __future__ import annotations

import dataclasses

from lab.hosts.listing import Listing, differences, differing, restarted, touched

BEFORE = Listing(
    files={"/etc/nova/nova.conf": "0640 root:nova aa", "/etc/docker": "0755 root:root directory"},
    groups={"nova": "", "docker": "nova"},
    packages={"docker.io": "20.10 installed"},
    unit_files={"nova-compute.service": "enabled"},
    units={"nova-compute.service": "active", "apt-daily.service": "inactive"},
    invocations={"nova-compute.service": "1", "apt-daily.service": ""},
)


def test_same_listing_has_no_differences() -> None:
    assert differences(BEFORE, BEFORE) == []
    assert restarted(BEFORE, BEFORE) == []


def test_changed_new_and_gone_things_are_named() -> None:
    after = dataclasses.replace(
        BEFORE,
        files={"/etc/nova/nova.conf": "0640 root:nova bb", "/etc/new": "0644 root:root cc"},
        groups={"nova": "", "docker": ""},
        packages={},
    )
    assert differences(BEFORE, after) == [
        "files: /etc/docker: 0755 root:root directory => None",
        "files: /etc/new: None => 0644 root:root cc",
        "files: /etc/nova/nova.conf: 0640 root:nova aa => 0640 root:nova bb",
        "groups: docker: nova => ",
        "packages: docker.io: 20.10 installed => None",
    ]


def test_a_stopped_service_is_a_difference_and_an_unloaded_idle_one_is_not() -> None:
    after = dataclasses.replace(BEFORE, units={"nova-compute.service": "failed"})
    assert differences(BEFORE, after) == ["units: nova-compute.service: active => failed"]


def test_a_new_start_is_seen_though_the_service_is_as_active_as_before() -> None:
    after = dataclasses.replace(BEFORE, invocations={"nova-compute.service": "2"})
    assert differences(BEFORE, after) == []
    assert restarted(BEFORE, after) == ["nova-compute.service"]


def test_of_several_hosts_those_that_differ_are_told() -> None:
    changed = dataclasses.replace(BEFORE, groups={"nova": "", "docker": ""})
    anew = dataclasses.replace(BEFORE, invocations={"nova-compute.service": "2"})
    before = dict.fromkeys(("one", "two", "three"), BEFORE)
    after = {"one": BEFORE, "two": changed, "three": anew}
    assert differing(before, after) == {"two": ["groups: docker: nova => "]}
    assert touched(before, after) == {
        "two": ["groups: docker: nova => "],
        "three": ["nova-compute.service"],
    }

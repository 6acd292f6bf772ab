# SPDX-License-Identifier: Apache-2.0
"""What the host has."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from novadocker.virt.docker.host import resources


class TestResources:
    @pytest.mark.parametrize(
        ("version", "number"),
        [
            ("20.10.24+dfsg1", 20010024),
            ("26.1.5~ds", 26001005),
            ("29.0-rc.1", 29000000),
            ("28", 28000000),
        ],
    )
    def test_version(self, version: str, number: int) -> None:
        assert resources.engine_version(version) == number

    def test_traits(self) -> None:
        assert resources.traits(True, "aarch64") == {
            "CUSTOM_HYPERVISOR_DOCKER",
            "CUSTOM_DOCKER_DISK_QUOTA",
            "HW_ARCH_AARCH64",
        }
        assert resources.traits(False, "x86_64") == {"CUSTOM_HYPERVISOR_DOCKER", "HW_ARCH_X86_64"}

    def test_disk_of_a_directory_that_is_hidden(self, tmp_path: Path) -> None:
        total, used, free = resources.disk(str(tmp_path / "not" / "there"))
        assert total >= used + free > 0

    def test_what_nova_is_told_of_the_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        giga, mega = 1 << 30, 1 << 20
        monkeypatch.setattr(resources, "disk", lambda _path: (9.5 * giga, 4.7 * giga, 3.2 * giga))
        monkeypatch.setattr(
            resources.psutil,
            "virtual_memory",
            lambda: mock.Mock(total=1000 * mega, available=400.5 * mega),
        )
        monkeypatch.setattr(resources.platform, "machine", lambda: "amd64")
        info = {"NCPU": 3, "MemTotal": 1000 * mega + 5, "ServerVersion": "26.1.5~ds.7"}
        assert resources.available(info, "node", "/") == {
            "vcpus": 3,
            "memory_mb": 1000,
            "local_gb": 9,
            "vcpus_used": 0,
            "memory_mb_used": 599,
            "local_gb_used": 4,
            "disk_available_least": 3,
            "hypervisor_type": "docker",
            "hypervisor_version": 26001005,
            "hypervisor_hostname": "node",
            "cpu_info": '{"arch": "x86_64", "topology": {"cores": 3}}',
            "supported_instances": [("x86_64", "docker", "exe")],
            "numa_topology": None,
        }

    def test_an_architecture_that_placement_does_not_know_has_no_trait(self) -> None:
        assert resources.traits(False, "armv7l") == {"CUSTOM_HYPERVISOR_DOCKER"}

    def test_inventory_leaves_out_what_there_is_none_of(self) -> None:
        amounts = {"VCPU": 0, "MEMORY_MB": 1, "DISK_GB": 0}
        ratios = {"VCPU": 4.0, "MEMORY_MB": 1.0, "DISK_GB": 1.0}
        inventory = resources.inventory(
            {"vcpus": 2, "memory_mb": 1, "local_gb": 0}, ratios, amounts
        )
        assert set(inventory) == {"VCPU", "MEMORY_MB"}
        assert inventory["MEMORY_MB"]["reserved"] == 1
        assert inventory["VCPU"] == {
            "total": 2,
            "min_unit": 1,
            "max_unit": 2,
            "step_size": 1,
            "allocation_ratio": 4.0,
            "reserved": 0,
        }

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [(3660, " up  1:01,"), (90_000, " up 1 day,  1:00,"), (200_000, " up 2 days,  7:33,")],
    )
    def test_uptime(self, seconds: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resources.time, "time", lambda: 1_000_000.0 + seconds)
        monkeypatch.setattr(resources.psutil, "boot_time", lambda: 1_000_000.0)
        monkeypatch.setattr(resources.psutil, "users", lambda: [1])
        monkeypatch.setattr(resources.time, "strftime", lambda form: f"<{form}>")
        monkeypatch.setattr(resources.os, "getloadavg", lambda: (1, 0.5, 2.125))
        told = resources.uptime()
        assert told.startswith(f" <%H:%M:%S>{expected}  1 user,  load average: 1.00, 0.50, 2.12")
        monkeypatch.setattr(resources.psutil, "users", lambda: [])
        assert ",  0 users,  load" in resources.uptime()

    def test_processors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        times = mock.Mock(system=1.5, idle=2, user=3, iowait=4)
        monkeypatch.setattr(resources.psutil, "cpu_times", lambda: times)
        monkeypatch.setattr(resources.psutil, "cpu_freq", lambda: mock.Mock(current=2400.7))
        assert resources.cpu_stats() == {
            "kernel": 1_500_000_000,
            "idle": 2_000_000_000,
            "user": 3_000_000_000,
            "iowait": 4_000_000_000,
            "frequency": 2400,
        }
        monkeypatch.setattr(resources.psutil, "cpu_freq", lambda: None)
        assert resources.cpu_stats()["frequency"] == 0

# SPDX-License-Identifier: Apache-2.0
"""What instances used."""

from __future__ import annotations

from typing import Any

import pytest

from novadocker.tests import make


class TestDiagnostics:
    STATS = {
        "cpu_stats": {"cpu_usage": {"total_usage": 30, "percpu_usage": [10, 20]}},
        "memory_stats": {"limit": 256 << 20, "usage": 10 << 20},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"op": "Read", "value": 4096},
                {"op": "Write", "value": 1},
            ],
            "io_serviced_recursive": [{"op": "read", "value": 2}],
        },
    }

    def test_counters(self, docker_driver: Any, spawn: Any, engine: Any, wiring: Any) -> None:
        engine.stats = self.STATS
        stats = {
            f"{way}_{what}": 5
            for way in ("rx", "tx")
            for what in ("bytes", "packets", "errors", "dropped")
        }
        wiring.devices.return_value = [{"name": "eth0", "mac": "fa:16:3e:00:00:01", "stats": stats}]
        instance = spawn(make.instance())
        flat = docker_driver.get_diagnostics(instance)
        assert flat["cpu1_time"] == 20
        assert flat["memory"] == 256 << 10
        assert (flat["root_read"], flat["root_read_req"]) == (4096, 2)
        assert (flat["eth0_rx"], flat["eth0_tx_packets"]) == (5, 5)
        diagnostics = docker_driver.get_instance_diagnostics(instance)
        assert (diagnostics.state, diagnostics.hypervisor, diagnostics.num_cpus) == (
            "running",
            "docker",
            2,
        )
        assert diagnostics.memory_details.maximum == 256
        assert diagnostics.nic_details[0].mac_address == "fa:16:3e:00:00:01"

    @pytest.mark.parametrize("name", ["inactive_file", "total_inactive_file"])
    def test_files_that_can_be_dropped_are_no_memory_in_use(
        self, name: str, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        memory = {"limit": 256 << 20, "usage": 10 << 20, "stats": {name: 4 << 20}}
        engine.stats = {**self.STATS, "memory_stats": memory}
        instance = spawn(make.instance())
        assert docker_driver.get_diagnostics(instance)["memory-rss"] == 6 << 10
        assert docker_driver.get_instance_diagnostics(instance).memory_details.used == 6

    def test_requests_that_nobody_has_counted_are_not_none_at_all(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        blkio = {**self.STATS["blkio_stats"], "io_serviced_recursive": None}
        engine.stats = {**self.STATS, "blkio_stats": blkio}
        instance = spawn(make.instance())
        flat = docker_driver.get_diagnostics(instance)
        assert flat["root_read"] == 4096
        assert "root_read_req" not in flat
        disk = docker_driver.get_instance_diagnostics(instance).disk_details[0]
        assert (disk.read_bytes, disk.read_requests) == (4096, None)

    def test_a_kernel_that_tells_little(self, docker_driver: Any, spawn: Any, engine: Any) -> None:
        engine.stats = {"cpu_stats": {"cpu_usage": {"total_usage": 30}}}
        instance = spawn(make.instance())
        assert docker_driver.get_diagnostics(instance)["cpu0_time"] == 30

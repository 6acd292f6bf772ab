# SPDX-License-Identifier: Apache-2.0
"""Limits of input and output."""

from __future__ import annotations

from typing import Any

import pytest
from nova import exception
from oslo_utils import timeutils

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import workload
from novadocker.virt.docker.engine import isolation, names, throttling
from novadocker.virt.docker.host import disks

READ, WRITTEN = "quota:disk_read_bytes_sec", "quota:disk_write_iops_sec"


def limited(**specs: str) -> Any:
    """Make a flavor with limits, by their names without what all begin and end with."""
    return make.flavor(
        extra_specs={f"quota:disk_{name}_sec": value for name, value in specs.items()}
    )


@pytest.fixture
def told(engine: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the engine tells of itself; its data is on one disk."""
    info: dict[str, Any] = {**engine._info(), "CgroupVersion": "2", "Warnings": None}
    monkeypatch.setattr(engine, "_info", lambda: info)
    monkeypatch.setattr(disks, "below", lambda _directory: ["/dev/sda"])
    return info


class TestWhatIsAsked:
    def test_zero_is_no_limit(self) -> None:
        flavor = limited(read_bytes="1000", write_iops="7", total_iops="0", write_bytes="0")
        assert isolation.disk_limits(flavor) == {READ: 1000, WRITTEN: 7}

    @pytest.mark.parametrize(
        ("specs", "named"),
        [
            ({"total_bytes": "5"}, "quota:disk_total_bytes_sec .* set quota:disk_read_bytes_sec"),
            ({"total_iops": "5"}, "quota:disk_total_iops_sec .* quota:disk_write_iops_sec"),
            ({"read_iops": "-1"}, "quota:disk_read_iops_sec=-1 "),
            ({"read_bytes": "1M"}, "quota:disk_read_bytes_sec='1M' "),
        ],
    )
    def test_what_no_kernel_can_limit_is_refused_by_name(
        self, specs: dict[str, str], named: str
    ) -> None:
        with pytest.raises(exceptions.FlavorRefused, match=named):
            isolation.check(limited(**specs))


class TestInstances:
    def test_its_disks_are_limited(
        self, told: dict[str, Any], docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        instance = make.instance()
        instance.flavor = limited(read_bytes="1", read_iops="2", write_bytes="3", write_iops="4")
        config = workload(engine, spawn(instance))["HostConfig"]
        rates = {
            name: config[f"BlkioDevice{name}"]
            for name in ("ReadBps", "ReadIOps", "WriteBps", "WriteIOps")
        }
        assert rates == {
            name: [{"Path": "/dev/sda", "Rate": rate}]
            for name, rate in zip(rates, (1, 2, 3, 4), strict=True)
        }

    @pytest.mark.parametrize(
        ("more", "specs", "named"),
        [
            ({"CgroupVersion": "1"}, {"write_iops": "4"}, f"{WRITTEN} .* version 1"),
            (
                {"Warnings": ["WARNING: No io.max (rbps) support"]},
                {"read_bytes": "4"},
                f"{READ} .* controller io",
            ),
            (
                {
                    "CgroupVersion": "1",
                    "Warnings": ["WARNING: No blkio throttle.read_bps_device support"],
                },
                {"read_bytes": "4"},
                f"{READ} .* controller io",
            ),
        ],
    )
    def test_what_this_host_cannot_keep_is_for_another_one(
        self,
        more: dict[str, Any],
        specs: dict[str, str],
        named: str,
        told: dict[str, Any],
        docker_driver: Any,
        spawn: Any,
    ) -> None:
        told.update(more)
        instance = make.instance()
        instance.flavor = limited(**specs)
        with pytest.raises(exception.ComputeResourcesUnavailable, match=named):
            spawn(instance)

    def test_data_that_is_on_no_disk_is_told(
        self,
        told: dict[str, Any],
        docker_driver: Any,
        spawn: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(disks, "below", lambda _directory: [])
        monkeypatch.setattr(disks, "file_system", lambda _directory: "tmpfs")
        instance = make.instance()
        instance.flavor = limited(read_bytes="4")
        with pytest.raises(exception.ComputeResourcesUnavailable, match=f"{READ} .* is on tmpfs"):
            spawn(instance)

    def test_who_lived_with_it_goes_on_without(
        self, told: dict[str, Any], docker_driver: Any, spawn: Any, engine: Any, caplog: Any
    ) -> None:
        told["CgroupVersion"] = "1"
        instance = make.instance(launched_at=timeutils.utcnow(with_timezone=True))
        instance.flavor = limited(write_bytes="4")
        assert "BlkioDeviceWriteBps" not in workload(engine, spawn(instance))["HostConfig"]
        assert (
            f"{names.workload_name(instance.uuid)} reads and writes without limits" in caplog.text
        )

    def test_who_had_none_gets_them_by_a_hard_reboot(
        self, told: dict[str, Any], docker_driver: Any, spawned: Any, engine: Any
    ) -> None:
        details = workload(engine, spawned)
        spawned.flavor = limited(read_bytes="4")
        assert docker_driver.parts.instances.is_outdated(spawned, details)
        docker_driver.reboot(None, spawned, [], "HARD")
        assert workload(engine, spawned)["HostConfig"]["BlkioDeviceReadBps"]

    def test_a_resize_here_asks_whether_they_can_be_kept(
        self, told: dict[str, Any], docker_driver: Any, spawned: Any
    ) -> None:
        told["CgroupVersion"] = "1"
        flavor = limited(write_bytes="4")
        with pytest.raises(exception.InstanceFaultRollback, match="version 2"):
            docker_driver.migrate_disk_and_power_off(None, spawned, make.HOST, flavor, [])


def test_each_limit_is_an_argument_of_its_own() -> None:
    assert len({limit.argument for limit in throttling.LIMITS.values()}) == 4


def test_what_a_flavor_may_ask_for_is_what_the_engine_is_asked_for() -> None:
    units = [f"{way}_{unit}" for way in ("read", "write") for unit in ("bytes", "iops")]
    specs = {f"quota:disk_{unit}_sec": "1" for unit in units}
    flavor = make.flavor(extra_specs=specs)
    assert isolation.disk_limits(flavor).keys() == throttling.LIMITS.keys()

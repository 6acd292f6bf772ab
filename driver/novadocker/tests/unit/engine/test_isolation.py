# SPDX-License-Identifier: Apache-2.0
"""Limits and privileges of containers."""

from __future__ import annotations

from typing import Any

import pytest

from novadocker import exceptions
from novadocker.tests import make
from novadocker.virt.docker.engine import isolation


class TestLimits:
    def test_flavor(self) -> None:
        limits = isolation.limits(make.flavor(vcpus=3, memory_mb=512, swap=100))
        assert limits == {
            "cpu_period": 100_000,
            "cpu_quota": 300_000,
            "mem_limit": "512m",
            "memswap_limit": "612m",
        }

    def test_extra_specs(self) -> None:
        specs = {"quota:cpu_period": "50000", "quota:cpu_quota": "20000", "quota:cpu_shares": "7"}
        limits = isolation.limits(make.flavor(extra_specs=specs))
        assert (limits["cpu_period"], limits["cpu_quota"], limits["cpu_shares"]) == (
            50000,
            20000,
            7,
        )

    @pytest.mark.parametrize(
        ("specs", "named"),
        [
            ({"quota:cpu_period": "-1"}, "quota:cpu_period=-1 "),
            ({"quota:cpu_period": "999"}, "quota:cpu_period=999 "),
            ({"quota:cpu_period": "1000001"}, "quota:cpu_period=1000001 "),
            ({"quota:cpu_quota": "0"}, "quota:cpu_quota=0 "),
            ({"quota:cpu_quota": "500"}, "quota:cpu_quota=500 "),
        ],
    )
    def test_what_the_engine_would_take_for_no_limit_or_refuse_is_the_flavors_fault(
        self, specs: dict[str, str], named: str
    ) -> None:
        with pytest.raises(exceptions.FlavorRefused, match=named):
            isolation.check(make.flavor(extra_specs=specs))

    @pytest.mark.parametrize("key", ["quota:cpu_period", "quota:cpu_quota"])
    def test_zero_is_no_value_for_an_instance_that_lives_here(self, key: str) -> None:
        limits = isolation.limits(make.flavor(vcpus=3, extra_specs={key: "0"}))
        assert (limits["cpu_period"], limits["cpu_quota"]) == (100_000, 300_000)

    def test_a_period_of_zero_is_none_that_is_given(self) -> None:
        isolation.check(make.flavor(extra_specs={"quota:cpu_period": "0"}))

    def test_no_limit_of_cpu_time_has_to_be_asked_for(self) -> None:
        limits = isolation.limits(make.flavor(extra_specs={"quota:cpu_quota": "-1"}))
        assert limits["cpu_quota"] == -1

    def test_no_less_memory_than_the_engine_takes(self) -> None:
        assert isolation.limits(make.flavor(memory_mb=1))["mem_limit"] == "6m"


class TestIsolation:
    def test_options(self) -> None:
        options = isolation.Isolation(("KILL",), False, 0, "{}", "runsc")
        assert isolation.arguments(options, {}) == {
            "log_config": {
                "Type": "local",
                "Config": {"max-size": "10m", "max-file": "3", "mode": "non-blocking"},
            },
            "shm_size": "64m",
            "ulimits": [],
            "cap_drop": ["ALL"],
            "cap_add": ["KILL"],
            "runtime": "runsc",
            "security_opt": ["seccomp={}"],
        }

    @pytest.mark.parametrize(
        ("option", "asked", "limit"),
        [(100, "50", 50), (100, "200", 100), (0, "50", 50), (0, "0", None)],
    )
    def test_a_flavor_can_only_lower_the_number_of_processes(
        self, option: int, asked: str, limit: int | None
    ) -> None:
        options = isolation.Isolation((), pids_limit=option)
        arguments = isolation.arguments(options, {"docker:pids_limit": asked})
        assert arguments.get("pids_limit") == limit

    @pytest.mark.field_case("K9.4")
    def test_limits_of_processes_are_the_options(self, conf: Any) -> None:
        options = isolation.Isolation.from_section(conf.docker)
        assert isolation.arguments(options, {})["ulimits"] == [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "nofile", "Soft": 16384, "Hard": 16384},
            {"Name": "sigpending", "Soft": 4096, "Hard": 4096},
            {"Name": "msgqueue", "Soft": 409600, "Hard": 409600},
        ]

    def test_a_soft_limit_may_be_lower(self, option: Any, conf: Any) -> None:
        option("ulimits", ["nofile=1024:4096"])
        options = isolation.Isolation.from_section(conf.docker)
        assert isolation.arguments(options, {})["ulimits"] == [
            {"Name": "nofile", "Soft": 1024, "Hard": 4096}
        ]

    @pytest.mark.parametrize("value", ["nofile", "nofile=-1", "nofile=1:", "=5", "files=1"])
    def test_a_limit_that_is_none_is_refused(self, value: str, conf: Any) -> None:
        with pytest.raises(ValueError, match="regex"):
            conf.set_override("ulimits", [value], group="docker")

    def test_shared_memory_is_as_large_as_the_flavor_says(self, option: Any, conf: Any) -> None:
        option("shm_size_mb", 7)
        options = isolation.Isolation.from_section(conf.docker)
        assert isolation.arguments(options, {})["shm_size"] == "7m"
        asked = {"docker:shm_size_mb": "512"}
        assert isolation.arguments(options, asked)["shm_size"] == "512m"
        for wrong in ("0", "-1", "much"):
            with pytest.raises(exceptions.FlavorRefused, match="shm_size_mb"):
                isolation.check(make.flavor(extra_specs={"docker:shm_size_mb": wrong}))

    def test_who_is_privileged_has_no_filter_but_the_operators(
        self, option: Any, conf: Any, tmp_path: Any
    ) -> None:
        def filters(**specs: str) -> list[str]:
            options = isolation.Isolation.from_section(conf.docker)
            return [
                text
                for text in isolation.arguments(options, specs)["security_opt"]
                if text.startswith("seccomp=")
            ]

        privileged = {"docker:privileged": "true"}
        option("allow_privileged", True)
        assert len(filters()) == 1
        assert filters(**privileged) == []
        profile = tmp_path / "profile.json"
        profile.write_text("{}")
        option("seccomp_profile", str(profile))
        assert filters() == filters(**privileged) == ["seccomp={}"]

    @pytest.mark.parametrize("value", ["false", "", "0"])
    def test_privileged_is_asked_for_by_true_alone(self, value: str) -> None:
        options = isolation.Isolation((), allow_privileged=True)
        assert "privileged" not in isolation.arguments(options, {"docker:privileged": value})

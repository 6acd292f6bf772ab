# SPDX-License-Identifier: Apache-2.0
"""Which of the host's processors are for whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nova.virt import hardware

from novadocker import exceptions
from novadocker.tests import make
from novadocker.virt.docker.host import cpu_sets, cpus
from novadocker.virt.docker.host.cpus import Processors


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of two nodes with two cores of two threads each."""
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/online").write_text("0-7\n")
    for cpu in range(8):
        place = tmp_path / f"cpu/cpu{cpu}/topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}\n")
    for node, listed in enumerate(("0-3", "4-7")):
        place = tmp_path / f"node/node{node}"
        place.mkdir(parents=True)
        (place / "cpulist").write_text(f"{listed}\n")
        (place / "meminfo").write_text(f"Node {node} MemTotal:  8388608 kB\nNode {node} Foo: 1 kB")
    monkeypatch.setattr(cpus, "SYSTEM", tmp_path)
    return tmp_path


@pytest.fixture
def sets(option: Any) -> Any:
    def set_options(dedicated: str | None = None, shared: str | None = None) -> None:
        option("cpu_dedicated_set", dedicated, "compute")
        option("cpu_shared_set", shared, "compute")

    return set_options


class TestProcessors:
    def test_nobody_divides_them_by_default(self, conf: Any, machine: Path) -> None:
        divided = cpu_sets.of_host(conf, has_cpusets=False)
        assert not divided.are_divided
        assert cpu_sets.topology(divided) is None
        assert divided.count(8) == 8

    def test_options_divide_them(self, conf: Any, sets: Any, machine: Path) -> None:
        sets("2-7,^6", "0,1")
        divided = cpu_sets.of_host(conf, has_cpusets=True)
        assert divided == Processors(frozenset({2, 3, 4, 5, 7}), frozenset({0, 1}))
        assert divided.count(8) == 7

    @pytest.mark.parametrize(
        ("dedicated", "shared", "fault"),
        [
            ("1-3", "0,1", "have processors in common: 1$"),
            ("1-9", "0", "are not online: 8-9 of 0-7"),
            ("much", "0", "cpu_dedicated_set is 'much'"),
            ("1", "^0", "cpu_shared_set is '\\^0', which is no processor"),
        ],
    )
    def test_what_the_host_does_not_have_is_told(
        self, dedicated: str, shared: str, fault: str, conf: Any, sets: Any, machine: Path
    ) -> None:
        sets(dedicated, shared)
        with pytest.raises(exceptions.NotReady, match=fault):
            cpu_sets.of_host(conf, has_cpusets=True)

    def test_an_engine_without_cpusets_divides_nothing(
        self, conf: Any, sets: Any, machine: Path
    ) -> None:
        sets(shared="0")
        with pytest.raises(exceptions.NotReady, match=r"cpu_shared_set is set.*controller cpuset"):
            cpu_sets.of_host(conf, has_cpusets=False)

    def test_what_the_host_keeps_is_said_once(
        self, conf: Any, sets: Any, option: Any, machine: Path
    ) -> None:
        sets("4-7", "1-3")
        option("reserved_host_cpus", 1, None)
        with pytest.raises(exceptions.NotReady, match="reserved_host_cpus"):
            cpu_sets.of_host(conf, has_cpusets=True)

    def test_nova_chooses_from_the_hosts_nodes(self, machine: Path) -> None:
        divided = Processors(frozenset({2, 3, 4, 5}), frozenset({0, 6, 7}))
        first, second = cpu_sets.topology(divided).cells
        assert (first.cpuset, first.pcpuset, first.memory) == ({0}, {2, 3}, 8192)
        assert (second.cpuset, second.pcpuset) == ({6, 7}, {4, 5})
        assert first.siblings == [{0}, {2, 3}]
        assert cpu_sets.traits(divided) == {"HW_CPU_HYPERTHREADING"}
        assert cpu_sets.traits(Processors(frozenset({2, 4}))) == set()

    def test_nova_gives_each_its_own(self, machine: Path) -> None:
        host = cpu_sets.topology(Processors(frozenset({2, 3, 6}), frozenset({0})))
        taken: list[set[int]] = []
        for _ in range(3):
            specs = {"hw:cpu_policy": "dedicated"}
            flavor = make.flavor(vcpus=1, memory_mb=64, extra_specs=specs)
            asked = hardware.numa_get_constraints(flavor, make.image_meta())
            given = hardware.numa_fit_instance_to_host(host, asked, None)
            host = hardware.numa_usage_from_instance_numa(host, given)
            taken.append(given.cpu_pinning)
        assert sorted(*zip(*taken, strict=True)) == [2, 3, 6]
        asked = hardware.numa_get_constraints(flavor, make.image_meta())
        assert hardware.numa_fit_instance_to_host(host, asked, None) is None

    def test_a_kernel_without_nodes_is_one(self, machine: Path) -> None:
        for file in machine.glob("node/*/*"):
            file.unlink()
        for node in machine.glob("node/*"):
            node.rmdir()
        (cell,) = cpu_sets.topology(Processors(frozenset({5}))).cells
        assert (cell.id, cell.pcpuset) == (0, {5})
        assert cell.memory > 0


@pytest.mark.parametrize("told", ["", "0", "0-1", "0,2-4,7", "1,3,5-6"])
def test_numbers_as_the_kernel_and_the_engine_write_them(told: str) -> None:
    assert cpus.text(cpus.numbers(told)) == told

# SPDX-License-Identifier: Apache-2.0
"""Which processors an instance runs on."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from nova import exception, objects
from nova.compute import provider_tree

from novadocker import exceptions
from novadocker.tests import make
from novadocker.tests.fake_engine import workload
from novadocker.virt.docker.engine import limits
from novadocker.virt.docker.host import cpu_sets, cpus
from novadocker.virt.docker.host.cpus import Cpus, Processors
from novadocker.virt.docker.instances import pinning

DIVIDED = Processors(frozenset({2, 3}), frozenset({0, 1}))


def topology(*pinned: int) -> Any:
    """Make what Nova has claimed for an instance."""
    cell = objects.InstanceNUMACell(
        id=0,
        cpuset=set(),
        pcpuset=set(range(len(pinned))),
        memory=64,
        cpu_policy="dedicated",
    )
    cell.cpu_pinning = dict(enumerate(pinned))
    return objects.InstanceNUMATopology(cells=[cell])


def dedicated(**specs: str) -> Any:
    """Make a flavor with dedicated processors."""
    return make.flavor(vcpus=2, extra_specs={"hw:cpu_policy": "dedicated", **specs})


class TestProcessorsOfInstances:
    def test_its_own_or_those_of_the_others(self) -> None:
        mine, other = make.instance(numa_topology=topology(3, 2)), make.instance()
        assert pinning.of(mine, DIVIDED) == Cpus("2-3", dedicated=True)
        assert pinning.of(other, DIVIDED) == Cpus("0-1")
        assert pinning.of(other, cpus.UNDIVIDED) == cpus.ALL

    def test_a_host_of_dedicated_ones_alone_has_none_for_others(self) -> None:
        with pytest.raises(exceptions.HostUnfit, match="cpu_shared_set"):
            pinning.of(make.instance(), Processors(frozenset({2})))

    @pytest.mark.parametrize(
        ("specs", "named"),
        [
            ({"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0"}, "hw:cpu_policy=mixed"),
            ({"hw:emulator_threads_policy": "isolate"}, "hw:emulator_threads_policy=isolate"),
            ({"hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "^0"}, "hw:cpu_realtime "),
        ],
    )
    def test_what_containers_cannot_do_is_refused_by_name(
        self, specs: dict[str, str], named: str
    ) -> None:
        with pytest.raises(exceptions.FlavorRefused, match=named):
            pinning.check(dedicated(**specs), make.image_meta(), topology(2, 3))

    @pytest.mark.parametrize("specs", [{"hw:cpu_policy": "dedicated"}, {"resources:PCPU": "2"}])
    def test_a_host_that_has_none_is_told_so(self, specs: dict[str, str]) -> None:
        flavor = make.flavor(vcpus=2, extra_specs=specs)
        with pytest.raises(exceptions.HostUnfit, match="cpu_dedicated_set"):
            pinning.check(flavor, make.image_meta(), None)
        pinning.check(flavor, make.image_meta(), topology(2, 3))
        pinning.check(make.flavor(), make.image_meta(), None)

    def test_an_option_that_takes_them_from_an_instance_is_a_fault(self) -> None:
        mine, other = make.instance(numa_topology=topology(3)), make.instance()
        mine.deleted = other.deleted = False
        pinning.check_host([mine, other], DIVIDED)
        with pytest.raises(exceptions.NotReady, match=f"{mine.uuid} .* 3, .* lacks 3"):
            pinning.check_host([mine], Processors(frozenset({2}), frozenset({0})))
        with pytest.raises(exceptions.NotReady, match=f"{other.uuid} .*cpu_shared_set"):
            pinning.check_host([other], Processors(frozenset({2})))
        other.deleted = True
        pinning.check_host([other], Processors(frozenset({2})))


@pytest.fixture
def divided(docker_driver: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A driver on a host whose processors are divided."""
    monkeypatch.setattr(cpus, "online", lambda: frozenset(range(4)))
    monkeypatch.setattr(cpu_sets, "_nodes", lambda: [(0, frozenset(range(4)), 1 << 20)])
    docker_driver.parts.facts.processors = DIVIDED
    return docker_driver


class TestDividedHost:
    def test_containers_are_bound_to_theirs(self, divided: Any, spawn: Any, engine: Any) -> None:
        mine = make.instance(numa_topology=topology(2, 3))
        mine.flavor = dedicated()
        config = workload(engine, spawn(mine))["HostConfig"]
        # Nobody else's time is taken.
        assert (config["CpusetCpus"], config["CpuQuota"]) == ("2-3", -1)
        config = workload(engine, spawn(make.instance()))["HostConfig"]
        assert (config["CpusetCpus"], config["CpuQuota"]) == ("0-1", 200_000)

    def test_a_quota_that_is_asked_for_stays(self, divided: Any, spawn: Any, engine: Any) -> None:
        mine = make.instance(numa_topology=topology(2, 3))
        mine.flavor = dedicated(**{"quota:cpu_quota": "50000"})
        assert workload(engine, spawn(mine))["HostConfig"]["CpuQuota"] == 50_000

    def test_a_new_instance_without_what_it_asks_for_goes_elsewhere(
        self, docker_driver: Any, spawn: Any
    ) -> None:
        mine = make.instance()
        mine.flavor = dedicated()
        with pytest.raises(exception.ComputeResourcesUnavailable, match="cpu_dedicated_set"):
            spawn(mine)

    def test_who_runs_already_is_bound_as_nova_compute_starts(
        self, docker_driver: Any, spawned: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cpus, "online", lambda: frozenset(range(4)))
        docker_driver.plug_vifs(spawned, [])
        assert "update_container" not in engine.calls
        docker_driver.parts.facts.processors = DIVIDED
        docker_driver.plug_vifs(spawned, [])
        assert workload(engine, spawned)["HostConfig"]["CpusetCpus"] == "0-1"
        engine.calls.clear()
        docker_driver.plug_vifs(spawned, [])
        assert "update_container" not in engine.calls

    def test_a_start_brings_back_all_where_options_are_unset(
        self, divided: Any, spawned: Any, engine: Any
    ) -> None:
        divided.plug_vifs(spawned, [])
        divided.parts.facts.processors = cpus.UNDIVIDED
        divided.power_off(spawned)
        divided.power_on(None, spawned, [])
        assert workload(engine, spawned)["HostConfig"]["CpusetCpus"] == "0-3"

    def test_a_resize_asks_for_what_nova_has_claimed(self, divided: Any, spawned: Any) -> None:
        spawned.migration_context = objects.MigrationContext(new_numa_topology=None)
        with pytest.raises(exception.InstanceFaultRollback, match="cpu_dedicated_set"):
            divided.migrate_disk_and_power_off(None, spawned, make.HOST, dedicated(), [])

    def test_placement_learns_of_them(self, divided: Any) -> None:
        tree = provider_tree.ProviderTree()
        tree.new_root(make.HOST, "7e2b4c1e-6a6b-4d9f-8a55-0a4ce3c0a001")
        divided.update_provider_tree(tree, make.HOST)
        inventory = tree.data(make.HOST).inventory
        assert (inventory["VCPU"]["total"], inventory["PCPU"]["total"]) == (2, 2)
        assert inventory["PCPU"]["allocation_ratio"] == 1
        available = divided.get_available_resource(make.HOST)
        assert available["vcpus"] == 4
        told = objects.NUMATopology.obj_from_db_obj(available["numa_topology"])
        assert told.cells[0].pcpuset == {2, 3}

    def test_nova_compute_does_not_start_with_an_instance_that_has_none(
        self, docker_driver: Any, option: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cpus, "online", lambda: frozenset(range(4)))
        option("cpu_dedicated_set", "1", "compute")
        other = make.instance()
        other.deleted = False
        monkeypatch.setattr(objects.InstanceList, "get_by_host", mock.Mock(return_value=[other]))
        with pytest.raises(exception.InvalidConfiguration, match="cpu_shared_set"):
            docker_driver.init_host(make.HOST)


def test_processors_take_no_other_container() -> None:
    had, wanted = {"CpusetCpus": "0"}, {"CpusetCpus": "1"}
    assert limits.fixed(had) == limits.fixed(wanted) == limits.fixed({})
    assert limits.changes({"Memory": 1, **had}, {"Memory": 1, **wanted}) == wanted

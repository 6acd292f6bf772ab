# SPDX-License-Identifier: Apache-2.0
"""Devices of the host in instances, as Nova has chosen them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nova import exception, objects
from nova.compute import provider_tree, task_states

from novadocker.tests import make
from novadocker.tests.cdi import CLASS, FULL, KIND, RANDOM, ZERO, device, write
from novadocker.tests.fake_engine import workload
from novadocker.virt.docker.engine import names
from novadocker.virt.docker.host import cdi
from novadocker.virt.docker.instances import assigned, guest

PROVIDER = "7e2b4c1e-6a6b-4d9f-8a55-0a4ce3c0a001"


def chosen(*names: str) -> Any:
    """Make what Nova has chosen for an instance."""
    return objects.ResourceList(
        objects=[
            objects.Resource(
                provider_uuid=PROVIDER, resource_class=CLASS, identifier=f"{KIND}={name}"
            )
            for name in names
        ]
    )


def promised(amount: int) -> Any:
    """Make Placement's allocations of an instance."""
    return {PROVIDER: {"resources": {"VCPU": 1, CLASS: amount}}}


@pytest.fixture
def specifications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the host's specifications, of two devices."""
    monkeypatch.setattr(cdi, "_ROOT", os.getuid())
    directory = tmp_path / "cdi"
    write(directory, device("a", ZERO, env=["THING=a", "ONLY_A=1"]), device("b", FULL))
    return directory


@pytest.fixture
def docker_driver(specifications: Path, option: Any, new_driver: Callable[..., Any]) -> Any:
    option("cdi_kinds", [KIND])
    option("cdi_spec_dirs", [str(specifications)])
    return new_driver()


def nodes(engine: Any, instance: Any) -> list[str]:
    """Return the nodes that the container of an instance was given."""
    given = workload(engine, instance)["HostConfig"].get("Devices") or []
    return [node["PathOnHost"] for node in given]


class TestContainers:
    def test_they_get_what_nova_has_chosen(self, spawn: Any, engine: Any) -> None:
        first = spawn(make.instance(resources=chosen("a")))
        second = spawn(make.instance(resources=chosen("b")))
        both_none = spawn(make.instance())
        assert [nodes(engine, it) for it in (first, second, both_none)] == [[ZERO], [FULL], []]
        assert workload(engine, first)["asked"]["environment"] == {"THING": "a", "ONLY_A": "1"}

    def test_an_engine_that_knows_cdi_is_told_their_names(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        docker_driver.parts.facts.has_cdi = True
        config = workload(engine, spawn(make.instance(resources=chosen("a"))))["HostConfig"]
        (asked,) = config["DeviceRequests"]
        assert (asked["Driver"], asked["DeviceIDs"]) == ("cdi", [f"{KIND}=a"])
        assert not config.get("Devices")

    def test_host_files_are_read_only_unless_they_say_otherwise(
        self, spawn: Any, engine: Any, specifications: Path
    ) -> None:
        mounts = [
            {"hostPath": "/etc/os-release", "containerPath": "/a"},
            {"hostPath": "/tmp", "containerPath": "/b", "options": ["rw"]},
        ]
        write(specifications, device("a", ZERO, mounts=mounts))
        config = workload(engine, spawn(make.instance(resources=chosen("a"))))["HostConfig"]
        told = [(it["Source"], it["Target"], it["ReadOnly"]) for it in config["Mounts"]]
        assert told == [("/etc/os-release", "/a", True), ("/tmp", "/b", False)]

    def test_one_that_another_has_is_refused(self, spawn: Any, engine: Any) -> None:
        first = spawn(make.instance(resources=chosen("a")))
        with pytest.raises(exception.ComputeResourcesUnavailable, match=first.uuid):
            spawn(make.instance(resources=chosen("a")))

    def test_a_node_that_another_runs_with_is_refused_by_any_name(
        self, spawn: Any, engine: Any, specifications: Path
    ) -> None:
        first = spawn(make.instance(resources=chosen("a")))
        # As after a replugging: the tenant's container runs, and has what is b by now.
        write(specifications, device("a", FULL), device("b", ZERO))
        with pytest.raises(exception.ComputeResourcesUnavailable, match=first.uuid):
            spawn(make.instance(resources=chosen("b")))
        assert workload(engine, first)["State"]["Running"]

    @pytest.mark.parametrize(("by_engine", "policy"), [(False, "no"), (True, "always")])
    def test_the_engine_restarts_nobody_with_what_is_at_its_paths_by_then(
        self, docker_driver: Any, spawn: Any, engine: Any, by_engine: bool, policy: str
    ) -> None:
        docker_driver.parts.facts.has_cdi = by_engine
        made = make.instance(resources=chosen("a"))
        made.flavor = make.flavor(extra_specs={"docker:restart": "always"})
        config = workload(engine, spawn(made))["HostConfig"]
        assert (config.get("RestartPolicy") or {"Name": "no"})["Name"] == policy

    def test_no_variable_of_a_device_is_in_a_snapshot(self, spawn: Any, engine: Any) -> None:
        details = workload(engine, spawn(make.instance(resources=chosen("a"))))
        without = guest.taken_back(names.devices_label(details))
        assert without == {"ONLY_A": None, "THING": None}
        assert "THING" not in names.environment_label(details)

    def test_a_host_that_does_not_offer_them_is_told(
        self, docker_driver: Any, image_meta: Any
    ) -> None:
        with pytest.raises(exception.ComputeResourcesUnavailable, match=r"asks for 2 .* chosen 1"):
            docker_driver.spawn(
                None, make.instance(resources=chosen("a")), image_meta, [], None, promised(2), []
            )
        assigned.check(make.instance(resources=chosen("a")), promised(1))
        assigned.check(make.instance(), {PROVIDER: {"resources": {"VCPU": 1}}})
        assigned.check(make.instance(), None)

    def test_a_move_to_a_host_that_does_not_offer_them_is_refused_before_it_leaves(
        self, docker_driver: Any, spawn: Any, engine: Any
    ) -> None:
        made = spawn(make.instance(resources=chosen("a")))
        flavor = make.flavor(extra_specs={f"resources:{CLASS}": "1", "resources1:VCPU": "1"})
        made.migration_context = objects.MigrationContext(
            new_resources=chosen(), new_numa_topology=None
        )
        with pytest.raises(exception.InstanceFaultRollback, match="host that the server is to go"):
            docker_driver.migrate_disk_and_power_off(None, made, "192.0.2.9", flavor, [])
        assert workload(engine, made)["State"]["Running"]
        made.migration_context.new_resources = chosen("b")
        docker_driver.migrate_disk_and_power_off(None, made, make.HOST, flavor, [])

    def test_one_does_not_arrive_without_what_it_was_promised(
        self, docker_driver: Any, spawn: Any
    ) -> None:
        made = spawn(make.instance())
        left = docker_driver.migrate_disk_and_power_off(None, made, make.HOST, made.flavor, [])
        refusal = exception.ComputeResourcesUnavailable
        with pytest.raises(refusal, match=r"asks for 1 .* chosen 0: .* this host"):
            docker_driver.finish_migration(
                None, None, made, left, [], make.image_meta(), True, promised(1)
            )


class TestStarts:
    @pytest.fixture
    def mine(self, spawn: Any) -> Any:
        return spawn(make.instance(resources=chosen("a")))

    def restarted(self, docker_driver: Any, instance: Any) -> None:
        docker_driver.power_off(instance)
        docker_driver.power_on(None, instance, [])

    def test_the_same_ones_over_a_restart(self, docker_driver: Any, engine: Any, mine: Any) -> None:
        before = workload(engine, mine)["Id"]
        self.restarted(docker_driver, mine)
        docker_driver.reboot(None, mine, [], "HARD")
        assert (workload(engine, mine)["Id"], nodes(engine, mine)) == (before, [ZERO])

    def test_a_node_that_is_another_by_now(
        self, docker_driver: Any, engine: Any, mine: Any, specifications: Path
    ) -> None:
        # As after a boot of the host: what was its node is another device's.
        write(specifications, device("a", FULL), device("b", ZERO))
        self.restarted(docker_driver, mine)
        assert nodes(engine, mine) == [FULL]
        # What the specification said before is not in it any more.
        environment = workload(engine, mine)["asked"]["environment"]
        assert environment == {"THING": None, "ONLY_A": None}

    @pytest.mark.parametrize("kind", ["SOFT", "HARD"])
    def test_without_its_own_it_does_not_start_with_anothers(
        self, kind: str, docker_driver: Any, engine: Any, mine: Any, specifications: Path
    ) -> None:
        write(specifications, device("other", ZERO), device("b", FULL))
        docker_driver.power_off(mine)
        with pytest.raises(exception.ComputeResourcesUnavailable, match=f"{KIND}=a"):
            docker_driver.power_on(None, mine, [])
        with pytest.raises(exception.ComputeResourcesUnavailable, match=f"{KIND}=a"):
            docker_driver.reboot(None, mine, [], kind)
        assert not workload(engine, mine)["State"]["Running"]
        write(specifications, device("a", RANDOM), device("b", FULL))
        docker_driver.power_on(None, mine, [])
        assert workload(engine, mine)["State"]["Running"]
        assert nodes(engine, mine) == [RANDOM]

    def test_a_resize_gives_others(
        self, docker_driver: Any, engine: Any, mine: Any, migrations: Any
    ) -> None:
        mine.migration_context = objects.MigrationContext(
            new_resources=chosen("b"), new_numa_topology=None
        )
        left = docker_driver.migrate_disk_and_power_off(None, mine, make.HOST, mine.flavor, [])
        mine.resources = chosen("b")
        docker_driver.finish_migration(None, None, mine, left, [], make.image_meta(), True, {})
        assert nodes(engine, mine) == [FULL]
        # They are not its own any more.
        variables = workload(engine, mine)["asked"]["environment"]
        assert variables == {"THING": None, "ONLY_A": None}
        assert docker_driver.parts.workloads.held_devices()[mine.uuid][0].names
        mine.task_state = task_states.RESIZE_REVERTING
        docker_driver.destroy(None, mine, [])
        mine.resources = chosen("a")
        docker_driver.finish_revert_migration(None, mine, [], None)
        assert nodes(engine, mine) == [ZERO]

    def test_a_resize_without_devices_stays_in_its_container(self, docker_driver: Any) -> None:
        other = make.instance()
        assert not assigned.are_others(other)
        other.migration_context = objects.MigrationContext(new_resources=None)
        assert not assigned.are_others(other)
        other.migration_context = objects.MigrationContext(new_resources=chosen("a"))
        assert assigned.are_others(other)


class TestPlacement:
    @pytest.fixture
    def tree(self) -> provider_tree.ProviderTree:
        tree = provider_tree.ProviderTree()
        tree.new_root(make.HOST, PROVIDER)
        tree.update_traits(make.HOST, {"CUSTOM_OF_THE_OPERATOR", "CUSTOM_CDI_OF_FORMER_TIMES"})
        return tree

    def test_it_learns_of_them(self, docker_driver: Any, tree: Any) -> None:
        docker_driver.update_provider_tree(tree, make.HOST)
        data = tree.data(make.HOST)
        told = data.inventory[CLASS]
        assert (told["total"], told["max_unit"], told["allocation_ratio"]) == (2, 2, 1)
        assert {it for it in data.traits if it.startswith("CUSTOM_")} >= {
            CLASS,
            "CUSTOM_OF_THE_OPERATOR",
        }
        assert "CUSTOM_CDI_OF_FORMER_TIMES" not in data.traits
        assert data.resources == {CLASS: set(chosen("a", "b"))}

    def test_without_a_kind_it_learns_of_none(
        self, option: Any, new_driver: Any, tree: Any
    ) -> None:
        option("cdi_kinds", [])
        new_driver().update_provider_tree(tree, make.HOST)
        data = tree.data(make.HOST)
        assert CLASS not in data.inventory
        assert (CLASS in data.traits, data.resources) == (False, {})

    def test_what_an_instance_has_stays_known(
        self, docker_driver: Any, spawn: Any, tree: Any, specifications: Path
    ) -> None:
        spawn(make.instance(resources=chosen("a")))
        write(specifications, device("b", FULL))
        docker_driver.update_provider_tree(tree, make.HOST)
        assert tree.data(make.HOST).inventory[CLASS]["total"] == 2
        assert tree.data(make.HOST).resources == {CLASS: set(chosen("a", "b"))}

    def test_nova_compute_does_not_start_with_kinds_of_one_name(
        self, option: Any, new_driver: Any
    ) -> None:
        option("cdi_kinds", ["a.b/c", "a-b/c"])
        with pytest.raises(exception.InvalidConfiguration, match="cdi_kinds"):
            new_driver().init_host(make.HOST)
